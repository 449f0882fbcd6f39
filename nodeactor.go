package clustersql

import (
	"context"
	"database/sql/driver"
	"io"
	"sync/atomic"
	"time"
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
	traits   traits                   // of the DSN and the cluster
	members  *atomic.Pointer[[]*node] // the cluster's nodes, this one among them
	news     *bulletin                // posted when the state has changed
	waiting  *atomic.Int64            // opens of the cluster that wait for a node to come up
	// owned is the connector where it is the cluster's to close, else nil.
	owned io.Closer

	// owned by run; passed on from one life to the next
	own history

	// shared
	life       atomic.Pointer[life] // nil before the first one; its ctx is done when the actor is stopped
	snapshot   atomic.Pointer[NodeStatus]
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
	health health
	status NodeStatus // counters, times, latencies: what the snapshot is made from

	waiting []*request // opens that wait for a slot, oldest first
	pending int        // attempts that have not told how they ended

	probeConn  driver.Conn // the lasting probe connection; nil while lent to a probe
	probing    bool        // a probe is under way and has not told how it ended
	probeAgain bool        // one was asked for meanwhile
	probeStart time.Time
	blind      int // probes since the last one that saw the node's status
	failures   int // failed probes in a row, for the backoff
	timer      *time.Timer
	full       fullness
	balance    rebalancing
	drained    bool // draining for drain_timeout, and cut
	late       bool // it was added to a cluster that ran, and has not come up yet

	changed bool // there is news of the node's state that were not posted

	told       chan struct{} // closed when the last event has been told; nil before the first
	losses     int           // connections lost that were not told of yet
	lossReason string        // of the last one
	lossTold   bool          // one was told of since the last probe
}

// newNode returns a node that is not started. The caller owns it until it is
// in the manager's membership.
func newNode(name string, cfg *Config, settings NodeConfig, d dialer, owned io.Closer) *node {
	now := time.Now()
	n := &node{name: name, cfg: cfg, settings: settings, dial: d, owned: owned}
	n.own.health.since = now
	n.own.status = NodeStatus{Name: name, Priority: settings.Priority, Weight: settings.Weight, Added: now}
	n.publish()
	return n
}

// start begins a new life below parent. The loop waits until the loop of the
// life before it has ended, which never waits for a backend. Calls must be
// serialised, and the life before must have been told to stop.
func (n *node) start(parent context.Context) {
	prev := n.life.Load()
	l := newLife(parent)
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
	n.own.timer = time.NewTimer(time.Hour)
	defer n.own.timer.Stop()
	n.probeNow(l)
	for {
		n.obeyDrain(l)
		n.publish()
		n.refuseWaiting()
		if n.own.changed {
			n.own.changed = false
			n.news.post()
		}
		select {
		case r := <-l.open:
			n.onOpen(l, r)
		case o := <-l.outcome:
			n.onOutcome(l, o)
		case e := <-l.report:
			n.onReport(l, e)
		case e := <-l.overtaken:
			n.onOvertaken(l, e)
		case <-l.check:
			n.hurry(l)
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
	n.own.status.Opens++
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
	s := &n.own.status
	switch o.kind {
	case outcomeProbe:
		n.onProbe(l, o)
		return
	case outcomeReturned:
		n.fillSlots(l)
		return
	case outcomeWon:
		s.Won++
		s.LastSuccess = time.Now()
		n.noteChance()
		n.own.changed = n.own.full.end() || n.own.changed
	case outcomeLost:
		s.Lost++
	case outcomeFailed:
		s.Errors++
		n.noteError(o.evidence)
		if o.evidence.class == classSaturated && n.own.full.again(o.failed, time.Now()) {
			n.noteChance()
		}
	}
	n.own.pending--
	if o.took > 0 {
		s.OpenLatency = s.OpenLatency.add(o.took)
	}
	n.learn(l, o.evidence)
	if o.req != nil {
		n.publish()
		o.answer()
	}
	n.fillSlots(l)
}

// onReport takes what real traffic says about the node.
func (n *node) onReport(l *life, e evidence) {
	n.noteError(e)
	if e.class == classLost {
		n.noteLoss(l, e.reason)
	}
	n.learn(l, e)
}

func (n *node) noteError(e evidence) {
	s := &n.own.status
	s.LastError, s.LastErrorMessage, s.lastErr = time.Now(), e.reason, e.err
}

// learn takes evidence of an open or of real traffic.
func (n *node) learn(l *life, e evidence) {
	eff := n.apply(l, e)
	if eff.changed && !n.own.probing {
		n.scheduleNext()
	}
	if eff.check {
		n.probeNow(l)
	}
}

// apply applies the transition function. The effects that concern the next
// probe are the caller's.
func (n *node) apply(l *life, e evidence) effects {
	before := n.own.health
	if e.ok && before.state == StateDown {
		e.alone = n.alone()
		if before.hushed && e.view != nil {
			e.views = n.views(e.view.group, before.answered)
		}
	}
	after, eff := before.next(e, n.cfg.Rise, n.cfg.Fall, time.Now())
	n.own.health = after
	if eff.raise && !e.raised {
		n.generation.Add(1)
	}
	if eff.changed {
		n.own.changed = true
		if after.state == StateUp {
			n.noteReturn(before.state)
		}
		n.tell(l, Event{Kind: EventState, From: before.state, To: after.state, Reason: after.reason})
		if after.state == StateDown {
			n.own.failures = 0
		}
	}
	if eff.raise {
		n.tellRetired(l, after.reason)
		n.closeRetired(l)
	}
	if eff.cut {
		n.cut(l, after.reason)
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
		r.fail(n.dial.failure(classNeutral, context.Cause(l.ctx)))
	}
	n.own.waiting = nil
	n.flushLosses(l)
	for n.own.pending > 0 {
		n.onOutcome(l, <-l.outcome)
	}
	n.closeProbe(l)
	n.own.probing, n.own.probeAgain = false, false
	n.own.status.NextCheck = time.Time{}
	n.publish()
}

// publish makes what the loop knows the snapshot that everybody reads.
func (n *node) publish() {
	s := n.own.status
	s.State, s.Reason, s.Since, s.class = n.own.health.state, n.own.health.reason, n.own.health.since, n.own.health.class
	s.fullUntil, s.back = n.own.full.until, n.own.balance.back
	s.Donor = !n.own.health.donorSince.IsZero()
	n.snapshot.Store(&s)
}

// status returns the snapshot, with what is counted outside the loop as it is
// now. Anyone may call it.
func (n *node) status() NodeStatus {
	s := *n.snapshot.Load()
	s.Generation = n.generation.Load()
	s.OpenConns, s.Cuttable = n.conns.count()
	s.Load, s.current = n.load.of(s.Generation)
	s.Attempts = int(n.inflight.Load())
	s.Deaf = int(max(0, n.deaf.Load()))
	now := time.Now()
	s.Full = s.fullUntil.After(now)
	s.Returning = s.back.Add(n.cfg.FailbackAfter).After(now)
	if n.draining.Load() {
		s.State = StateDraining
	}
	return s
}
