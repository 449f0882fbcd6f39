package clustersql

import "sync"

// conns are the connections of one node that database/sql holds: what is
// counted, and what can be cut. Anyone may call its methods.
type conns struct {
	mu       sync.Mutex // guards what follows; never held across a Close
	open     map[*socket]uint64
	cuttable map[*socket]struct{} // of these, those whose backend has told its socket
}

// add counts a connection and remembers its generation.
func (c *conns) add(s *socket, generation uint64) {
	cuttable := s.cuttable()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open, c.cuttable = make(map[*socket]uint64), make(map[*socket]struct{})
	}
	c.open[s] = generation
	if cuttable {
		c.cuttable[s] = struct{}{}
	}
}

func (c *conns) remove(s *socket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, s)
	delete(c.cuttable, s)
}

// count returns how many are open, and how many of them can be cut. It is
// called for every open, and so does not look at them one by one.
func (c *conns) count() (open, cuttable int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open), len(c.cuttable)
}

// older returns those of a generation before the given one.
func (c *conns) older(generation uint64) []*socket {
	c.mu.Lock()
	defer c.mu.Unlock()
	var old []*socket
	for s, born := range c.open {
		if born < generation {
			old = append(old, s)
		}
	}
	return old
}
