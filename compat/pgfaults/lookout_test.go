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
	standby  bool
	place    int64 // in the log: what a primary has written, or a standby has replayed
}

// lookQuery asks a node for all that a look has.
const lookQuery = `SELECT current_setting('transaction_read_only') = 'off', pg_is_in_recovery(),
(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END - '0/0')::bigint`

// A lookout looks at every node with the backend alone. It also knows what was
// done to the nodes. So it can tell whether a node was good at some time.
type lookout struct {
	config clustersql.Config // of the clusters

	mu    sync.Mutex
	looks map[string][]look // by node, in their order
	slow  map[string][]span // the dials of a plain client that took longer than probe_timeout
	harms map[string]time.Time
}

// keepLookout starts the plain clients. They look until ctx is done.
func keepLookout(ctx context.Context, t *testing.T, c *pgcluster.Cluster, config clustersql.Config, wg *sync.WaitGroup) *lookout {
	t.Helper()
	k := &lookout{config: config, looks: make(map[string][]look), slow: make(map[string][]span), harms: make(map[string]time.Time)}
	for _, n := range c.Nodes {
		db, fresh := plain(t, n), plain(t, n)
		fresh.SetMaxIdleConns(-1)
		wg.Go(func() {
			defer fresh.Close()
			k.dial(ctx, n.Name, fresh)
		})
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
		l.err = db.QueryRow(lookQuery).Scan(&l.writable, &l.standby, &l.place)
		l.end = time.Now()
		k.mu.Lock()
		k.looks[node] = append(k.looks[node], l)
		k.mu.Unlock()
		if due = due.Add(lookEvery); due.Before(l.end) {
			due = l.end
		}
	}
}

// dial opens a connection to a node again and again. A server on a busy machine may be
// slow to take new ones, and work well on those that it has.
func (k *lookout) dial(ctx context.Context, node string, db *sql.DB) {
	tick := time.NewTicker(5 * lookEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		began := time.Now()
		_ = db.Ping() // what comes of it is not looked at: there may be no room
		if ended := time.Now(); ended.Sub(began) > k.config.ProbeTimeout {
			k.mu.Lock()
			k.slow[node] = append(k.slow[node], span{began, ended})
			k.mu.Unlock()
		}
		<-tick.C
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
func (k *lookout) finds() time.Duration {
	return k.config.ProbeInterval*6/5 + time.Duration(k.config.Fall)*k.config.ProbeTimeout
}

// good reports whether a node was good for a pool at some time: nothing was done
// to it, and a plain client was answered within probe_timeout for as long as the
// cluster needs to find a silent node, and once more after that. Nor did a dial take
// longer, within the time that an attempt has. For a pool that writes it also said
// that it takes writes.
func (k *lookout) good(p *pool, node string, at time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if since, harmed := k.harms[node]; harmed && !since.After(at) {
		return false
	}
	looks, from, to := k.looks[node], at.Add(-k.finds()), at.Add(k.config.ProbeTimeout)
	if slices.ContainsFunc(k.slow[node], func(d span) bool { return d.to.After(from.Add(-k.config.AttemptTimeout)) && d.from.Before(to) }) {
		return false
	}
	i := sort.Search(len(looks), func(i int) bool { return looks[i].end.After(from) })
	last := time.Time{}
	for _, l := range looks[i:] {
		if l.due.After(to) {
			break
		}
		if l.err != nil || l.end.Sub(l.due) > k.config.ProbeTimeout || p.writes && !l.writable {
			return false
		}
		last = l.end
	}
	return !last.Add(lookEvery + k.config.ProbeTimeout).Before(to)
}

// behind reports whether a standby had not replayed by then what a primary had
// written max_lag before. Two looks may come late.
func (k *lookout) behind(node string, at time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	place, known := int64(0), false
	for _, l := range k.looks[node] {
		if l.err == nil && l.standby && !l.end.After(at) {
			place, known = l.place, true
		}
	}
	if !known {
		return false
	}
	for _, looks := range k.looks {
		for _, l := range looks {
			if l.err == nil && !l.standby && l.place > place && !l.end.After(at.Add(2*lookEvery-maxLag)) {
				return true
			}
		}
	}
	return false
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
		if !p.writes && strings.HasPrefix(e.Reason, "lagging: further behind") && k.behind(e.Node, e.Time) {
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

// A standby that lags is no good node for a reader, and one that does not is.
func TestTollOfALaggingStandby(t *testing.T) {
	begin := time.Now()
	at := func(seconds float64) time.Time { return begin.Add(time.Duration(seconds * float64(time.Second))) }
	for name, tc := range map[string]struct {
		stops float64 // the standby replays nothing after that
		want  int
	}{
		"it replays all":                 {stops: 10, want: 1},
		"it has stopped":                 {stops: 5},
		"it has stopped a moment before": {stops: 8.5, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			k := &lookout{config: usual, looks: make(map[string][]look), harms: make(map[string]time.Time)}
			for s := 0.0; s < 10; s += lookEvery.Seconds() {
				l := look{due: at(s), end: at(s + 0.01), place: int64(1000 * s)}
				k.looks["n1"] = append(k.looks["n1"], l)
				l.standby, l.place = true, int64(1000*min(s, tc.stops))
				k.looks["n2"] = append(k.looks["n2"], l)
			}
			p := &pool{events: []clustersql.Event{{Time: at(9), Node: "n2", Kind: clustersql.EventState, To: clustersql.StateDown, Reason: "lagging: further behind its primary than max_lag (2s)"}}}
			if got := k.toll(p, span{begin, at(10)}); got.nodes != tc.want {
				t.Errorf("%d good nodes taken down, not %d", got.nodes, tc.want)
			}
		})
	}
}
