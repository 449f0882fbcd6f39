package discovery

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/members"
)

// A found is a cluster whose nodes a Finder finds by the program's own source.
type found struct {
	mu     sync.Mutex // guards what follows
	source []members.Node
	err    error
	asked  int
	off    bool
	nodes  []string // of the cluster
	heard  []string // the sources whose error has changed, with it
	tried  []string // the DSNs that Usable was asked for
	refuse string   // the DSN of which Become can make no node
	failed int      // how often it was asked to
}

func (c *found) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// has checks the nodes, and what was heard since it was called before.
func (c *found) has(t *testing.T, nodes string, heard ...string) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := strings.Join(c.nodes, " "); got != nodes || !slices.Equal(c.heard, heard) {
		t.Errorf("the nodes are %q, heard was %q; want %q, %q", got, c.heard, nodes, heard)
	}
	c.heard = nil
}

func (c *found) settings() Settings {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off {
		return Settings{}
	}
	return Settings{
		Kinds: Kinds{Program}, Dialect: dialect.Generic{}, Every: 10 * time.Second, Missing: 1, Seed: 1,
		Source: func(context.Context) ([]members.Node, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.asked++
			return slices.Clone(c.source), c.err
		},
	}
}

func (c *found) become(_, nodes []members.Node) (bad int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for i, n := range nodes {
		if n.DSN == c.refuse {
			c.failed++
			return i, errors.New("refused")
		}
		names = append(names, n.Name)
	}
	c.nodes = names
	return -1, nil
}

func (c *found) finder() *Finder {
	return NewFinder(Cluster{
		Settings: c.settings, Become: c.become, Turn: make(chan struct{}, 1), Hide: strings.ToUpper,
		Configured: func() (templates, nodes []members.Node) { return nil, []members.Node{{Name: "own"}} },
		Empty:      func() bool { return false },
		Usable: func(n *members.Node) error {
			c.set(func() { c.tried = append(c.tried, n.DSN) })
			if n.DSN == "unusable" {
				return errors.New("no DSN")
			}
			return nil
		},
		Heard: func(_, changed []Source) {
			c.set(func() {
				for _, s := range changed {
					c.heard = append(c.heard, s.Name+": "+s.Err)
				}
			})
		},
	})
}

func nodesOf(pairs ...string) (all []members.Node) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, members.Node{Name: pairs[i], DSN: pairs[i+1]})
	}
	return all
}

// The cluster gets what was found. The last good answer stays, and each change of what a
// source says is told once.
func TestTheFinderKeepsTheLastGoodAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &found{source: nodesOf("a", "1", "b", "2"), refuse: "never"}
		f := c.finder()
		if f.Shown() != nil || f.Found() != nil || f.Err().Error() != "discovery has no answer yet" {
			t.Errorf("before the start: %v, %v, %v", f.Shown(), f.Found(), f.Err())
		}
		ctx, cancel := context.WithCancel(t.Context())
		f.Start(ctx)
		c.has(t, "own a b")
		c.set(func() { c.err = errors.New("gone") })
		time.Sleep(time.Minute)
		c.has(t, "own a b", "source: GONE")
		if err := f.Err(); err.Error() != "discovery: source: GONE" {
			t.Error(err)
		}
		c.set(func() { c.err, c.source = nil, nodesOf("b", "2", "d", "4") })
		time.Sleep(12 * time.Second)
		c.has(t, "own b d", "source: ")
		cancel()
		<-f.Ended()
	})
}

// A node that nothing can be made of is left out, and not tried again before it has
// another DSN. It does not matter when that is found out.
func TestTheFinderLeavesOutWhatIsBad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &found{source: nodesOf("a", "1", "b", "unusable", "c", "refused"), refuse: "refused"}
		f := c.finder()
		ctx, cancel := context.WithCancel(t.Context())
		f.Start(ctx)
		time.Sleep(time.Minute)
		c.has(t, "own a")
		var why []string
		for _, u := range f.Shown().Unused {
			why = append(why, u.Addr+": "+u.Why)
		}
		if slices.Sort(why); !slices.Equal(why, []string{"b: no DSN", "c: refused"}) {
			t.Errorf("%q", why)
		}
		c.set(func() { c.source = nodesOf("a", "1", "b", "2", "c", "3") })
		time.Sleep(12 * time.Second)
		c.has(t, "own a b c")
		if want := []string{"1", "unusable", "refused", "2", "3"}; !slices.Equal(c.tried, want) {
			t.Errorf("tried %q, want %q", c.tried, want)
		}
		if c.failed != 1 {
			t.Errorf("the refused node was tried %d times", c.failed)
		}
		cancel()
		<-f.Ended()
	})
}

// One life follows the other. A life ends with its context, or when nothing finds nodes
// any more. A source is asked about every so often, and soon if somebody asks for that.
func TestTheFinderHasOneLifeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &found{source: nodesOf("a", "1"), refuse: "never"}
		f := c.finder()
		ctx, cancel := context.WithCancel(t.Context())
		asked := func(least, most int) {
			t.Helper()
			synctest.Wait()
			c.set(func() {
				if c.asked < least || c.asked > most {
					t.Errorf("asked %d times, want %d to %d", c.asked, least, most)
				}
				c.asked = 0
			})
		}
		f.Start(ctx)
		first := f.Ended()
		f.Start(ctx)
		if f.Ended() != first {
			t.Error("there is another life")
		}
		time.Sleep(2 * time.Minute)
		asked(11, 16) // 8 to 12 seconds lie between
		f.AskSoon()
		f.AskSoon()
		time.Sleep(time.Second)
		asked(1, 2)
		cancel()
		ctx, cancel = context.WithCancel(t.Context())
		f.Start(ctx)
		<-first
		asked(1, 1)
		c.set(func() { c.off = true })
		<-f.Ended() // after the wait
		asked(0, 0)
		c.set(func() { c.off = false })
		f.Start(ctx)
		asked(1, 1)
		cancel()
		<-f.Ended()
	})
}
