package session

import (
	"database/sql/driver"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

//lint:file-ignore SA1019 older backends have only the deprecated interfaces

// Exec and Query of a conn that a program got from sql.Conn.Raw reach the
// backend's, and their errors reach the cluster.
func TestLegacyExecAndQuery(t *testing.T) {
	for i, newConn := range backendConns {
		var faults []Fault
		s := &script{shape: shape{newConn, oldestStmt, -1}}
		backend, err := s.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c, _ := Wrap(backend, Link{Generation: new(atomic.Uint64), Closed: func(Closer) {}, Report: func(f Fault) Answer {
			faults = append(faults, f)
			return Answer{Err: f.Err}
		}})
		want := 0
		try := func(name, what string, call func() error) {
			t.Helper()
			want++
			s.fails, s.lines = nil, nil
			if err := call(); err != nil || !slices.ContainsFunc(s.lines, func(l string) bool { return strings.Contains(l, name) }) {
				t.Errorf("%d: %s: %v, %q", i, name, err, s.lines)
			}
			s.fails = map[string]error{what: errBackend}
			if err := call(); err != errBackend {
				t.Errorf("%d: %s: %v", i, name, err)
			}
		}
		if e, ok := c.(driver.Execer); ok {
			try(".Exec statement", "exec", func() error {
				_, err := e.Exec("statement", []driver.Value{int64(1)})
				return err
			})
		}
		if q, ok := c.(driver.Queryer); ok {
			try(".Query statement", "query", func() error {
				rows, err := q.Query("statement", []driver.Value{int64(1)})
				if rows != nil {
					_ = rows.Close()
				}
				return err
			})
		}
		if len(faults) != want {
			t.Errorf("%d: %d faults reported, want %d", i, len(faults), want)
		}
		c.Close()
	}
}
