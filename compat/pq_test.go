package compat

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/pgcluster"
	"github.com/lib/pq"
)

// lib/pq runs on a real PostgreSQL server that ends connections which are in a
// transaction. What the program sees can be recognised as with lib/pq alone. A
// Commit that meets the end is an unknown outcome, and a prepared statement
// gives no driver.ErrBadConn, because database/sql would run it again on the
// same connection. Nothing is committed.
func TestPqInATransaction(t *testing.T) {
	server := pgcluster.StartT(t, pgcluster.Options{Nodes: 1}).Nodes[0]
	d := clustersql.NewDriver(&pq.Driver{}, t.Name(), clustersql.WithCheckQuery("SELECT NOT pg_is_in_recovery()"))
	defer d.Close()
	if err := d.AddNode("n1", server.DSN("")); err != nil {
		t.Fatal(err)
	}
	ours := sql.OpenDB(d.Connector())
	defer ours.Close()
	plain, err := sql.Open("postgres", server.DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := plain.Exec("CREATE TABLE killed (who TEXT)"); err != nil {
		t.Fatal(err)
	}
	for name, steps := range map[string][]pqStep{
		"exec, rollback":      {pqExec, pqExec, pqRollback},
		"exec, commit":        {pqExec, pqCommit},
		"arguments, rollback": {pqArguments, pqRollback},
		"query, commit":       {pqQuery, pqQuery, pqCommit},
		"statement, rollback": {pqStatement, pqStatement, pqRollback},
		"statement, commit":   {pqStatement, pqCommit},
		"preparing, rollback": {pqPrepare, pqRollback},
		"commit":              {pqCommit},
		"rollback":            {pqRollback},
	} {
		t.Run(name, func(t *testing.T) {
			alone, cluster := killInATransaction(t, plain, plain), killInATransaction(t, ours, plain)
			for i, s := range steps {
				want, got := s.do(alone), s.do(cluster)
				t.Logf("%s: alone: %v; in a cluster: %v", s.name, want, got)
				if want == nil || got == nil {
					t.Fatalf("%s works", s.name)
				}
				var told *clustersql.NodeError
				unknown := errors.Is(got, clustersql.ErrUnknownOutcome)
				switch {
				case s.name == "commit" && i == 0:
					if !unknown || errors.Is(got, driver.ErrBadConn) {
						t.Errorf("a first commit: %v", got)
					}
				case s.name == "statement":
					if unknown || !errors.As(got, &told) || errors.Is(got, driver.ErrBadConn) {
						t.Errorf("statement: %v", got)
					}
				case unknown || errors.Is(got, driver.ErrBadConn) != errors.Is(want, driver.ErrBadConn):
					t.Errorf("%s: alone %v, in a cluster %v", s.name, want, got)
				}
			}
		})
	}
	rows := -1
	if err := plain.QueryRow("SELECT count(*) FROM killed").Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows were committed: %v", rows, err)
	}
	t.Run("COPY, LISTEN and errors", func(t *testing.T) { pqItself(t, ours) })
	if s := d.Status().Nodes[0]; s.State != clustersql.StateUp || s.Generation != 0 {
		t.Errorf("%+v", s)
	}
}

// pqItself uses what lib/pq has beside database/sql.
func pqItself(t *testing.T, db *sql.DB) {
	var e *pq.Error
	if _, err := db.Exec("INSERT INTO nowhere VALUES (1)"); !errors.As(err, &e) || e.Code != "42P01" {
		t.Errorf("an error: %v", err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	in, err := tx.Prepare("COPY killed (who) FROM STDIN")
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"one", "two"} {
		if _, err := in.Exec(who); err != nil {
			t.Error(err)
		}
	}
	_, err = in.Exec()
	if err := errors.Join(err, in.Close(), tx.Commit()); err != nil {
		t.Error(err)
	}
	rows := 0
	if err := db.QueryRow("SELECT count(*) FROM killed WHERE who = ANY($1)", pq.Array([]string{"one", "two"})).Scan(&rows); err != nil || rows != 2 {
		t.Errorf("%d rows were copied: %v", rows, err)
	}

	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	heard := make(chan *pq.Notification, 1)
	err = conn.Raw(func(c any) error {
		pq.SetNotificationHandler(c.(clustersql.Conn).Raw(), func(n *pq.Notification) { heard <- n })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "LISTEN news"); err != nil {
		t.Error(err)
	}
	if _, err := db.Exec("NOTIFY news, 'hello'"); err != nil {
		t.Error(err)
	}
	until(t, "the notification", func() bool { // lib/pq reads what has come with the next answer
		if _, err := conn.ExecContext(t.Context(), "SELECT 1"); err != nil {
			t.Fatal(err)
		}
		select {
		case n := <-heard:
			if n.Extra != "hello" {
				t.Errorf("heard %q", n.Extra)
			}
			return true
		default:
			return false
		}
	})
}

// A pqTx is a transaction and a statement that was prepared in it.
type pqTx struct {
	*sql.Tx
	stmt *sql.Stmt
}

// A pqStep is what a program does next in its transaction.
type pqStep struct {
	name string
	do   func(pqTx) error
}

var (
	pqExec      = pqStep{"exec", func(tx pqTx) error { _, err := tx.Exec("INSERT INTO killed VALUES ('exec')"); return err }}
	pqArguments = pqStep{"arguments", func(tx pqTx) error { _, err := tx.Exec("INSERT INTO killed VALUES ($1)", "arguments"); return err }}
	pqQuery     = pqStep{"query", func(tx pqTx) error { return tx.QueryRow("SELECT count(*) FROM killed").Scan(new(int)) }}
	pqStatement = pqStep{"statement", func(tx pqTx) error { _, err := tx.stmt.Exec("statement"); return err }}
	pqPrepare   = pqStep{"preparing", func(tx pqTx) error { _, err := tx.Prepare("SELECT 1"); return err }}
	pqCommit    = pqStep{"commit", func(tx pqTx) error { return tx.Commit() }}
	pqRollback  = pqStep{"rollback", func(tx pqTx) error { return tx.Rollback() }}
)

// killInATransaction begins a transaction, writes in it, and has the server end
// its connection.
func killInATransaction(t *testing.T, db, admin *sql.DB) pqTx {
	t.Helper()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	stmt, err := tx.Prepare("INSERT INTO killed VALUES ($1)")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stmt.Exec("before"); err != nil {
		t.Fatal(err)
	}
	var pid int
	if err := tx.QueryRow("SELECT pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	var done bool
	if err := admin.QueryRow("SELECT pg_terminate_backend($1, 60000)", pid).Scan(&done); err != nil || !done {
		t.Fatal(done, err)
	}
	return pqTx{tx, stmt}
}
