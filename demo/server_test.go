package main

import (
	"context"
	"database/sql"
	"strings"
	"sync"
	"testing"
	"time"
)

// testCluster starts the embedded servers for a test and makes the table.
func testCluster(t *testing.T) *cluster {
	t.Helper()
	silence()
	c, err := startEmbedded(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// plain opens a node with the plain driver.
func plain(t *testing.T, c *cluster, n *node) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", c.dialect.dsn(c, n)+"?interpolateParams=true")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func mustExec(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
}

func TestServersShareTheirTables(t *testing.T) {
	c := testCluster(t)
	mustExec(t, plain(t, c, c.nodes[0]), "CREATE TABLE event (id INT PRIMARY KEY, text VARCHAR(40) NOT NULL)")

	const each = 20
	var writers sync.WaitGroup
	for i, n := range c.nodes {
		db := plain(t, c, n)
		writers.Go(func() {
			for j := range each {
				var rows int
				if _, err := db.Exec("INSERT INTO event VALUES (?, ?)", i*each+j, "x"); err != nil {
					t.Error(err)
				}
				if err := db.QueryRow("SELECT COUNT(*) FROM event").Scan(&rows); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	if err := c.audit(t.Context(), each*len(c.nodes)); err != nil {
		t.Error(err)
	}
}

func TestAuditSaysWhatIsMissing(t *testing.T) {
	c := testCluster(t)
	mustExec(t, plain(t, c, c.nodes[0]), "CREATE TABLE event (id INT PRIMARY KEY, text VARCHAR(40) NOT NULL)")
	mustExec(t, plain(t, c, c.nodes[1]), "INSERT INTO event VALUES (1, 'x')")
	ctx, cancel := context.WithTimeout(t.Context(), 10*auditPause)
	defer cancel()
	err := c.audit(ctx, 2)
	if err == nil || !strings.HasPrefix(err.Error(), "node1: ") {
		t.Errorf("got %v", err)
	}
}

func TestServerKnowsTheCheckStatement(t *testing.T) {
	c := testCluster(t)
	mustExec(t, plain(t, c, c.nodes[2]), "DO 1")
}

func TestServerWantsThePassword(t *testing.T) {
	c := testCluster(t)
	wrong := *c
	wrong.password = "wrong"
	err := plain(t, &wrong, c.nodes[0]).PingContext(t.Context())
	if err == nil || !strings.Contains(err.Error(), "1045") {
		t.Errorf("got %v, want an access denied", err)
	}
}

func TestStoppedNodeComesBackWhereItWas(t *testing.T) {
	c := testCluster(t)
	n := c.nodes[1]
	db := plain(t, c, n)
	mustExec(t, db, "CREATE TABLE event (id INT PRIMARY KEY)")

	n.refuse()
	if err := n.stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.PingContext(t.Context()); err == nil {
		t.Error("a stopped node answers")
	}
	if err := n.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "INSERT INTO event VALUES (1)")
}

func TestSlowNodeAnswersLate(t *testing.T) {
	c := testCluster(t)
	n := c.nodes[0]
	db := plain(t, c, n)
	mustExec(t, db, "DO 1")
	const delay = 50 * time.Millisecond
	n.slow(delay)
	began := time.Now()
	mustExec(t, db, "DO 1")
	if took := time.Since(began); took < delay {
		t.Errorf("the answer came after %s, and was to be held back by %s", took, delay)
	}
}
