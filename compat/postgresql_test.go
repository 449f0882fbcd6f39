package compat

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/pgcluster"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"
)

// What PostgreSQL's errors mean is the same through both drivers.
func TestPostgreSQL(t *testing.T) {
	c := pgcluster.StartT(t, pgcluster.Options{})
	s := pgStage{Cluster: c, first: c.Nodes[0], second: c.Nodes[1], late: c.Nodes[2], admin: adminOf(t, c.Nodes[0])}
	s.exec(t, "CREATE TABLE orders (id INT PRIMARY KEY)", "ALTER TABLE orders OWNER TO "+pgcluster.User,
		"CREATE ROLE guest LOGIN", "GRANT SELECT, INSERT ON orders TO guest")
	backends := map[string]driver.Driver{"pgx": stdlib.GetDefaultDriver(), "pq": &pq.Driver{}}
	for name, backend := range backends {
		t.Run(name, func(t *testing.T) {
			s.backend = backend
			if name == "pgx" {
				t.Run("what a probe costs", s.probesCost)
			}
			t.Run("a refused login costs no session", func(t *testing.T) { s.loginRefused(t) })
			t.Run("a full server stays up", func(t *testing.T) { s.full(t) })
			t.Run("a read-only transaction is no read-only node", func(t *testing.T) { s.ownTransaction(t) })
			t.Run("a session that was idle for too long", func(t *testing.T) { s.idleSession(t) })
			t.Run("a server that starts", func(t *testing.T) { s.starting(t) })
		})
	}
	t.Run("a promotion moves the writers", func(t *testing.T) {
		promotionMovesWriters(t, s, backends)
	})
}

// A pgStage is a primary, its standbys, and one driver.
type pgStage struct {
	*pgcluster.Cluster
	first, second, late *pgcluster.Node
	admin               *sql.DB // to the primary
	backend             driver.Driver
}

func adminOf(t *testing.T, n *pgcluster.Node) *sql.DB {
	t.Helper()
	admin, err := sql.Open("pgx", n.DSNOf(pgcluster.Admin, ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.Close() })
	return admin
}

// A pgDiary keeps the events of a cluster.
type pgDiary struct {
	mu     sync.Mutex
	events []clustersql.Event
}

func (p *pgDiary) write(e clustersql.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, e)
}

// harm returns the events in which a node went down or lost connections.
func (p *pgDiary) harm() []clustersql.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.events), func(e clustersql.Event) bool {
		return e.Kind == clustersql.EventState && e.To != clustersql.StateDown || e.Kind == clustersql.EventLost
	})
}

// cluster returns a cluster of the servers through the stage's driver.
func (s pgStage) cluster(t *testing.T, user string, servers []*pgcluster.Node, up int, opts ...clustersql.Option) (clustersql.Driver, *sql.DB, *pgDiary) {
	t.Helper()
	told := new(pgDiary)
	d := clustersql.NewDriver(s.backend, t.Name(), append([]clustersql.Option{clustersql.WithStrategy(clustersql.Ordered), clustersql.WithOnEvent(told.write)}, opts...)...)
	t.Cleanup(func() { d.Close() })
	for i, p := range servers {
		if err := d.AddNode(fmt.Sprintf("n%d", i+1), p.DSNOf(user, "")); err != nil {
			t.Fatal(err)
		}
	}
	db := sql.OpenDB(d.Connector())
	t.Cleanup(func() { db.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := d.WaitReady(ctx, up); err != nil {
		t.Fatal(err)
	}
	return d, db, told
}

// until waits until the condition holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in a minute", what)
		}
	}
}

// loginRefused has the server refuse logins while a session works.
func (s pgStage) loginRefused(t *testing.T) {
	d, db, told := s.cluster(t, "guest", []*pgcluster.Node{s.first}, 1)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hba := filepath.Join(s.first.Data(), "pg_hba.conf")
	was, err := os.ReadFile(hba)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, hba, append([]byte("host all guest 127.0.0.1/32 reject\n"), was...))
	defer s.write(t, hba, was)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var state interface{ SQLState() string }
	_, err = db.Conn(ctx)
	if !errors.As(err, &state) || state.SQLState() != "28000" || ctx.Err() != nil {
		t.Errorf("an open: %v", err)
	}
	until(t, "the refusal to be seen", func() bool { return strings.HasPrefix(d.Status().Nodes[0].Reason, "configuration: ") })
	if _, err := conn.ExecContext(t.Context(), "SELECT 1"); err != nil {
		t.Errorf("the session that is logged in: %v", err)
	}
	for _, e := range told.harm() {
		if e.Kind != clustersql.EventState {
			t.Errorf("%v", e)
		}
	}
	if g := d.Status().Nodes[0].Generation; g != 0 {
		t.Errorf("the connections were retired: generation %d", g)
	}
}

// write changes a file of the server and has it read its settings again.
func (s pgStage) write(t *testing.T, file string, text []byte) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, info.Mode()); err != nil {
		t.Fatal(err)
	}
	if err := s.first.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// full gives a role room for two connections: the probe's and one more.
func (s pgStage) full(t *testing.T) {
	s.exec(t, "ALTER ROLE guest CONNECTION LIMIT 2")
	defer s.exec(t, "ALTER ROLE guest CONNECTION LIMIT -1")
	d, db, told := s.cluster(t, "guest", []*pgcluster.Node{s.first, s.second}, 2)
	var held []*sql.Conn
	for range 3 { // the second server has the same limit
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		conn, err := db.Conn(ctx)
		cancel()
		if err == nil {
			held = append(held, conn)
			defer conn.Close()
		}
	}
	if len(held) != 2 {
		t.Errorf("%d connections, want one on each server", len(held))
	}
	for _, conn := range held {
		if _, err := conn.ExecContext(t.Context(), "SELECT 1"); err != nil {
			t.Error(err)
		}
	}
	for _, n := range d.Status().Nodes {
		if n.State != clustersql.StateUp {
			t.Errorf("%s is %s: %s", n.Name, n.State, n.Reason)
		}
	}
	if harm := told.harm(); len(harm) > 0 {
		t.Errorf("%v", harm)
	}
}

// exec runs statements as the administrator, on all servers.
func (s pgStage) exec(t *testing.T, statements ...string) {
	t.Helper()
	if err := s.Exec(t.Context(), statements...); err != nil {
		t.Fatal(err)
	}
}

// ownTransaction writes in READ ONLY transactions, of three kinds, on a cluster
// that requires writable nodes.
func (s pgStage) ownTransaction(t *testing.T) {
	d, db, told := s.cluster(t, "app", []*pgcluster.Node{s.first}, 1, clustersql.WithRequire(clustersql.RequireWritable))
	const write = "INSERT INTO orders VALUES (1)"
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = tx.Exec(write)
	wantState(t, err, "25006")
	tx.Rollback()
	for _, begin := range []string{"BEGIN READ ONLY", "SET default_transaction_read_only = on"} {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.ExecContext(t.Context(), begin); err != nil {
			t.Fatal(err)
		}
		_, err = conn.ExecContext(t.Context(), write)
		wantState(t, err, "25006")
		conn.Raw(func(any) error { return driver.ErrBadConn })
		conn.Close()
	}
	if n := d.Status().Nodes[0]; n.State != clustersql.StateUp || n.Generation != 0 || len(told.harm()) > 0 {
		t.Errorf("%s, generation %d: %v", n.State, n.Generation, told.harm())
	}
}

// idleSession has the server end sessions that are idle.
func (s pgStage) idleSession(t *testing.T) {
	s.exec(t, "ALTER ROLE guest SET idle_session_timeout = '400ms'")
	defer s.exec(t, "ALTER ROLE guest RESET idle_session_timeout")
	d, db, told := s.cluster(t, "guest", []*pgcluster.Node{s.first}, 1)
	if _, err := db.Exec("SELECT 1"); err != nil {
		t.Fatal(err)
	}
	until(t, "the session to end", func() bool {
		sessions := 1
		const count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'guest' AND query = 'SELECT 1'"
		return s.admin.QueryRow(count).Scan(&sessions) == nil && sessions == 0
	})
	if _, err := db.Exec("SELECT 2"); err != nil {
		t.Logf("the statement that met the end: %v", err)
	}
	if _, err := db.Exec("SELECT 3"); err != nil {
		t.Error(err)
	}
	if n := d.Status().Nodes[0]; n.State == clustersql.StateDown || n.Generation != 0 || len(told.harm()) > 0 {
		t.Errorf("%s, generation %d: %v", n.State, n.Generation, told.harm())
	}
}

// starting asks a standby that takes no logins: it says that it cannot yet, as a
// server does that starts.
func (s pgStage) starting(t *testing.T) {
	s.restart(t, "hot_standby = off")
	d, db, _ := s.cluster(t, "app", []*pgcluster.Node{s.late, s.first}, 1)
	until(t, "the first node to be judged", func() bool { return d.Status().Nodes[0].State == clustersql.StateDown })
	if n := d.Status().Nodes[0]; !strings.HasPrefix(n.Reason, "not ready: ") || !strings.Contains(n.Reason, "57P03") {
		t.Errorf("%s: %s", n.State, n.Reason)
	}
	if port := portOf(t, db); port != s.first.Port() {
		t.Errorf("on port %d", port)
	}
	s.restart(t, "hot_standby = on")
	until(t, "the node to be up", func() bool { return d.Status().Nodes[0].State == clustersql.StateUp })
}

// restart starts the late server again, with a setting.
func (s pgStage) restart(t *testing.T, setting string) {
	t.Helper()
	if err := errors.Join(s.late.Shutdown(t.Context()), s.late.Configure(setting), s.late.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func portOf(t *testing.T, db *sql.DB) (port int) {
	t.Helper()
	if err := db.QueryRow("SELECT inet_server_port()").Scan(&port); err != nil {
		t.Error(err)
	}
	return port
}

// promotionMovesWriters makes the standby a primary, and then the old primary
// read-only, as a planned switchover does. Writers do not see it, whichever way
// their statements are sent.
func promotionMovesWriters(t *testing.T, s pgStage, backends map[string]driver.Driver) {
	type writer struct {
		name     string
		d        clustersql.Driver
		db       *sql.DB
		prepared *sql.Stmt
	}
	var writers []writer
	for name, backend := range backends {
		s.backend = backend
		d, db, _ := s.cluster(t, "app", []*pgcluster.Node{s.first, s.second}, 1, clustersql.WithRequire(clustersql.RequireWritable))
		until(t, "the standby to be judged", func() bool { return d.Status().Nodes[1].State == clustersql.StateDown })
		if n := d.Status().Nodes[1]; !strings.HasPrefix(n.Reason, "read-only: ") {
			t.Errorf("%s: the standby is %s: %s", name, n.State, n.Reason)
		}
		prepared, err := db.Prepare("INSERT INTO orders VALUES ($1)")
		if err != nil {
			t.Fatal(err)
		}
		defer prepared.Close()
		writers = append(writers, writer{name, d, db, prepared})
	}
	id := 100
	write := func(how string, w writer) {
		id++
		var err error
		switch how {
		case "text":
			_, err = w.db.Exec(fmt.Sprintf("INSERT INTO orders VALUES (%d)", id))
		case "arguments":
			_, err = w.db.Exec("INSERT INTO orders VALUES ($1)", id)
		case "returning":
			err = w.db.QueryRow(fmt.Sprintf("INSERT INTO orders VALUES (%d) RETURNING id", id)).Scan(new(int))
		case "prepared":
			_, err = w.prepared.Exec(id)
		}
		if err != nil {
			t.Errorf("%s, %s: %v", w.name, how, err)
		}
	}
	ways := []string{"text", "arguments", "returning", "prepared"}
	for _, w := range writers {
		for _, how := range ways {
			write(how, w)
		}
	}
	before := id
	begun, err := adminOf(t, s.second).Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer begun.Rollback()
	if _, err := begun.Exec("SELECT 1"); err != nil {
		t.Fatal(err)
	}
	if err := s.second.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A probe that falls into the promotion gets such an answer, and asks again.
	var standby bool
	var readOnly string
	if err := begun.QueryRow("SELECT pg_is_in_recovery(), current_setting('transaction_read_only')").Scan(&standby, &readOnly); err != nil || standby || readOnly != "on" {
		t.Errorf("in a transaction of before the promotion: standby %t, read-only %s: %v", standby, readOnly, err)
	}
	for _, w := range writers {
		until(t, "the new primary to be up", func() bool { return w.d.Status().Nodes[1].State == clustersql.StateUp })
	}
	if err := s.first.Set(t.Context(), "default_transaction_read_only", "on"); err != nil {
		t.Fatal(err)
	}
	for i, how := range ways {
		for _, w := range writers {
			write(how, w)
			if n := w.d.Status().Nodes[0]; i == 0 && n.Generation == 0 {
				t.Errorf("%s: the refusal has not retired the old primary's connections", w.name)
			}
		}
	}
	var there int
	if err := adminOf(t, s.second).QueryRow("SELECT count(*) FROM orders WHERE id > $1", before).Scan(&there); err != nil || there != id-before {
		t.Errorf("%d of %d rows are on the new primary: %v", there, id-before, err)
	}
	for _, w := range writers {
		// It is left because it is read-only, or because the other one's timeline
		// is the later one: whichever is seen first, and then whichever last.
		until(t, "the old primary to be left", func() bool { return w.d.Status().Nodes[0].State == clustersql.StateDown })
		if n := w.d.Status().Nodes[0]; !strings.HasPrefix(n.Reason, "read-only: ") && n.Reason != "role: n2 is the new primary: held until it is a standby" {
			t.Errorf("%s: the old primary is %s: %s", w.name, n.State, n.Reason)
		}
	}
}

func wantState(t *testing.T, err error, state string) {
	t.Helper()
	var got interface{ SQLState() string }
	if !errors.As(err, &got) || got.SQLState() != state {
		t.Errorf("%v, want SQLSTATE %s", err, state)
	}
}

// The files of the manual that name pgx load, and what they require is known.
func TestDocsTOMLOfPgxLoads(t *testing.T) {
	text, err := os.ReadFile("../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DB_PASSWORD", "secret")
	found := 0
	for _, m := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(m[1], `"pgx"`) {
			continue
		}
		found++
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, []byte(m[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := clustersql.Load(path)
		if err != nil {
			t.Errorf("%v\n%s", err, m[1])
			continue
		}
		r.Close()
	}
	if found == 0 {
		t.Error("there is none")
	}
}
