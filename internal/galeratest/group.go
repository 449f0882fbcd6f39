package galeratest

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A Group is a fake Galera group that has data, which the statements of [Put] and
// [Get] write and read. What one node has committed is on the others after their
// delay. Any goroutine may use it.
type Group struct {
	mu    sync.Mutex // guards what follows
	log   []change
	nodes map[*fakedb.Node]*member
}

// Put returns a statement that writes a value. Neither may have a quote in it.
func Put(key, value string) string { return "INSERT INTO kv VALUES ('" + key + "', '" + value + "')" }

// Get returns a query for the value of a key, the name of the node, and the number
// of the last change that it has.
func Get(key string) string { return "SELECT v FROM kv WHERE k = '" + key + "'" }

type change struct {
	key, value string
	at         time.Time
}

// A member is one node of the group. What it has is a beginning of the log.
type member struct {
	delay   time.Duration
	stopped bool
	mute    bool
	watch   func(query string)
	applied int
}

// NewGroup makes nodes members of a new group, beside what [Node] makes of them.
func NewGroup(nodes ...*fakedb.Node) (*Group, []*Script) {
	g := &Group{nodes: make(map[*fakedb.Node]*member)}
	var scripts []*Script
	for _, n := range nodes {
		s := Node(n)
		scripts = append(scripts, s)
		g.nodes[n] = new(member)
		n.OnStatement(func(ctx context.Context, query string, _ []driver.NamedValue) error {
			g.mu.Lock()
			watch := g.nodes[n].watch
			g.mu.Unlock()
			if watch != nil {
				watch(query)
			}
			if err := g.statement(ctx, n, query); err != nil {
				return err
			}
			return s.refusal(query)
		})
		n.OnQuery(func(query string) ([][]driver.Value, bool) {
			if table, ok := g.query(n, query); ok {
				return table, true
			}
			return s.answer(query)
		})
	}
	return g, scripts
}

// Delay sets how long after its commit a change is on a node. What is there stays.
func (g *Group) Delay(n *fakedb.Node, d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.apply(g.nodes[n])
	g.nodes[n].delay = d
}

// Stop makes a node apply nothing, or go on.
func (g *Group) Stop(n *fakedb.Node, stopped bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.apply(g.nodes[n])
	g.nodes[n].stopped = stopped
}

// Watch makes a node call f for every statement.
func (g *Group) Watch(n *fakedb.Node, f func(query string)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.nodes[n].watch = f
}

// Mute makes a node refuse to tell its position.
func (g *Group) Mute(n *fakedb.Node, mute bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.nodes[n].mute = mute
}

// apply brings a member up to date. The caller holds the lock.
func (g *Group) apply(m *member) {
	for !m.stopped && m.applied < len(g.log) && !time.Now().Before(g.log[m.applied].at.Add(m.delay)) {
		m.applied++
	}
}

// isCausal reports whether a query waits for the group.
func isCausal(query string) bool { return strings.Contains(query, "wsrep_sync_wait=1") }

func (g *Group) statement(ctx context.Context, n *fakedb.Node, query string) error {
	if words := strings.Split(query, "'"); strings.HasPrefix(query, "INSERT INTO kv ") && len(words) == 5 {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.log = append(g.log, change{words[1], words[3], time.Now()})
		g.nodes[n].applied = len(g.log) // its own commit comes after all before
		return nil
	}
	if !isCausal(query) {
		return nil
	}
	g.mu.Lock()
	end := len(g.log)
	g.mu.Unlock()
	for {
		g.mu.Lock()
		g.apply(g.nodes[n])
		there := g.nodes[n].applied >= end
		g.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *Group) query(n *fakedb.Node, query string) ([][]driver.Value, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.nodes[n]
	g.apply(m)
	if strings.HasSuffix(query, "WSREP_LAST_SEEN_GTID()") {
		if m.mute {
			return nil, true
		}
		return [][]driver.Value{{fmt.Sprintf("0-1-%d", m.applied)}}, true
	}
	words := strings.Split(query, "'")
	if !strings.HasPrefix(query, "SELECT v FROM kv ") || len(words) != 3 {
		return nil, false
	}
	value := ""
	for _, c := range g.log[:m.applied] {
		if c.key == words[1] {
			value = c.value
		}
	}
	return [][]driver.Value{{value, n.Name(), strconv.Itoa(m.applied)}}, true
}
