package integration

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/galera"
)

// lookEvery is how often a plain client looks at a node.
const lookEvery = 100 * time.Millisecond

// A look is one question of a plain client to a node. It is due when a client
// that is never late would ask. What this process is late therefore counts.
type look struct {
	due, end time.Time
	err      error
	donor    bool // the node says that it is a donor or desynced
	readOnly bool // the node says that it takes no writes
}

// A lookout looks at every node with the backend alone, as a user of its own.
// It also knows what was done to the nodes. So it can tell whether a node was
// good at some time.
type lookout struct {
	nodes []string

	mu    sync.Mutex
	looks map[string][]look // by node, in their order
	harms []harm
}

// A harm is what was done to a node within a span. A span without an end lasts.
type harm struct {
	node   string
	client string // whom it concerns; "" is all
	of     harmed
	span
}

// Harmed says what a fault is done to. The rest of the node is good all the
// same.
type harmed uint8

const (
	itself   harmed = 1 << iota // the node, or how it takes new connections
	sessions                    // the connections that are established
	all      = itself | sessions
)

// keepLookout starts the plain clients. They look until ctx is done.
func keepLookout(ctx context.Context, t *testing.T, c *galera.Cluster, wg *sync.WaitGroup) *lookout {
	t.Helper()
	k := &lookout{looks: make(map[string][]look)}
	for _, n := range c.Nodes {
		k.nodes = append(k.nodes, n.Name)
		db := plain(t, dsnOf(n, "lookout", patient))
		wg.Go(func() {
			defer db.Close()
			k.keep(ctx, n.Name, db)
		})
	}
	return k
}

func (k *lookout) keep(ctx context.Context, node string, db *sql.DB) {
	for due := time.Now(); ; {
		if d := time.Until(due); d > 0 {
			select {
			case <-time.After(d):
			case <-ctx.Done():
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		l := look{due: due}
		l.err = l.at(db)
		l.end = time.Now()
		k.mu.Lock()
		k.looks[node] = append(k.looks[node], l)
		k.mu.Unlock()
		if due = due.Add(lookEvery); due.Before(l.end) {
			due = l.end
		}
	}
}

// at asks a node whether it works and takes writes, and for its state in its group,
// if it has one.
func (l *look) at(db *sql.DB) error {
	if _, err := db.Exec("DO 1"); err != nil {
		return err
	}
	if err := db.QueryRow("SELECT @@GLOBAL.read_only").Scan(&l.readOnly); err != nil {
		return err
	}
	var name, state string
	err := db.QueryRow("SHOW GLOBAL STATUS LIKE 'wsrep_local_state'").Scan(&name, &state)
	if l.donor = state == "2"; errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

// harm notes that from now on something is done to the nodes.
func (k *lookout) harm(of harmed, client string, nodes ...*galera.Node) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range nodes {
		k.harms = append(k.harms, harm{n.Name, client, of, span{from: time.Now()}})
	}
}

// heal notes that everything is over then.
func (k *lookout) heal(then time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.harms {
		if k.harms[i].to.IsZero() {
			k.harms[i].to = then
		}
	}
}

// forget drops what was over before then.
func (k *lookout) forget(then time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.harms = slices.DeleteFunc(k.harms, func(h harm) bool { return !h.to.IsZero() && h.to.Before(then) })
	for node, looks := range k.looks {
		k.looks[node] = slices.Clone(looks[first(looks, then):])
	}
}

// unharmed reports whether nothing is done to a node at some time that concerns
// the client.
func (k *lookout) unharmed(node, client string, of harmed, at time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, h := range k.harms {
		if h.node == node && h.of&of != 0 && (h.client == "" || h.client == client) && !h.from.After(at) && (h.to.IsZero() || !h.to.Before(at)) {
			return false
		}
	}
	return true
}

// answered reports whether a node answered all looks of a span within limit.
func (k *lookout) answered(node string, p span, limit time.Duration) bool {
	looks := k.during(node, p)
	for _, l := range looks {
		if l.err != nil || l.end.Sub(l.due) > limit {
			return false
		}
	}
	return len(looks) > 0 && !looks[len(looks)-1].end.Add(lookEvery+limit).Before(p.to)
}

// donated reports whether a node said in all looks of a span that it is a
// donor or desynced.
func (k *lookout) donated(node string, p span) bool {
	looks := k.during(node, p)
	for _, l := range looks {
		if !l.donor {
			return false
		}
	}
	return len(looks) > 0
}

// refused reports whether a node said in one of the looks of a span that it takes no
// writes.
func (k *lookout) refused(node string, p span) bool {
	return slices.ContainsFunc(k.during(node, p), func(l look) bool { return l.readOnly })
}

// during returns the looks that were under way within a span.
func (k *lookout) during(node string, p span) []look {
	k.mu.Lock()
	defer k.mu.Unlock()
	looks := k.looks[node]
	from := first(looks, p.from)
	to := sort.Search(len(looks), func(i int) bool { return looks[i].due.After(p.to) })
	return looks[from:max(from, to)]
}

// first returns the index of the first look that had not ended then.
func first(looks []look, then time.Time) int {
	return sort.Search(len(looks), func(i int) bool { return looks[i].end.After(then) })
}
