package clustersql

import (
	"sync"
	"time"

	"github.com/EnumApps/clustersql/internal/session"
	"github.com/EnumApps/clustersql/internal/socket"
)

// conns are the connections of one node that database/sql holds: what is
// counted, what can be cut, and what can be asked to give way. Anyone may call
// its methods.
type conns struct {
	mu       sync.Mutex // guards what follows; never held across a Close
	open     map[*socket.Slot]heldConn
	cuttable map[*socket.Slot]struct{} // of these, those whose backend has told its socket
}

// A heldConn is one of them.
type heldConn struct {
	conn   session.Handle
	seat   *seat
	born   uint64 // generation
	opened time.Time
	old    time.Time // when it is to be given up; zero: never
}

// add counts a connection.
func (c *conns) add(s *socket.Slot, h heldConn) {
	cuttable := s.Known()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open, c.cuttable = make(map[*socket.Slot]heldConn), make(map[*socket.Slot]struct{})
	}
	c.open[s] = h
	if cuttable {
		c.cuttable[s] = struct{}{}
	}
}

// remove reports whether none is left.
func (c *conns) remove(s *socket.Slot) (last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, s)
	delete(c.cuttable, s)
	return len(c.open) == 0
}

// count returns how many are open, and how many of them can be cut. It is
// called for every open, and so does not look at them one by one.
func (c *conns) count() (open, cuttable int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open), len(c.cuttable)
}

// older returns the sockets of a generation before the given one.
func (c *conns) older(generation uint64) []*socket.Slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	var old []*socket.Slot
	for s, h := range c.open {
		if h.born < generation {
			old = append(old, s)
		}
	}
	return old
}

// those returns the open conns for which want is true, in no order.
func (c *conns) those(want func(heldConn) bool) []heldConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []heldConn
	for _, h := range c.open {
		if h.conn.Open() && want(h) {
			found = append(found, h)
		}
	}
	return found
}
