package pgfaults

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/pgcluster"
)

// lookEvery is how often a plain client looks at a node.
const lookEvery = 100 * time.Millisecond

// A look is one question of a plain client to a node. It is due when a client
// that is never late would ask. What this process is late therefore counts.
type look struct {
	due, end time.Time
	err      error
	writable bool
}

// A lookout looks at every node with the backend alone. It also knows what was
// done to the nodes. So it can tell whether a node was good at some time.
type lookout struct {
	mu    sync.Mutex
	looks map[string][]look // by node, in their order
	harms map[string]time.Time
}

// keepLookout starts the plain clients. They look until ctx is done.
func keepLookout(ctx context.Context, t *testing.T, c *pgcluster.Cluster, wg *sync.WaitGroup) *lookout {
	t.Helper()
	k := &lookout{looks: make(map[string][]look), harms: make(map[string]time.Time)}
	for _, n := range c.Nodes {
		db := plain(t, n)
		wg.Go(func() {
			defer db.Close()
			k.keep(ctx, n.Name, db)
		})
	}
	return k
}

func (k *lookout) keep(ctx context.Context, node string, db *sql.DB) {
	for due := time.Now(); ; {
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return
		}
		l := look{due: due}
		var readOnly string
		l.err = db.QueryRow("SHOW transaction_read_only").Scan(&readOnly)
		l.end, l.writable = time.Now(), readOnly == "off"
		k.mu.Lock()
		k.looks[node] = append(k.looks[node], l)
		k.mu.Unlock()
		if due = due.Add(lookEvery); due.Before(l.end) {
			due = l.end
		}
	}
}

// harm notes that from now on something is done to the nodes.
func (k *lookout) harm(nodes ...*pgcluster.Node) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range nodes {
		if _, before := k.harms[n.Name]; !before {
			k.harms[n.Name] = time.Now()
		}
	}
}

// finds is how long it takes to find a silent node: it falls silent just after a
// probe, and the next ones end in vain.
var finds = usual.ProbeInterval*6/5 + time.Duration(usual.Fall)*usual.ProbeTimeout

// good reports whether a node was good for a pool at some time: nothing was done
// to it, and a plain client was answered within probe_timeout for as long as the
// cluster needs to find a silent node, and once more after that. For a pool that
// writes it also said that it takes writes.
func (k *lookout) good(p *pool, node string, at time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if since, harmed := k.harms[node]; harmed && !since.After(at) {
		return false
	}
	looks, from, to := k.looks[node], at.Add(-finds), at.Add(usual.ProbeTimeout)
	i := sort.Search(len(looks), func(i int) bool { return looks[i].end.After(from) })
	last := time.Time{}
	for _, l := range looks[i:] {
		if l.due.After(to) {
			break
		}
		if l.err != nil || l.end.Sub(l.due) > usual.ProbeTimeout || p.writes && !l.writable {
			return false
		}
		last = l.end
	}
	return !last.Add(lookEvery + usual.ProbeTimeout).Before(to)
}

// A toll is what a pool lost though its nodes were good. Connections that give
// way do not count: the program has asked for that.
type toll struct {
	conns, nodes int
	why          []string
}

func (k *lookout) toll(p *pool, during span) toll {
	var t toll
	for _, e := range p.told() {
		if e.Time.Before(during.from) || e.Time.After(during.to) || asked(e.Reason) || !k.good(p, e.Node, e.Time) {
			continue
		}
		switch {
		case e.Kind == clustersql.EventState && e.To == clustersql.StateDown:
			t.nodes++
		case e.Kind == clustersql.EventCut || e.Kind == clustersql.EventRetired || e.Kind == clustersql.EventLost:
			t.conns += e.Conns
		default:
			continue
		}
		t.why = append(t.why, fmt.Sprintf("%s %s: %s to %s, %d connections %s: %s", e.Time.Format("05.000"), e.Node, e.From, e.To, e.Conns, e.Kind, e.Reason))
	}
	return t
}

func (t *toll) add(u toll) {
	t.conns, t.nodes, t.why = t.conns+u.conns, t.nodes+u.nodes, append(t.why, u.why...)
}

// asked reports whether connections ended for a reason for which the program has
// asked.
func asked(reason string) bool {
	return slices.ContainsFunc([]string{
		"other nodes are to have them", "more than its share", "a node that has come back has none", "another node has come back",
		"the node is full, and opens wait",
	}, func(text string) bool { return strings.Contains(reason, text) })
}
