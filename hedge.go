package clustersql

import (
	"context"
	"errors"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/hedge"
	"github.com/EnumApps/clustersql/internal/session"
)

// HedgeAfter returns a context whose reads are sent to another node too when they have
// taken d, instead of after the time that the cluster has learnt; see
// [Config.HedgeReads]. It has no effect where that is not set, and bounds nothing: what
// [Config.HedgeReads] leaves out is left out. Any goroutine may call it.
func HedgeAfter(ctx context.Context, d time.Duration) context.Context {
	return session.WithHedgeAfter(ctx, max(d, time.Millisecond))
}

// NoHedge returns a context whose reads are sent to one node only: for a SELECT that
// changes something, such as one of a view that calls a function, and for one that is
// to be answered by the node of its connection. Any goroutine may call it.
func NoHedge(ctx context.Context) context.Context { return session.WithHedgeAfter(ctx, -1) }

// HedgedReads counts the reads of a node that took long, and were sent to another node
// too; see [Config.HedgeReads].
type HedgedReads struct {
	// Armed is how many of OpenConns have their reads watched. A connection is not
	// among them if it was opened while hedge_reads was off, or if the cluster cannot
	// cut it; see Cuttable.
	Armed    int    `json:"armed"`
	Launched uint64 `json:"launched"` // reads on this node that another one was to answer too; those under way are in neither of the next two
	Won      uint64 `json:"won"`      // the other one has answered first, and the connection is one to it now
	Lost     uint64 `json:"lost"`     // this one has, or the other one has failed
}

// nodeHedges are the hedged reads of one node. Anyone may call the methods.
type nodeHedges struct {
	delay               hedge.Delay
	armed               atomic.Int64
	launched, won, lost atomic.Uint64
	outrun              atomic.Int64 // when another node last answered before this one, in Unix nanoseconds; 0: never
}

// counted returns what the status shows.
func (h *nodeHedges) counted() HedgedReads {
	if h == nil {
		return HedgedReads{}
	}
	won, lost := h.won.Load(), h.lost.Load() // before launched, which is never less
	return HedgedReads{Armed: int(h.armed.Load()), Launched: h.launched.Load(), Won: won, Lost: lost}
}

// outrunLately reports whether another node has just answered a read before this one.
// Opens ask such a node last.
func (n *node) outrunLately(now time.Time) bool {
	h := n.tally.hedges.Load()
	return h != nil && now.UnixNano()-h.outrun.Load() < int64(avoidFor)
}

// avoidFor is how long opens ask a node last on which a read has just been outrun: by
// then a probe has told more.
const avoidFor = time.Second

// lastOutrun returns when another node last answered before this one.
func (n *node) lastOutrun() time.Time {
	if h := n.tally.hedges.Load(); h != nil && h.outrun.Load() != 0 {
		return time.Unix(0, h.outrun.Load())
	}
	return time.Time{}
}

// A hedging hedges the reads on one connection.
type hedging struct {
	n  *node
	w  winner
	of *nodeHedges
}

var _ session.Hedging = (*hedging)(nil)

// hedges reports whether the reads on a winner's connection are hedged. They are not
// where it could not be cut if another node were to answer first.
func (n *node) hedges(w winner) bool { return n.cfg().HedgeReads && w.socket.Known() }

// arm returns what hedges the reads on a winner's connection.
func (n *node) arm(w winner) session.Hedging {
	if n.tally.hedges.Load() == nil {
		n.tally.hedges.CompareAndSwap(nil, new(nodeHedges))
	}
	h := &hedging{n, w, n.tally.hedges.Load()}
	h.of.armed.Add(1)
	return h
}

// HedgeAfter returns how long a read may take on the connection.
func (h *hedging) HedgeAfter() time.Duration {
	cfg := h.n.cfg()
	if !cfg.HedgeReads {
		return 0
	}
	return h.of.delay.Now(cfg.HedgeAfter)
}

// Answered is told of reads that were answered in time.
func (h *hedging) Answered() { h.of.delay.Answer(h.n.cfg().HedgeAfter) }

// errOutrun is why the socket of a connection is cut on which a read was not answered
// first. Nobody sees it: the read has an answer.
var errOutrun = errors.New("another connection has answered the read first")

// Cut closes the connection's socket.
func (h *hedging) Cut() {
	if conn := h.w.socket.Cut(errOutrun); conn != nil {
		h.n.closeSocket(conn)
	}
}

// Later runs f in a goroutine of its own, for which a Close waits.
func (h *hedging) Later(f func()) {
	l := h.n.life.Load()
	entered := l != nil && l.enter()
	go func() {
		if entered {
			defer l.release()
		}
		defer h.n.watchClose()()
		f()
	}()
}

// Panicked logs a panic of the backend.
func (h *hedging) Panicked(with any) { _ = h.n.dial.panicked("a hedged read", with) }

// Hedge sends a read that takes long to another node too, if it may be.
func (h *hedging) Hedge(r *session.Read) {
	cfg := h.n.cfg()
	if !cfg.HedgeReads {
		return
	}
	if !r.Chosen {
		h.of.delay.Exceed(cfg.HedgeAfter)
	}
	if r.Eligible {
		h.try(r, firstPause)
	}
}

// firstPause is how long a read waits that finds the budget spent, or no node for it.
// Each further wait is twice as long. When a node freezes under many reads, those that
// are hedged first give their part of the budget back within a few milliseconds.
const firstPause = 5 * time.Millisecond

// try hedges the read, now or after a pause.
func (h *hedging) try(r *session.Read, pause time.Duration) {
	n, cfg := h.n, h.n.cfg()
	l := n.life.Load()
	if r.Over() || l == nil || !l.enter() {
		return
	}
	defer l.release()
	plan := n.others(r)
	if len(plan) == 0 || !n.tally.cluster.hedges.Take(time.Now(), n.siblings()) {
		time.AfterFunc(pause, func() { h.try(r, 2*pause) })
		return
	}
	h.of.launched.Add(1)
	outcome := h.race(l, r, plan)
	n.tally.cluster.hedges.Settle(outcome)
	if outcome != hedge.Won {
		h.of.lost.Add(1)
		return
	}
	h.of.won.Add(1)
	h.of.outrun.Store(time.Now().UnixNano())
	if !r.Chosen {
		h.of.delay.Win(cfg.HedgeAfter)
	}
	n.checkNow() // it may be the node
}

// race opens a connection to another node and runs the read there.
func (h *hedging) race(l *life, r *session.Read, plan []launch) hedge.Outcome {
	open, cancel := context.WithCancel(r.Context)
	defer cancel()
	if !r.Opens(cancel) {
		return hedge.Unsent
	}
	w, ok := h.n.tally.cluster.beside(open, plan)
	if !ok && r.Over() {
		return hedge.Unsent
	}
	if !ok {
		return hedge.Lost
	}
	other := w.node
	if reflect.TypeOf(w.conn) != reflect.TypeOf(h.w.conn) || !w.socket.Known() {
		other.load.Planned.Add(-1)
		other.close(w.conn)
		return hedge.Lost
	}
	place := other.load.Join(w.born)
	racer := session.NewRacer(w.conn, other.link(w, place, true))
	other.keep(w, place, racer.Handle())
	defer context.AfterFunc(l.ctx, r.Abandon)()
	return r.Run(racer)
}

// hedgeStagger is how long the first of the other nodes is asked for a connection alone.
const hedgeStagger = 100 * time.Millisecond

// others returns the plan for a connection to another node that may get the read.
func (n *node) others(r *session.Read) []launch {
	now, own := time.Now(), n.snapshot.Load()
	var nodes []*node
	var candidates []hedge.Candidate
	for _, other := range n.nodes() {
		if other == n || other.isAlias() || own.sameServer(other.snapshot.Load()) || !n.alike(other) {
			continue
		}
		if r.Session != nil {
			if all, some := other.tally.seen.Has(r.Session, other.generation.Load()); some && !all {
				continue
			}
		}
		nodes = append(nodes, other)
		candidates = append(candidates, hedge.Candidate{Member: other.member(now), Outrun: other.lastOutrun()})
	}
	var plan []launch
	for _, i := range hedge.Order(candidates, now) {
		wait := hedgeStagger
		if len(plan) == 0 {
			wait = 0
		}
		plan = append(plan, launch{node: nodes[i], wait: wait})
	}
	return plan
}

// alike reports whether connections of two nodes are of the same kind, as far as that
// can be known without one.
func (n *node) alike(other *node) bool {
	return n.session == other.session && reflect.TypeOf(n.dial.dialect) == reflect.TypeOf(other.dial.dialect) &&
		reflect.TypeOf(n.dial.recipe().connector) == reflect.TypeOf(other.dial.recipe().connector)
}

// siblings returns how many connections the cluster has.
func (n *node) siblings() (conns int) {
	for _, other := range n.nodes() {
		open, _ := other.conns.Count()
		conns += open
	}
	return conns
}

// beside opens a connection on one of the planned nodes, for a read that is under way
// on another one. There is one round.
func (m *manager) beside(ctx context.Context, plan []launch) (winner, bool) {
	running, err := m.running()
	if err != nil {
		return winner{}, false
	}
	o := &opening{m: m, ended: running.Done(), deadline: time.Now().Add(m.cfg().AttemptTimeout)}
	defer o.stop()
	return o.newRound(plan).run(ctx)
}
