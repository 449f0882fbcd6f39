// Package held knows the connections of a node that database/sql holds: the cluster
// counts them, cuts them, and asks them to give way.
//
// It has no goroutine. The root imports the package; it imports counts, draw, session
// and socket.
package held

import (
	"slices"
	"sync"
	"time"

	"github.com/EnumApps/clustersql/internal/counts"
	"github.com/EnumApps/clustersql/internal/draw"
	"github.com/EnumApps/clustersql/internal/session"
	"github.com/EnumApps/clustersql/internal/socket"
)

// A Set is the connections of one node that database/sql holds. The zero Set is empty.
// Anyone may call the methods.
type Set struct {
	mu       sync.Mutex // guards what follows; never held across a Close
	open     map[*socket.Slot]Conn
	cuttable map[*socket.Slot]struct{} // the open ones whose backend has made its socket known
}

// A Conn is one connection that database/sql holds.
type Conn struct {
	session.Handle
	Place  *counts.Place
	Born   uint64 // the node's generation when its attempt began
	Opened time.Time
	Aging  float64 // how much of max_age it gets; see Aging
}

// Add adds a connection. It returns how many there are now.
func (c *Set) Add(s *socket.Slot, h Conn) int {
	cuttable := s.Known()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open, c.cuttable = make(map[*socket.Slot]Conn), make(map[*socket.Slot]struct{})
	}
	c.open[s] = h
	if cuttable {
		c.cuttable[s] = struct{}{}
	}
	return len(c.open)
}

// Remove removes a connection. It reports whether none is left.
func (c *Set) Remove(s *socket.Slot) (last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, s)
	delete(c.cuttable, s)
	return len(c.open) == 0
}

// Count returns how many are open, and how many of them can be cut. It does not
// look at them one by one, because it is called often.
func (c *Set) Count() (open, cuttable int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open), len(c.cuttable)
}

// Parts returns how many of the open conns lie idle, and how many are of older
// generations than the given one.
func (c *Set) Parts(generation uint64) (idle, retired int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.open {
		switch {
		case h.Born < generation:
			retired++
		case h.Idle():
			idle++
		}
	}
	return idle, retired
}

// Older returns the sockets of generations before the given one.
func (c *Set) Older(generation uint64) []*socket.Slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	var old []*socket.Slot
	for s, h := range c.open {
		if h.Born < generation {
			old = append(old, s)
		}
	}
	return old
}

// Filter returns the open conns for which want is true, in no order.
func (c *Set) Filter(want func(Conn) bool) []Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []Conn
	for _, h := range c.open {
		if h.Open() && want(h) {
			found = append(found, h)
		}
	}
	return found
}

// Only returns those of the conns for which want is true.
func Only(conns []Conn, want func(Conn) bool) []Conn {
	return slices.DeleteFunc(slices.Clone(conns), func(h Conn) bool { return !want(h) })
}

// Aging draws how much of max_age a conn gets: 90 to 110 percent, so that conns
// opened together are not retired together.
func Aging(draws *draw.Source) float64 { return 0.9 + 0.2*draws.Float64() }

// AgeLimit returns the age at which the conn is old. A max_age that has changed
// counts for it too.
func (h Conn) AgeLimit(most time.Duration) time.Duration {
	return time.Duration(h.Aging * float64(most))
}
