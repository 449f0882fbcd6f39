package integration

import (
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/internal/galera"
)

// A page is what a node has of the ledger since the last check.
type page struct {
	balances [accounts]int64
	journal  map[int64]entry
	rows     map[int64]string
}

type entry struct {
	k             string
	debit, credit int
	amount        int64
}

func (p page) equal(q page) bool {
	return p.balances == q.balances && maps.Equal(p.journal, q.journal) && maps.Equal(p.rows, q.rows)
}

// readPage reads a node in one snapshot.
func readPage(t *testing.T, n *galera.Node) page {
	t.Helper()
	p := page{journal: make(map[int64]entry), rows: make(map[int64]string)}
	tx, err := n.AdminDB().BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	var id, balance int64
	each(t, tx, "SELECT id, balance FROM app.ledger_accounts", []any{&id, &balance}, func() { p.balances[id] = balance })
	var e entry
	each(t, tx, "SELECT id, k, debit, credit, amount FROM app.ledger_journal", []any{&id, &e.k, &e.debit, &e.credit, &e.amount}, func() { p.journal[id] = e })
	each(t, tx, "SELECT id, k FROM app.ledger_rows", []any{&id, &e.k}, func() { p.rows[id] = e.k })
	return p
}

// each scans every row of a query and calls row for it.
func each(t *testing.T, tx *sql.Tx, query string, into []any, row func()) {
	t.Helper()
	rows, err := tx.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		row()
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// remove removes the rows of the page, and only those: others may arrive late.
func (p page) remove(t *testing.T, c *galera.Cluster) {
	t.Helper()
	var statements []string
	for table, ids := range map[string][]int64{
		"ledger_journal": slices.Collect(maps.Keys(p.journal)),
		"ledger_rows":    slices.Collect(maps.Keys(p.rows)),
	} {
		for some := range slices.Chunk(ids, 500) {
			statements = append(statements, "DELETE FROM app."+table+" WHERE id IN ("+strings.Join(strings.Fields(strings.Trim(fmt.Sprint(some), "[]")), ",")+")")
		}
	}
	run(t, c, statements...)
}
