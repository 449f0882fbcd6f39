package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/go-sql-driver/mysql"
)

// Every fault of the table happens on the same nodes, each under load and until
// it has ended. The figures are printed at the end.
func TestFaults(t *testing.T) {
	_ = mysql.SetLogger(&mysql.NopLogger{}) // it would write a line for every lost connection
	var log strings.Builder
	c := galera.StartT(t, galera.Options{Log: &log})
	makeTables(t, c)
	var results table
	began := time.Now()
	for _, fault := range []struct {
		name string
		row  func(*stage)
	}{
		{"kill -9", killed},
		{"SIGSTOP and SIGCONT", frozen},
		{"isolated", isolated},
		{"rejecting", rejecting},
		{"shutdown", shutDown},
		{"read_only", readOnly},
		{"state transfer", stateTransfer},
		{"desync", desynced},
		{"max_connections", full},
		{"all frozen", allFrozen},
		{"flipping", flipping},
		{"return", returning},
		{"DelNode and AddNode", membership},
		{"sessions", sessionsAlone},
		{"late", late},
		{"last one desynced", lastDesynced},
		{"causal", causal},
		{"split", split},
	} {
		t.Run(fault.name, func(t *testing.T) {
			before := log.Len()
			fault.row(&stage{T: t, c: c, table: &results})
			if t.Failed() {
				t.Logf("what was done to the servers:\n%s", log.String()[before:])
			}
		})
	}
	t.Logf("after %s:\n%s", time.Since(began).Round(time.Second), &results)
}

// bound asserts that something holds.
func (s *stage) bound(ok bool, format string, args ...any) {
	s.Helper()
	if !ok {
		s.Errorf(format, args...)
	}
}

// within waits for something that must happen in time.
func (s *stage) within(limit time.Duration, what string, ok func() bool) time.Duration {
	s.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > limit {
			s.Errorf("waited %s in vain for %s", limit, what)
			return -1
		}
		s.pass(20 * time.Millisecond)
	}
	return time.Since(began)
}

// quiet lets the load run for a while before the fault.
func (s *stage) quiet() span {
	began := time.Now()
	s.pass(time.Second)
	return span{began, time.Now()}
}

var idempotent = []clustersql.Option{clustersql.WithIdempotent(true)}

// victim returns the first node. It is the one in use, and the one that gets
// the fault.
func (s *stage) victim() *galera.Node { return s.c.Nodes[0] }

// since returns the span from then until now, or until the load was stopped.
func (s *stage) since(then time.Time) span {
	if !s.stopped.IsZero() {
		return span{then, s.stopped}
	}
	return span{then, time.Now()}
}

// backs waits until every client has the first node up. It returns for each how
// long after then that was.
func (s *stage) backs(then time.Time) []time.Duration {
	s.Helper()
	var took []time.Duration
	for _, w := range s.loads {
		took = append(took, s.returned(w, 0, then))
	}
	return took
}
