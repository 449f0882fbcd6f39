package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/go-sql-driver/mysql"
)

// sessionsAlone has what happens to logins and to single sessions while all
// nodes are well. The clients do not touch each other, so their faults happen
// side by side.
func sessionsAlone(s *stage) {
	makeUser(s.T, s.c, guest)
	loads := s.start(
		client{name: "sessions, logins refused", user: guest, maxOpen: 4, opens: true},
		client{name: "sessions, ended while idle", byHand: true, maxOpen: 8},
		client{name: "sessions, ended while idle, balanced", byHand: true, maxOpen: 12, opts: []clustersql.Option{clustersql.WithStrategy(clustersql.Balanced)}},
		client{name: "sessions, callers leave", byHand: true, maxOpen: 8})
	s.quiet()
	from := time.Now()
	var wg sync.WaitGroup
	var refused span
	var back time.Duration
	wg.Go(func() { refused, back = s.refuseLogins(loads[0]) })
	wg.Go(func() { s.endIdle(loads[1]) })
	wg.Go(func() { s.endIdle(loads[2]) })
	wg.Go(func() { s.leave(loads[3]) })
	wg.Wait()
	s.pass(2 * usual.ProbeInterval) // for what the probes find
	s.end()
	for i, w := range loads {
		// Where the row works by hand it ends with that.
		during := span{from, w.inserts.all()[len(w.inserts.all())-1].end}
		s.tally(w, w.name, during, []time.Duration{back, -1, -1, -1}[i])
		s.none(w.name+", reads", w.reads.all())
		s.none(w.name+", writes", w.inserts.all())
	}
	s.judgeRefused(loads[0], refused)
	s.undoubted(loads[1], true)
	s.undoubted(loads[2], false)
	s.undoubted(loads[3], true)
	for _, e := range loads[3].eventsSince(s.began) {
		s.bound(e.Kind == clustersql.EventState, "%s: %d connections %s: %s", loads[3].name, e.Conns, e.Kind, e.Reason)
	}
}

// undoubted asserts that the client had no doubt about any node, and maybe that
// it used only the first one. It does not count that an open on a busy machine
// took so long that the next node was asked too.
func (s *stage) undoubted(w *workload, first bool) {
	s.Helper()
	slow := false
	for _, e := range w.eventsSince(s.began) {
		switch {
		case e.Kind != clustersql.EventState:
		case e.Reason == health.SlowReason, slow && e.To == clustersql.StateUp:
			slow = true
		default:
			s.Errorf("%s: %s went from %s to %s: %s", w.name, e.Node, e.From, e.To, e.Reason)
		}
	}
	if !first || slow {
		return
	}
	for i, n := range s.c.Nodes[1:] {
		s.bound(len(on(w.reads.all(), n.Name)) == 0 && s.writersIn(w, span{s.began, s.stopped})[n.Name] == 0, "%s: node %d was used", w.name, i+2)
	}
}

// guest is the user whose logins are refused.
const guest = "guest"

// refuseLogins changes the password of the client's user, and changes it back.
// It returns when logins were refused, and how long after the end the nodes took
// opens again.
func (s *stage) refuseLogins(w *workload) (refused span, back time.Duration) {
	before := s.sessionsOf(w)
	s.lookout.harm(itself, w.name, s.c.Nodes...)
	s.alter("another")
	refused.from = time.Now()
	s.pass(4 * usual.ProbeInterval)
	refused.to = time.Now()
	s.alter(galera.Password)
	then := time.Now()
	s.within(health.BackoffMost+usual.AttemptTimeout, "opens to succeed again", func() bool { return w.opens.okSince(then) })
	back = time.Since(then)
	s.bound(maps.Equal(s.sessionsOf(w), before), "%s: the pool has other sessions than before", w.name)
	return refused, back
}

func (s *stage) alter(password string) {
	s.Helper()
	s.tried(s.c.Exec(context.Background(), "ALTER USER "+guest+" IDENTIFIED BY '"+password+"'"))
}

// tried is must for goroutines.
func (s *stage) tried(err error) {
	s.Helper()
	if err != nil {
		s.Error(err)
	}
}

// judgeRefused asserts that opens are refused with the server's words, and at
// once: no attempt is bounded by more than attempt_timeout, and there is nothing
// to wait for.
func (s *stage) judgeRefused(w *workload, refused span) {
	s.Helper()
	ops := refused.begun(w.opens.all())
	s.bound(len(ops) > 0, "%s: there were no opens", w.name)
	for _, o := range ops {
		var said *mysql.MySQLError
		took := s.net(span{o.begin, o.end})
		s.bound(errors.As(o.err, &said) && said.Number == 1045 && took < usual.AttemptTimeout, "%s: an open ended after %s: %v", w.name, took, o.err)
	}
}

// endIdle has the servers end the client's idle sessions, again and again. The
// statements that come next do not notice.
func (s *stage) endIdle(w *workload) {
	s.lookout.harm(sessions, w.name, s.c.Nodes...)
	k := 0
	for range 6 {
		for one := range s.sessionsOf(w) {
			s.tried(s.kill(one))
		}
		for range 8 {
			k++
			w.read(k)
			w.insert(k)
		}
		s.pass(usual.ProbeInterval / 2)
	}
}

// kill ends a session on its server, and waits for its end.
func (s *stage) kill(one session) error {
	i := slices.IndexFunc(s.c.Nodes, func(n *galera.Node) bool { return n.Name == one.node })
	admin := s.c.Nodes[i].AdminDB()
	if _, err := admin.ExecContext(s.Context(), fmt.Sprint("KILL CONNECTION ", one.id)); err != nil {
		return err
	}
	for n := 1; n > 0; {
		if err := admin.QueryRowContext(s.Context(), "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = ?", one.id).Scan(&n); err != nil {
			return err
		}
	}
	return nil
}

// leave has callers that leave in the middle of their rows.
func (s *stage) leave(w *workload) {
	s.lookout.harm(sessions, w.name, s.c.Nodes...) // the callers break them
	for k := range 40 {
		s.tried(leaveRows(s.Context(), w.db))
		w.read(k)
		w.insert(k)
	}
}

// leaveRows reads one row of many and leaves.
func leaveRows(ctx context.Context, db *sql.DB) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := db.QueryContext(ctx, "SELECT seq FROM seq_1_to_100000")
	if err != nil {
		return err
	}
	if !rows.Next() {
		return errors.Join(errors.New("no row"), rows.Err(), rows.Close())
	}
	cancel()
	_ = rows.Close() // says that the caller has left
	return nil
}

// A session is one connection as its server knows it.
type session struct {
	node string
	id   int
}

// sessionsOf returns all sessions of a client's pool.
func (s *stage) sessionsOf(w *workload) map[session]bool {
	found := make(map[session]bool)
	var conns []*sql.Conn
	for range w.db.Stats().MaxOpenConnections {
		conn, err := w.db.Conn(s.Context())
		if err != nil {
			s.Error(err)
			break
		}
		conns = append(conns, conn)
		var one session
		s.tried(conn.QueryRowContext(s.Context(), "SELECT @@wsrep_node_name, CONNECTION_ID()").Scan(&one.node, &one.id))
		found[one] = true
	}
	for _, conn := range conns {
		conn.Close()
	}
	return found
}
