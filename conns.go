package clustersql

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
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
	place  *loadPlace
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

// wrap makes the winner's conn the one that database/sql gets and counts it,
// as a connection from now on and no longer as an open under way.
// Ownership passes to the caller with the return value; closed, which may be
// nil, is called when the caller has closed the conn.
func (n *node) wrap(w winner, closed func()) driver.Conn {
	place := n.load.join(w.born)
	wrapped, handle := session.Wrap(w.conn, session.Link{
		Generation: &n.generation,
		Born:       w.born,
		Report:     func(f session.Fault) session.Answer { return n.answer(f, w) },
		Session:    n.session,
		Closed: func() {
			last := n.conns.remove(w.socket)
			place.leave()
			if last && n.draining.Load() {
				n.checkNow()
			}
			if closed != nil {
				closed()
			}
		},
	})
	now := time.Now()
	n.conns.add(w.socket, heldConn{handle, place, w.born, now, n.cfg.oldAt(now, n.draws)})
	n.obeyCut(w)
	n.load.planned.Add(-1)
	return wrapped
}

// answer takes an error of real traffic on a winner's conn, and says what
// becomes of it. By then the node's conns are retired if the error says so, and
// the actor has been told.
func (n *node) answer(f session.Fault, w winner) session.Answer {
	known := n.dial.dialect.Classify
	f.Class = health.ClassifyTraffic(f.Err, known, n.cfg.Require == RequireWritable)
	lost := f.Class == health.Lost
	f = f.Explained(w.socket.Cause())
	v := f.Verdict(n.cfg.Idempotent, n.dial.dialect.MayHaveRun)
	if f.Class == health.Neutral && v == (session.Verdict{}) {
		return session.Answer{Err: f.Err, Lost: lost}
	}
	failed := n.dial.failure(f.Class, f.Err)
	if !f.Left || f.Class != health.Lost {
		n.report(health.Evidence{Class: f.Class, Need: health.NeedOf(f.Err, known), Reason: failed.reason(), Err: failed.err}, w.born)
	}
	if v == (session.Verdict{}) {
		return session.Answer{Err: f.Err, Lost: lost}
	}
	return session.Answer{Err: &NodeError{Node: n.name, Err: f.Err, verdict: v, class: f.Class, text: failed.text}, Spent: true, Lost: lost}
}

// report tells the actor of an error of real traffic. It returns at once when
// the error says nothing about the node, comes from a conn of an older
// generation, or no actor runs; else when the loop has taken it. Explicit
// evidence retires the node's conns first: the actor may be busy, and the pool
// would hand the next one out meanwhile. Of those who find it at the same
// time one tells.
func (n *node) report(e health.Evidence, born uint64) {
	switch {
	case e.Class == health.Neutral:
		return
	case e.Class == health.NotReady, e.Class == health.Leaving, e.Class == health.ReadOnly:
		if e.Raised = n.generation.CompareAndSwap(born, born+1); !e.Raised {
			return
		}
	case n.generation.Load() != born:
		return
	}
	l := n.life.Load()
	select {
	case l.report <- e:
	case <-l.ctx.Done():
	}
}

// A nodeLoad is how much of a node's work comes from this cluster: connections of
// the node's present generation, and opens under way. Everything in it may be
// used by any goroutine.
type nodeLoad struct {
	// planned counts launches whose open has not ended. It is raised before
	// anyone else plans, so that opens that come together see each other.
	planned atomic.Int64
	// conns is the tally of the newest generation that has one.
	conns atomic.Pointer[generationCount]
}

// A tally counts the connections of one generation. Those of an older one
// linger in database/sql's pool until they are asked for; they count nowhere.
type generationCount struct {
	generation uint64
	open       atomic.Int64
}

// A place is one connection's place in a tally.
type loadPlace struct {
	open *atomic.Int64
	left atomic.Bool
}

// leave gives it up, once.
func (s *loadPlace) leave() {
	if s.left.CompareAndSwap(false, true) {
		s.open.Add(-1)
	}
}

// join counts a connection of a generation, until its place is left.
func (l *nodeLoad) join(generation uint64) *loadPlace { return &loadPlace{open: l.count(generation)} }

func (l *nodeLoad) count(generation uint64) *atomic.Int64 {
	for {
		t := l.conns.Load()
		if t == nil || t.generation != generation {
			fresh := &generationCount{generation: generation}
			older := t != nil && t.generation > generation // too old to count
			if !older && !l.conns.CompareAndSwap(t, fresh) {
				continue
			}
			t = fresh
		}
		t.open.Add(1)
		return &t.open
	}
}

// of returns the load while the given generation is the present one, and how
// much of it are connections.
func (l *nodeLoad) of(generation uint64) (load, conns int) {
	if t := l.conns.Load(); t != nil && t.generation == generation {
		conns = int(t.open.Load())
	}
	return int(l.planned.Load()) + conns, conns
}

// errCut is in the tree of what a call on a cut connection returns.
var errCut = errors.New("clustersql cut the connection")

// A cutOrder says that the conns of generations before below are cut, and why.
type cutOrder struct {
	below uint64
	why   error
}

// cut closes the sockets of all conns of older generations, so that queries
// that hang on them return. The generation has been raised before: database/sql
// must not meet the node again. Only run calls it.
func (n *node) cut(l *life, reason string) {
	o := &cutOrder{n.generation.Load(), fmt.Errorf("%w (%s)", errCut, reason)}
	n.cutOrder.Store(o)
	counted := make(chan int, 1)
	n.tellWhen(l, Event{Kind: EventCut, Reason: reason}, counted)
	l.start(func() {
		count := 0
		for _, s := range n.conns.older(o.below) {
			if s.Cut(o.why) {
				count++
			}
		}
		counted <- count
	})
}

// obeyCut cuts a conn that was on its way to database/sql when its node was
// cut, and so was in nobody's list.
func (n *node) obeyCut(w winner) {
	if o := n.cutOrder.Load(); o != nil && w.born < o.below {
		w.socket.Cut(o.why)
	}
}
