package clustersql

import (
	"context"
	"database/sql/driver"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
)

// A node is one named node of a cluster and, while a connector is open, an
// actor: one goroutine, run, that alone touches the node's history. Everybody
// else sends it messages or reads the snapshot that it publishes.
type node struct {
	// immutable
	name     string
	cfg      *Config
	settings NodeConfig
	dial     dialer
	session  dialect.Session          // what is known of every session
	members  *atomic.Pointer[[]*node] // the cluster's nodes, this one among them
	news     *changes                 // posted when the state has changed
	waiting  *atomic.Int64            // opens of the cluster that wait for a node to come up
	draws    *lockedRand              // the cluster's, for callers' goroutines
	// owned is the connector where it is the cluster's to close, else nil.
	owned io.Closer

	// owned by run; passed on from one life to the next
	own history

	// shared
	life       atomic.Pointer[life] // nil before the first one; its ctx is done when the actor is stopped
	snapshot   atomic.Pointer[snapshot]
	generation atomic.Uint64
	conns      conns                    // handed to database/sql and not closed yet
	cutOrder   atomic.Pointer[cutOrder] // the latest; nil before the first
	load       nodeLoad
	inflight   atomic.Int64 // attempts that hold a slot; raised by run, lowered by the attempt
	draining   atomic.Bool  // takes nothing new
	leaving    atomic.Bool  // was removed; draining is set too
	deaf       atomic.Int64 // attempts and probes past their deadline whose backend has not returned
}

// history is what a node has lived through, and what its loop works with.
type history struct {
	health health.Health
	rand   *rand.Rand // for the waits between probes
	facts  snapshot   // what is published next

	waiting []*request // opens that wait for a slot, oldest first
	pending int        // attempts that have not told how they ended

	probeConn   driver.Conn // the lasting probe connection; nil while lent to a probe
	probing     bool        // a probe is under way and has not told how it ended
	probeAgain  bool        // one was asked for meanwhile
	probeStart  time.Time
	sinceStatus int // probes since the last one that saw the node's status
	failures    int // failed probes in a row, for the backoff
	timer       *time.Timer
	full        health.Saturation
	fullWhy     *dialError // of the last attempt that met no room; nil while there is room
	balance     rebalancing
	drained     bool // draining for drain_timeout, and cut
	addedLate   bool // it was added to a cluster that ran, and has not come up yet

	changed bool // there is news of the node's state that were not posted

	lastTold   chan struct{} // closed when the last event has been told; nil before the first
	lossCount  int           // connections lost that were not told of yet
	lossReason string        // of the last one
	lossTold   bool          // one was told of since the last probe
}

// newNode returns a node that is not started. The caller owns it until it is
// in the manager's membership.
func newNode(name string, cfg *Config, settings NodeConfig, d dialer, owned io.Closer) *node {
	now := time.Now()
	n := &node{name: name, cfg: cfg, settings: settings, dial: d, owned: owned}
	n.own.rand = newRand(cfg.Seed, name)
	n.own.health.Since = now
	n.own.facts = snapshot{added: now}
	n.publish()
	return n
}

// start begins a new life below parent. late says that the node was added while
// the cluster was in use. The new loop waits until the loop of the life before
// has ended; that one never waits for a backend. Calls must be serialised, and
// the life before must have been told to stop.
func (n *node) start(parent context.Context, late bool) {
	prev := n.life.Load()
	l := newLife(parent, late)
	n.life.Store(l)
	go n.run(l, prev)
}

// run is the actor.
func (n *node) run(l *life, prev *life) {
	defer l.release()
	defer close(l.over)
	if prev != nil {
		<-prev.over
	}
	n.own.addedLate = n.own.addedLate || l.late
	n.own.timer = time.NewTimer(time.Hour)
	defer n.own.timer.Stop()
	n.probeNow(l)
	for {
		n.obeyDrain(l)
		n.publish()
		n.refuseWaiting()
		if n.own.changed {
			n.own.changed = false
			n.news.notify()
		}
		select {
		case r := <-l.open:
			n.onOpen(l, r)
		case o := <-l.outcome:
			n.onOutcome(l, o)
		case e := <-l.report:
			n.onReport(l, e)
		case e := <-l.outrun:
			n.onOutrun(l, e)
		case <-l.check:
			n.onCheck(l)
		case <-n.own.timer.C:
			n.onTimer(l)
		case <-l.ctx.Done():
			n.end(l)
			return
		}
	}
}

// onOpen starts an attempt when a slot is free and nobody waits for it longer.
func (n *node) onOpen(l *life, r *request) {
	n.own.waiting = append(n.own.waiting, r)
	n.fillSlots(l)
}

// launch starts the attempt for a request in its own goroutine.
func (n *node) launch(l *life, r *request) {
	n.inflight.Add(1)
	n.own.pending++
	n.own.facts.opens++
	r.began = time.Now()
	a := &attempt{node: n, life: l, req: r, born: n.generation.Load()}
	l.start(a.run)
}

// dropReleased forgets waiting requests whose open has ended: a released
// attempt that has not started never starts.
func (n *node) dropReleased() {
	kept := n.own.waiting[:0]
	for _, r := range n.own.waiting {
		if r.ctx.Err() == nil {
			kept = append(kept, r)
		}
	}
	clear(n.own.waiting[len(kept):])
	n.own.waiting = kept
}

// fillSlots starts waiting requests while there are slots.
func (n *node) fillSlots(l *life) {
	n.dropReleased()
	for len(n.own.waiting) > 0 && int(n.inflight.Load()) < n.slots() {
		r := n.own.waiting[0]
		n.own.waiting[0] = nil
		n.own.waiting = n.own.waiting[1:]
		n.launch(l, r)
	}
}

// onOutcome books what an attempt or a probe has to say.
func (n *node) onOutcome(l *life, o outcome) {
	s := &n.own.facts
	switch o.kind {
	case outcomeProbe:
		n.onProbe(l, o)
		return
	case outcomeReturned:
		n.fillSlots(l)
		return
	case outcomeWon:
		s.won++
		s.lastSuccess = time.Now()
		n.allowRetry()
		n.own.changed = n.own.full.End() || n.own.changed
		n.own.fullWhy = nil
	case outcomeLost:
		s.lost++
	case outcomeFailed:
		s.errors++
		n.noteError(o.evidence)
		if o.evidence.Class == health.Saturated {
			n.own.fullWhy = o.failed
			if n.own.full.Again(time.Now(), n.own.rand) {
				n.allowRetry()
			}
		}
	}
	n.own.pending--
	if o.took > 0 {
		s.openLatency = s.openLatency.Add(o.took)
	}
	n.learn(l, o.evidence)
	if o.req != nil {
		n.publish()
		o.answer()
	}
	n.fillSlots(l)
}

// onReport takes what real traffic says about the node.
func (n *node) onReport(l *life, e health.Evidence) {
	n.noteError(e)
	if e.Class == health.Lost {
		n.noteLoss(l, e.Reason)
	}
	n.learn(l, e)
}

func (n *node) noteError(e health.Evidence) {
	s := &n.own.facts
	s.lastErrorAt, s.lastErrorText, s.lastErr = time.Now(), e.Reason, e.Err
}

// learn takes evidence of an open or of real traffic.
func (n *node) learn(l *life, e health.Evidence) {
	eff := n.apply(l, e)
	if eff.Changed && !n.own.probing {
		n.scheduleNext()
	}
	if eff.Check {
		n.probeNow(l)
	}
}

// apply applies the transition function. The effects that concern the next
// probe are the caller's.
func (n *node) apply(l *life, e health.Evidence) health.Effects {
	before := n.own.health
	if e.OK && before.State == health.Down {
		e.Alone = n.alone()
		if before.SilentBefore && e.View != nil {
			e.Peers = n.views(e.View.Group, before.Answered)
		}
	}
	after, eff := before.Next(e, n.cfg.Rise, n.cfg.Fall, time.Now())
	n.own.health = after
	if eff.Raise && !e.Raised {
		n.generation.Add(1)
	}
	if eff.Changed {
		n.own.changed = true
		if after.State == health.Up {
			n.noteReturn(before.State)
		}
		n.tell(l, Event{Kind: EventState, From: State(before.State), To: State(after.State), Reason: after.Reason})
		if after.State == health.Down {
			n.own.failures = 0
		}
	}
	if eff.Raise {
		n.tellRetired(l, after.Reason)
		n.closeRetired(l)
	}
	if eff.Cut {
		n.cut(l, after.Reason)
	}
	return eff
}

// tellRetired tells of the connections of older generations, if there are any.
func (n *node) tellRetired(l *life, reason string) {
	if count := len(n.conns.older(n.generation.Load())); count > 0 {
		n.tell(l, Event{Kind: EventRetired, Conns: count, Reason: reason})
	}
}

// end answers what still waits, hears how the attempts under way end, and
// gives up the probe connection. Attempts see the life's ctx and tell at once;
// they and a probe close what they hold in their own time.
func (n *node) end(l *life) {
	for _, r := range n.own.waiting {
		r.fail(n.dial.failure(health.Neutral, context.Cause(l.ctx)))
	}
	n.own.waiting = nil
	n.flushLosses(l)
	for n.own.pending > 0 {
		n.onOutcome(l, <-l.outcome)
	}
	n.closeProbe(l)
	n.own.probing, n.own.probeAgain = false, false
	n.own.facts.nextCheck = time.Time{}
	n.publish()
}
