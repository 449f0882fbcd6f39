package clustersql

import (
	"context"
	"database/sql/driver"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/calls"
	"github.com/EnumApps/clustersql/internal/counts"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/draw"
	"github.com/EnumApps/clustersql/internal/gate"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/held"
	"github.com/EnumApps/clustersql/internal/history"
	"github.com/EnumApps/clustersql/internal/socket"
)

// A node is one named node of a cluster. While a connector is open it is an
// actor: one goroutine, run, that alone touches the node's loopState. All
// others send it messages, or read the snapshot that it publishes.
type node struct {
	// immutable
	name        string
	conf        *atomic.Pointer[Config] // the cluster's; see cfg
	dial        dialer
	session     dialect.Session          // what holds for every session on the node
	members     *atomic.Pointer[[]*node] // the cluster's nodes, with this one
	news        *gate.News               // notified when the state has changed
	room        *waitingRoom             // the opens of the cluster that wait for a node
	draws       *draw.Source             // the cluster's random numbers, for callers' goroutines
	afterChange func()                   // called when the state has changed; see manager.settle

	// owned by run; each life takes it over from the life before
	loop loopState

	// shared
	settings   atomic.Pointer[nodeSettings] // never changed, only replaced
	heir       atomic.Pointer[node]         // is to take this node's place once it is up; else nil
	timeout    atomic.Pointer[overdueError] // the cause of an attempt that is past its deadline; nil before the first one
	life       atomic.Pointer[life]         // nil before the first one; its ctx is done once the actor has been asked to stop
	snapshot   atomic.Pointer[snapshot]
	generation atomic.Uint64
	conns      held.Set                 // the connections that database/sql holds
	cutOrder   atomic.Pointer[cutOrder] // the latest one; nil before the first
	load       counts.Load
	opens      atomic.Uint64 // attempts started so far; only run adds
	inflight   atomic.Int64  // attempts that hold a slot; run adds, the attempt subtracts
	draining   atomic.Bool   // the node takes nothing new
	leaving    atomic.Bool   // the node was removed; draining is set too
	departing  atomic.Bool   // the node is to be removed once another one is up
	inheriting atomic.Bool   // the node is the heir of the member of its name
	renewed    atomic.Bool   // the recipe is another one, and the loop has not seen that yet
	awaiting   atomic.Bool   // a cut is due, and waits for an answer of another node
	looking    atomic.Bool   // a full node will look for idle conns soon
	hook       calls.Queue   // calls of OnEvent
	deaf       atomic.Int64  // attempts and probes that are past their deadline and whose backend has not returned
	tally      *tally        // counters
	hanging    atomic.Int64  // Closes of ours that take longer than attempt_timeout and have not returned
}

// loopState is what a node's loop works with and remembers. Its flags stand
// together: with 16 bytes more the allocator takes 256 for each node.
type loopState struct {
	health health.Health
	rand   *rand.Rand // for the waits between probes
	facts  snapshot   // what publish copies into the next snapshot

	waiting  gate.Queue[*request] // requests that wait for a slot
	attempts []*attempt           // those that have not reported how they ended

	probeConn   driver.Conn  // the lasting probe connection; nil while a probe has it
	lasting     *socket.Slot // of the lasting connection; nil before the first one
	giveUp      func()       // ends the latest probe of it, which may be late; nil if a dial has been answered since
	refused     bool         // its check was refused
	probing     bool         // a probe is under way and has not reported how it ended
	fresh       bool         // the last probe dialled, or was to
	tell        bool         // a probe has passed, and the fellows that wait for one are to be woken
	charged     bool         // this round of probes has counted an error
	tested      bool         // the lasting connection was tested in this round; the fresh one is next
	prompt      bool         // this round of probes was asked for by a late call; see onSlowCall
	probeAgain  bool         // another probe was asked for meanwhile
	stuckTold   bool         // the log has said that the node is not probed
	probeStart  time.Time
	sinceStatus int // good probes since the last one that looked at the node's status or view
	failures    int // failed probes in a row, for the backoff
	timer       *time.Timer
	full        health.Saturation
	fullWhy     *dialError // error of the last attempt that found the node full; nil while there is room
	room        room
	balance     rebalancing
	due         health.Cut
	role        *roleMemory                // nil until the node was asked for its part in replication
	wordlessAt  time.Time                  // when the lasting connection was last found silent
	silentFrom  time.Time                  // when the probe of it began
	heard       bool                       // a fellow had answered since then when the present dial began
	hasten      func(time.Duration, error) // shortens the latest probe; nil before the first
	slow        *slowCalls                 // nil until a call was late
	drained     bool                       // this drain has lasted for drain_timeout, and the conns were cut
	addedLate   bool                       // the node was added to a cluster in use, or undrained, and has not come up since

	lossReported bool // there was an event about a lost connection since the last probe

	learnt  bool // something may have changed that publish copies
	invites bool // there may be room for opens that wait, and they were not invited yet
	changed bool // something has changed, and the waiting goroutines were not notified yet

	lossCount  int    // lost connections that are in no event yet
	lossReason string // of the last lost connection
}

// newNode returns a node that is not started. The caller owns it until it is
// one of the manager's nodes.
func newNode(name string, conf *atomic.Pointer[Config], settings NodeConfig, d dialer) *node {
	now := time.Now()
	n := &node{name: name, conf: conf, dial: d, tally: &tally{cluster: new(clusterTally), past: history.Past{Added: now}}, afterChange: func() {}}
	n.settings.Store(&nodeSettings{NodeConfig: settings})
	n.loop.rand = draw.New(n.cfg().Seed, name)
	n.loop.health.Since = now
	n.loop.facts = snapshot{added: now}
	n.publish()
	return n
}

// cfg returns the cluster's settings as they are now. They are never changed, only
// replaced as a whole.
func (n *node) cfg() *Config { return n.conf.Load() }

// start begins a new life, whose context is a child of parent. late says that
// the node was added while the cluster was in use. The new loop waits until the
// loop of the life before has ended; that one never waits for a backend. Calls
// must not overlap. The life before must have been asked to stop.
func (n *node) start(parent context.Context, late bool) {
	prev := n.life.Load()
	l := newLife(parent, late)
	l.told = []*calls.Queue{&n.hook, n.dial.log.Lines}
	n.life.Store(l)
	go n.run(l, prev)
}

// run is the actor's loop. It ends when the life's ctx is done.
func (n *node) run(l *life, prev *life) {
	defer l.release()
	defer close(l.over)
	if prev != nil {
		<-prev.over
	}
	n.loop.addedLate = n.loop.addedLate || l.late
	n.loop.timer = time.NewTimer(time.Hour)
	defer n.loop.timer.Stop()
	n.probeNow(l)
	n.loop.learnt = true
	for {
		n.applyDue(l)
		n.applyDrain(l)
		if n.loop.learnt || n.loop.changed {
			n.publish()
		}
		n.refuseWaiting()
		n.tellFellows()
		if n.loop.changed {
			n.loop.changed = false
			n.news.Notify()
			n.afterChange()
		}
		if n.loop.invites {
			n.invite()
		}
		n.loop.learnt = true
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
		case <-l.slow:
			n.onSlowCall(l)
		case <-n.loop.timer.C:
			n.onTimer(l)
		case <-l.ctx.Done():
			n.end(l)
			return
		}
	}
}

// onOpen queues a request. Its attempt starts when a slot is free and no older
// request waits for one. Nothing is learnt from it: snapshots are large, and
// requests come with every open.
func (n *node) onOpen(l *life, r *request) {
	n.loop.learnt = false
	n.loop.waiting.Push(r)
	n.fillSlots(l)
}

// launch starts the attempt for a request in its own goroutine.
func (n *node) launch(l *life, r *request) {
	n.inflight.Add(1)
	n.opens.Add(1)
	r.began = time.Now()
	a := n.newAttempt(l, r)
	n.loop.attempts = append(n.loop.attempts, a)
	r.attempt.Store(a)
	if r.ctx.Err() != nil { // release may have come before the Store
		a.hurry()
	}
	l.busy.Add(1)
	go a.run()
}

// fillSlots starts waiting requests while there are free slots.
func (n *node) fillSlots(l *life) {
	for int(n.inflight.Load()) < n.slots() {
		r, ok := n.loop.waiting.Pop()
		if !ok {
			return
		}
		n.launch(l, r)
	}
}

// onOutcome takes what an attempt or a probe reports. It then answers the open
// if the outcome asks for that.
func (n *node) onOutcome(l *life, o outcome) {
	s := &n.loop.facts
	n.loop.invites = true
	switch o.kind {
	case outcomeProbe:
		n.onProbe(l, o)
		return
	case outcomeLate:
		n.onLate(l, o)
		return
	case outcomeWaited, outcomeDialled:
		n.onDoubt(l, o)
		return
	case outcomeReturned:
		n.loop.learnt = false
		n.fillSlots(l)
		return
	case outcomeWon:
		s.won++
		s.lastSuccess = time.Now()
		n.allowRetry()
		if n.loop.full.End() {
			n.news.Touch() // the nodes may rebalance now
		}
		n.loop.fullWhy = nil
		n.loop.room.made = 0
	case outcomeLost:
		s.lost++
	case outcomeFailed:
		s.errors++
		n.tally.Failed(o.evidence.Class)
		n.noteError(o.evidence)
		if o.evidence.Class == health.Saturated {
			n.loop.fullWhy = o.failed
			if n.loop.full.Again(time.Now(), n.loop.rand) {
				n.allowRetry()
				time.AfterFunc(time.Until(n.loop.full.Until), func() { n.room.Invite(n, 1) })
			}
		}
	}
	n.forget(o.attempt)
	if o.took > 0 {
		s.openLatency = s.openLatency.Add(o.took)
		n.tally.Opens.Observe(o.took)
	}
	n.learn(l, o.evidence)
	if o.req != nil {
		n.publish()
		n.loop.learnt = false
		o.answer()
	}
	n.fillSlots(l)
}

// forget drops an attempt that has reported.
func (n *node) forget(a *attempt) {
	if i := slices.Index(n.loop.attempts, a); i >= 0 {
		n.loop.attempts = slices.Delete(n.loop.attempts, i, i+1)
	}
}

// onReport takes what real traffic says about the node.
func (n *node) onReport(l *life, e *health.Evidence) {
	n.noteError(*e)
	if e.Class == health.Lost {
		n.noteLoss(e.Reason)
	}
	n.learn(l, *e)
}

func (n *node) noteError(e health.Evidence) {
	s := &n.loop.facts
	s.lastErrorAt, s.lastErrorText, s.lastErr = time.Now(), e.Reason, e.Err
}

// learn takes evidence from an open or from real traffic.
func (n *node) learn(l *life, e health.Evidence) {
	eff := n.apply(l, &e)
	if eff.Changed && !n.loop.probing {
		n.scheduleNext()
	}
	if eff.Check {
		n.probeNow(l)
	}
}

// apply runs the transition function and carries out its effects, except those
// about the next probe. The caller has to see to these.
func (n *node) apply(l *life, e *health.Evidence) health.Effects { return n.applyAt(l, e, time.Now()) }

// applyAt is apply for evidence that was learnt at the given time.
func (n *node) applyAt(l *life, e *health.Evidence, now time.Time) health.Effects {
	h := &n.loop.health
	before, wordless := h.State, h.Wordless()
	n.hearDoubt(e)
	if e.OK && before == health.Down {
		e.Alone = n.alone()
	}
	eff := h.Next(e, n.cfg().Rise, n.cfg().Fall, now)
	if h.Wordless() && !wordless {
		n.loop.wordlessAt, n.loop.silentFrom = now, e.Began
	}
	n.proveCut(e)
	if eff.Compare {
		n.askViews()
	}
	eff.Raise = n.dropDue(e) || eff.Raise
	if eff.Raise && !e.Raised && !eff.Cut {
		n.generation.Add(1)
	}
	if eff.Changed {
		n.changedState(l, before, causeOf(e))
	}
	if eff.Held {
		n.emit(Event{Kind: EventHeld, Reason: h.Reason, Cause: causeGroup})
	}
	switch {
	case eff.Cut:
		n.delayCut(e, eff.Raise)
		n.applyDue(l)
	case eff.Raise:
		n.emitRetired(h.Reason, h.Class.String())
		n.closeRetired(l)
	}
	return eff
}

// changedState does what a transition to another state asks for.
func (n *node) changedState(l *life, before health.State, cause string) {
	h := &n.loop.health
	n.loop.changed = true
	if h.State == health.Up {
		n.noteReturn(before)
	}
	e := Event{Kind: EventState, From: State(before), To: State(h.State), Reason: h.Reason, Cause: cause}
	if h.State == health.Down && h.Class == health.Lagging && n.loop.facts.part != nil {
		e.Lag = n.loop.facts.part.Lag.For
	}
	n.emit(e)
	if h.State == health.Down {
		n.loop.failures = 0
		n.askSecondBest()
	}
}

// end answers the requests that still wait and those of the attempts under way,
// and closes the probe connection. It does not wait for a backend. An attempt
// whose backend has returned reports at once. Attempts and a probe close the
// conns that they hold when they return.
func (n *node) end(l *life) {
	n.refuseAll(n.dial.failure(health.Neutral, context.Cause(l.ctx)))
	n.flushLosses()
	under := len(n.loop.attempts)
	n.loop.attempts = slices.DeleteFunc(n.loop.attempts, (*attempt).abandon)
	n.loop.facts.lost += uint64(under - len(n.loop.attempts))
	for len(n.loop.attempts) > 0 {
		n.onOutcome(l, <-l.outcome)
	}
	n.closeProbe(l)
	if n.loop.giveUp != nil && !n.loop.probing {
		n.loop.giveUp()
	}
	n.loop.probing, n.loop.probeAgain, n.loop.prompt = false, false, false
	n.forgetDoubt()
	n.loop.facts.nextCheck = time.Time{}
	n.publish()
}
