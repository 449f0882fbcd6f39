package compat

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/go-sql-driver/mysql"
	"github.com/golang-migrate/migrate/v4"
	migratemysql "github.com/golang-migrate/migrate/v4/database/mysql"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/pressly/goose/v3"
)

// tools are the ways to use a tool that docs/tools.md shows. Each opens a
// database by a DSN with all hosts, or by one DSN for each node. One that wraps
// a driver counts what it sees.
var tools = map[string]func(dsn string, dsns map[string]string, seen *atomic.Int64) (*session, error){
	"otelsql by name":        otelsqlByName,
	"otelsql registered":     otelsqlRegistered,
	"otelsql outside":        otelsqlOutside,
	"otelsql inside":         otelsqlInside,
	"sqlmw outside":          sqlmwOutside,
	"sqlmw inside":           sqlmwInside,
	"gorm with a dbresolver": gormWithResolver,
	"sqlx":                   sqlxByName,
	"bun":                    bunOverDB,
	"ent":                    entOverDB,
}

// onNetwork is a DSN with another network than tcp.
func onNetwork(network, dsn string) string { return strings.Replace(dsn, "@tcp(", "@"+network+"(", 1) }

// Every tool writes and reads without a pause while a node dies. Reads never
// fail. A write fails only if its connection was lost while it ran: with an
// unknown outcome, or, in a transaction that was not to commit yet, with the
// backend's own error, and then its row is not there.
func throughADeath(t *testing.T, c *galera.Cluster, dsn string) {
	if err := c.Exec(t.Context(), "CREATE TABLE app.entries (id INT PRIMARY KEY, body VARCHAR(100) NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	migrations := startMigrations(t, dsn)
	dsns := map[string]string{}
	for _, n := range c.Nodes {
		dsns[n.Name] = n.DSN("wsrep_sync_wait=7")
	}
	var runs sync.WaitGroup
	dead, over := make(chan struct{}), make(chan struct{})
	first := 0
	var all []*run
	for name, open := range tools {
		r := &run{name: name, id: first, dead: dead, over: over}
		first += 1_000_000
		var err error
		if r.session, err = open(dsn+"&clustersql.idempotent=true", dsns, &r.seen); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, r)
		runs.Go(func() { r.loop(t) })
	}
	time.Sleep(time.Second)
	if err := c.Nodes[2].Kill(); err != nil {
		t.Error(err)
	}
	close(dead)
	finishMigrations(t, migrations)
	waitForRows(all)
	close(over)
	runs.Wait()
	db, err := sql.Open("mysql", dsns[c.Nodes[0].Name])
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, r := range all {
		for _, id := range r.undone {
			var n int
			if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM app.entries WHERE id = ?", id).Scan(&n); err != nil || n != 0 {
				t.Errorf("%s: row %d was lost before its commit, and is there %d times: %v", r.name, id, n, err)
			}
		}
	}
}

// waitForRows waits until each has written and read some rows after the death. The
// others notice that after 5 to 6 s; how long it may take in all is a minute, which
// only bounds the test.
func waitForRows(all []*run) {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if !slices.ContainsFunc(all, func(r *run) bool { return r.after.Load() < 20 }) {
			return
		}
	}
}

// transacts says of a tool that it writes each row in a transaction.
func transacts(tool string) bool { return strings.HasPrefix(tool, "gorm") }

// A run is one tool at work.
type run struct {
	name       string
	session    *session
	seen       atomic.Int64
	after      atomic.Int64 // rows since the death
	id         int
	undone     []int         // rows whose transaction was lost before its commit
	dead, over chan struct{} // closed when the node is dead, and at the end
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// loop writes and reads until the end, and closes the session.
func (r *run) loop(t *testing.T) {
	before, unknown := 0, 0
	for !closed(r.over) {
		died := closed(r.dead)
		switch err := r.once(t.Context()); {
		case errors.Is(err, clustersql.ErrUnknownOutcome):
			unknown++
		case transacts(r.name) && errors.Is(err, mysql.ErrInvalidConn):
			r.undone = append(r.undone, r.id)
		case err != nil:
			t.Errorf("%s: %v", r.name, err)
		case died:
			r.after.Add(1)
		default:
			before++
		}
		time.Sleep(5 * time.Millisecond) // leaves the servers some of the cores
	}
	after := int(r.after.Load())
	if before == 0 || after == 0 || unknown+len(r.undone) > 2 {
		t.Errorf("%s: %d rows before the death, %d after, %d writes without a known outcome, %d lost before their commit", r.name, before, after, unknown, len(r.undone))
	}
	if wraps := strings.HasPrefix(r.name, "otelsql") || strings.HasPrefix(r.name, "sqlmw"); wraps && r.seen.Load() < int64(before+after) {
		t.Errorf("%s has seen %d calls, of %d rows", r.name, r.seen.Load(), before+after)
	}
	if err := r.session.close(); err != nil {
		t.Errorf("%s: %v", r.name, err)
	}
}

// once writes one row and reads it.
func (r *run) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	r.id++
	want := fmt.Sprint(r.id)
	if err := r.session.write(ctx, &entry{ID: r.id, Body: want}); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	e, err := r.session.read(ctx, r.id)
	if err != nil {
		return fmt.Errorf("read: %v", err) // a read has no unknown outcome
	}
	if e.Body != want {
		return fmt.Errorf("read %q, want %q", e.Body, want)
	}
	return nil
}

//go:embed migrate/*.sql
var migrateFiles embed.FS

// A migrator is a tool that migrates, by steps.
type migrator struct {
	name  string
	step  func(ctx context.Context) error
	close func() error
}

// startMigrations makes the first step with each tool.
func startMigrations(t *testing.T, dsn string) []migrator {
	t.Helper()
	var all []migrator
	for name, open := range map[string]func(string) (migrator, error){"goose": gooseSteps, "golang-migrate": migrateSteps} {
		m, err := open(dsn)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		m.name = name
		if err := m.step(t.Context()); err != nil {
			t.Errorf("%s: the first step: %v", name, err)
		}
		all = append(all, m)
	}
	return all
}

// finishMigrations makes the second step, on two of three nodes.
func finishMigrations(t *testing.T, all []migrator) {
	t.Helper()
	for _, m := range all {
		if err := m.step(t.Context()); err != nil {
			t.Errorf("%s: the second step: %v", m.name, err)
		}
		if err := m.close(); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

func gooseSteps(dsn string) (migrator, error) {
	db, err := sql.Open("clustersql", dsn)
	if err != nil {
		return migrator{}, err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return migrator{}, err
	}
	provider, err := goose.NewProvider(goose.DialectMySQL, db, files)
	if err != nil {
		return migrator{}, err
	}
	step := func(ctx context.Context) error {
		_, err := provider.UpByOne(ctx)
		return err
	}
	return migrator{step: step, close: db.Close}, nil
}

// golang-migrate holds one connection for its life, so every step opens it
// anew.
func migrateSteps(dsn string) (migrator, error) {
	step := func(context.Context) error {
		db, err := sql.Open("clustersql", dsn+"&multiStatements=true")
		if err != nil {
			return err
		}
		target, err := migratemysql.WithInstance(db, &migratemysql.Config{})
		if err != nil {
			return errors.Join(err, db.Close())
		}
		source, err := iofs.New(migrateFiles, "migrate")
		if err != nil {
			return err
		}
		m, err := migrate.NewWithInstance("iofs", source, "mysql", target)
		if err != nil {
			return err
		}
		err = m.Steps(1)
		sourceErr, targetErr := m.Close() // closes db too
		return errors.Join(err, sourceErr, targetErr)
	}
	return migrator{step: step, close: func() error { return nil }}, nil
}
