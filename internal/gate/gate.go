// Package gate lets callers begin something a few at a time, and keeps nobody
// waiting behind callers that are slow.
package gate

import (
	"context"
	"sync"
	"time"
)

// A Gate lets a number of callers in at a time: its width. The others wait in
// the order in which they came. When fewer than half the width have got in
// within its patience, those inside are taken for slow: they no longer count,
// and the next ones get in.
//
// Its methods may be called from any goroutine. It has no goroutine of its own.
type Gate struct {
	width    int
	patience time.Duration

	mu      sync.Mutex
	turn    Pass      // those that count as inside came in with it; never 0
	inside  int       // how many these are
	moved   int       // how many of the queue have got in since the timer was set
	queue   []*caller // in the order in which they came, also those that have left
	waiting int       // how many of the queue have not left
	tick    *time.Timer
}

// A Pass is what a caller has to hand back. 0 is none.
type Pass uint64

// A caller waits.
type caller struct {
	in   chan struct{} // closed when pass is set
	pass Pass
	left bool
}

// New returns a gate for width callers at a time.
func New(width int, patience time.Duration) *Gate {
	return &Gate{width: width, patience: patience, turn: 1}
}

// Enter waits until the caller may begin. It returns 0 if ctx or ended was done
// before that, and else a pass, which the caller hands to Leave when it is done.
func (g *Gate) Enter(ctx context.Context, ended <-chan struct{}) Pass {
	g.mu.Lock()
	if g.waiting == 0 && g.inside < g.width {
		defer g.mu.Unlock()
		g.inside++
		return g.turn
	}
	c := &caller{in: make(chan struct{})}
	g.queue = append(g.queue, c)
	g.waiting++
	if g.waiting == 1 {
		g.wind()
	}
	g.mu.Unlock()
	select {
	case <-c.in:
		return c.pass
	case <-ctx.Done():
	case <-ended:
	}
	if pass := g.giveUp(c); pass != 0 {
		g.Leave(pass) // it was let in meanwhile
	}
	return 0
}

// Leave ends what Enter has let in. It must be called once for each pass.
func (g *Gate) Leave(p Pass) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p != g.turn {
		return // it was slow, and does not count
	}
	g.inside--
	g.admit(g.width - g.inside)
}

func (g *Gate) giveUp(c *caller) Pass {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.pass == 0 {
		c.left = true
		g.waiting--
		g.settle()
	}
	return c.pass
}

// late lets in a whole width past those inside, if these are slow. If very many
// wait it lets in a part of them, so that the last one does not wait for long
// either: with an eighth, n callers that all turn out slow are inside after
// about 8 + 8·ln(n/(8·width)) times the patience.
func (g *Gate) late() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.waiting == 0 {
		return // the timer had fired before it was stopped
	}
	if g.moved < (g.width+1)/2 {
		g.turn++
		g.inside = 0
		g.admit(max(g.width, g.waiting/8))
	}
	if g.waiting > 0 {
		g.wind()
	}
}

// admit lets the next n callers in.
func (g *Gate) admit(n int) {
	for ; n > 0 && g.waiting > 0; g.queue = g.queue[1:] {
		c := g.queue[0]
		g.queue[0] = nil
		if c.left {
			continue
		}
		n--
		g.waiting--
		g.inside++
		g.moved++
		c.pass = g.turn
		close(c.in)
	}
	g.settle()
}

// settle lets go of the queue and the timer when nobody waits.
func (g *Gate) settle() {
	if g.waiting == 0 {
		g.queue = nil
		if g.tick != nil {
			g.tick.Stop()
		}
	}
}

func (g *Gate) wind() {
	g.moved = 0
	if g.tick == nil {
		g.tick = time.AfterFunc(g.patience, g.late)
		return
	}
	g.tick.Reset(g.patience)
}
