package integration

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
)

// promotes is how long the writers may take from a promotion to their first
// acknowledged write.
const promotes = 1500 * time.Millisecond

// promotesQuickly is the same with a probe every 200 ms.
const promotesQuickly = 500 * time.Millisecond

// A diary keeps the events of a cluster.
type diary struct {
	mu     sync.Mutex
	events []clustersql.Event
}

func (d *diary) write(e clustersql.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, e)
}

// of returns how many events of a kind a node has had, and the reason of the last
// one.
func (d *diary) of(node string, kind clustersql.EventKind) (count int, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.events {
		if e.Node == node && e.Kind == kind {
			count, reason = count+1, e.Reason
		}
	}
	return count, reason
}

// After the primary's death a replica is promoted, and the writers move to it.
// The old primary that comes back as one is held, and nothing is written there,
// until it is a replica.
func replicaIsPromoted(t *testing.T, c *galera.Cluster) {
	told := new(diary)
	d, db := replicated(t, c, clustersql.WithRequire(clustersql.RequireReadWrite), clustersql.WithStrategy(clustersql.Ordered),
		clustersql.WithProbe(time.Second, 600*time.Millisecond), clustersql.WithOnEvent(told.write))
	db.SetMaxIdleConns(4)
	w := insertAll(t, db, func(err error) bool { return errors.Is(err, clustersql.ErrUnknownOutcome) })
	old := c.Nodes[0]
	waitFor(t, "writes", func() bool { return w.okSince(time.Now().Add(-often)) })
	must(t, old.Kill())
	time.Sleep(2 * time.Second)
	elected, err := c.Best(t.Context())
	must(t, err)
	must(t, elected.Promote(t.Context()))
	promoted := time.Now()
	waitFor(t, "writes on the new primary", func() bool { return w.acknowledgedSince(promoted) })
	if took := time.Since(promoted); took > promotes {
		t.Errorf("from the promotion to the first write %s", took)
	}
	must(t, c.FollowPrimary(t.Context()))
	if n, reason := told.of(elected.Name, clustersql.EventRole); n != 1 || reason != "primary, was replica" {
		t.Errorf("%d events about the new primary's role: %s", n, reason)
	}

	must(t, old.Start(t.Context()))
	before := rowsOn(t, old)
	waitFor(t, "the old primary to be held", func() bool { n, _ := told.of("n1", clustersql.EventHeld); return n > 0 })
	if n, reason := told.of("n1", clustersql.EventHeld); n != 1 || reason != "role: "+elected.Name+" is the new primary: held until it is a standby" {
		t.Errorf("%d times: %s", n, reason)
	}
	// A program that starts now knows it by who is followed.
	late, _ := replicated(t, c, clustersql.WithRequire(clustersql.RequirePrimary))
	waitFor(t, "the old primary to be held there too", func() bool {
		n := late.Status().Nodes[0]
		return n.State == clustersql.StateDown && strings.Contains(n.Reason, "held until it is a standby")
	})
	time.Sleep(2 * time.Second)
	if after := rowsOn(t, old); after != before {
		t.Errorf("%d rows were written on the old primary", after-before)
	}
	if d.Status().Nodes[0].State != clustersql.StateDown {
		t.Errorf("%+v", d.Status().Nodes[0])
	}
	must(t, old.Follow(t.Context(), elected))
	waitFor(t, "the old primary to be a replica", func() bool {
		n := d.Status().Nodes[0]
		return n.Role == clustersql.RoleReplica && n.Reason == `read-only: require "read-write": the server takes no writes`
	})
	w.stop()
}

func rowsOn(t *testing.T, n *galera.Node) (count int) {
	t.Helper()
	must(t, n.AdminDB().QueryRowContext(t.Context(), "SELECT COUNT(*) FROM app.roles").Scan(&count))
	return count
}
