package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/go-sql-driver/mysql"
)

// A mischief is something that may happen to a node in the soak, and how it
// ends.
type mischief struct {
	name   string
	weight int
	effect effect
	harms  harmed // what the fault is done to
	begin  func(*soak, *galera.Node) error
	end    func(*soak, *galera.Node) error // nil: it needs no end
}

// An effect is what happens to the node in the meantime.
type effect uint8

const (
	usable     effect = iota
	refuses           // it refuses work, or some opens
	parted            // it is parted from its group
	everywhere        // it happens to all nodes: nothing else may in the meantime
)

// Kills and freezes are frequent; what takes long is rare.
var mischiefs = []mischief{
	{"kill -9", 4, parted, all, func(s *soak, n *galera.Node) error { return n.Kill() }, startAgain},
	{"shutdown", 2, parted, all, func(s *soak, n *galera.Node) error { return n.Shutdown(s.Context()) }, startAgain},
	{"freeze", 4, parted, all, func(s *soak, n *galera.Node) error { return n.Freeze() }, resume},
	{"isolate", 2, parted, all, func(s *soak, n *galera.Node) error { return n.Isolate(s.Context()) }, func(s *soak, n *galera.Node) error { return n.Rejoin(s.Context()) }},
	{"alone", 1, parted, all, splitOff, unite},
	{"wipe", 1, parted, all, wipe, startAgain},
	{"reject", 3, refuses, all, func(s *soak, n *galera.Node) error { return n.RejectQueries(s.Context(), "ALL") }, acceptAgain},
	{"reject and kill", 2, refuses, all, func(s *soak, n *galera.Node) error { return n.RejectQueries(s.Context(), "ALL_KILL") }, acceptAgain},
	{"read only", 3, refuses, all, func(s *soak, n *galera.Node) error { return n.ReadOnly(s.Context(), true) }, func(s *soak, n *galera.Node) error { return n.ReadOnly(s.Context(), false) }},
	{"desync", 2, refuses, all, func(s *soak, n *galera.Node) error { return n.Desync(s.Context(), true) }, func(s *soak, n *galera.Node) error { return n.Desync(s.Context(), false) }},
	{"full", 2, usable, 0, func(s *soak, n *galera.Node) error { return n.MaxConnections(s.Context(), 10) }, func(s *soak, n *galera.Node) error { return n.MaxConnections(s.Context(), 0) }},
	{"connections killed", 3, usable, sessions, killSome, nil},
	{"drain", 2, refuses, all, drain, undrain},
	{"leave and join", 2, refuses, all, leave, join},
	{"logins refused", 2, everywhere, itself, refuseLogins, acceptLogins},
	{"idle connections killed", 2, everywhere, sessions, killIdle, nil},
	{"last one desynced", 1, everywhere, 0, desyncLast, syncLast},
	{"all frozen", 1, everywhere, all, freezeAll, resumeAll},
}

// choose draws a mischief.
func choose(r *rand.Rand, from []mischief) mischief {
	sum := 0
	for _, m := range from {
		sum += m.weight
	}
	k := r.IntN(sum)
	for _, m := range from {
		if k -= m.weight; k < 0 {
			return m
		}
	}
	panic("not reached")
}

// splitOff starts a node again as a group of its own. What is written there gets
// lost.
func splitOff(s *soak, n *galera.Node) error {
	s.ledger.donors.Store(true) // the node needs a state transfer afterwards
	if err := n.Kill(); err != nil {
		return err
	}
	return n.StartAlone(context.Background())
}

func unite(s *soak, n *galera.Node) error {
	if err := n.Wipe(); err != nil {
		return err
	}
	return startAgain(s, n)
}

func startAgain(s *soak, n *galera.Node) error {
	err := n.Start(context.Background())
	s.ledger.donors.Store(false)
	return err
}

func wipe(s *soak, n *galera.Node) error {
	s.ledger.donors.Store(true)
	return n.Wipe()
}

func resume(s *soak, n *galera.Node) error { return n.Resume() }

func acceptAgain(s *soak, n *galera.Node) error { return n.RejectQueries(s.Context(), "NONE") }

func freezeAll(s *soak, _ *galera.Node) error {
	return onAll(s.c.Nodes, func(n *galera.Node) error { return n.Freeze() })
}

func resumeAll(s *soak, _ *galera.Node) error {
	return onAll(s.c.Nodes, func(n *galera.Node) error { return n.Resume() })
}

func drain(s *soak, n *galera.Node) error {
	return onAll(s.ledger.users, func(u *user) error { return u.d.Drain(n.Name) })
}

func undrain(s *soak, n *galera.Node) error {
	return onAll(s.ledger.users, func(u *user) error { return u.d.Undrain(n.Name) })
}

func leave(s *soak, n *galera.Node) error {
	return onAll(s.ledger.users, func(u *user) error { return u.d.DelNode(n.Name) })
}

func join(s *soak, n *galera.Node) error {
	return onAll(s.ledger.users, func(u *user) error { return u.d.AddNode(n.Name, n.DSN(u.params)) })
}

// onAll calls do for each element, also after one that failed.
func onAll[T any](all []T, do func(T) error) error {
	var errs []error
	for _, one := range all {
		errs = append(errs, do(one))
	}
	return errors.Join(errs...)
}

func refuseLogins(s *soak, _ *galera.Node) error {
	return s.c.Exec(s.Context(), "ALTER USER "+galera.User+" IDENTIFIED BY 'another'")
}

func acceptLogins(s *soak, _ *galera.Node) error {
	return s.c.Exec(s.Context(), "ALTER USER "+galera.User+" IDENTIFIED BY '"+galera.Password+"'")
}

// desyncLast shuts the other nodes down and desyncs this one, which is well
// otherwise.
func desyncLast(s *soak, n *galera.Node) error {
	for _, other := range s.c.Nodes {
		if other == n {
			continue
		}
		s.lookout.harm(all, "", other)
		if err := other.Shutdown(s.Context()); err != nil {
			return err
		}
		if err := s.c.WaitSynced(s.Context()); err != nil {
			return err
		}
	}
	return n.Desync(s.Context(), true)
}

func syncLast(s *soak, n *galera.Node) error { return n.Desync(s.Context(), false) }

// killIdle kills the application's connections that idle.
func killIdle(s *soak, _ *galera.Node) error {
	return onAll(s.c.Nodes, func(n *galera.Node) error { return s.kill(n, " AND COMMAND = 'Sleep'", 1) })
}

// killSome kills a third of the application's connections.
func killSome(s *soak, n *galera.Node) error { return s.kill(n, "", 3) }

// kill kills one of so many of the application's connections for which a
// condition holds.
func (s *soak) kill(n *galera.Node, condition string, of int) error {
	rows, err := n.AdminDB().QueryContext(s.Context(), "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = ?"+condition, galera.User)
	if err != nil {
		return err
	}
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return err
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, id := range ids {
		if s.random.IntN(of) > 0 {
			continue
		}
		var gone *mysql.MySQLError
		if _, err := n.AdminDB().ExecContext(s.Context(), fmt.Sprint("KILL CONNECTION ", id)); err != nil && !(errors.As(err, &gone) && gone.Number == 1094) {
			return err
		}
	}
	return nil
}

// fits reports whether a mischief may begin while the others last. A majority
// must stay together. While a node is parted from its group, one of the other
// nodes must be usable. If none were, the parted node would be used as soon as
// it answers, whatever it has missed.
func (m mischief) fits(others []effect) bool {
	with := append(slices.Clone(others), m.effect)
	count := func(e effect) (n int) {
		for _, is := range with {
			if is == e {
				n++
			}
		}
		return n
	}
	if count(everywhere) > 0 {
		return len(with) == 1
	}
	return count(parted) == 0 || count(parted) == 1 && count(refuses) <= 1
}

// episode runs up to three mischiefs, which overlap, each on another node. It
// returns when the cluster is whole again. The result says what was done.
func (s *soak) episode(t *testing.T) string {
	t.Helper()
	nodes := s.random.Perm(len(s.c.Nodes))[:1+s.random.IntN(len(s.c.Nodes))]
	var done []string
	var ends []func() error
	var lasting []effect
	for _, i := range nodes {
		m, n := choose(s.random, mischiefs), s.c.Nodes[i]
		for !m.fits(lasting) {
			m = choose(s.random, mischiefs)
		}
		lasting = append(lasting, m.effect)
		s.counts[m.name]++
		t.Logf("%s: %s", n.Name, m.name)
		s.harm(m, n)
		if err := m.begin(s, n); err != nil {
			t.Fatalf("%s: %s: %v", n.Name, m.name, err)
		}
		if m.end != nil {
			ends = append(ends, func() error { return m.end(s, n) })
		}
		dwell := s.dwell()
		done = append(done, fmt.Sprintf("%s %s %s", n.Name, m.name, dwell.Round(10*time.Millisecond)))
		time.Sleep(dwell)
		if m.effect == everywhere {
			break
		}
	}
	for _, i := range s.random.Perm(len(ends)) {
		if err := ends[i](); err != nil {
			t.Fatal(err)
		}
		time.Sleep(s.dwell() / 10)
	}
	if err := s.c.Heal(context.Background()); err != nil {
		t.Fatal(err)
	}
	return strings.Join(done, ", ")
}

// harm notes what a mischief is done to.
func (s *soak) harm(m mischief, n *galera.Node) {
	nodes := []*galera.Node{n}
	if m.effect == everywhere {
		nodes = s.c.Nodes
	}
	s.lookout.harm(m.harms, "", nodes...)
}

// dwell draws a time from a tenth of a second to fifteen seconds. Short times
// are as likely as long ones.
func (s *soak) dwell() time.Duration {
	d := 100 * time.Millisecond
	for range s.random.IntN(8) {
		d *= 2
	}
	return d + time.Duration(s.random.Int64N(int64(d)))/5
}
