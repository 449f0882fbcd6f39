package clustersql

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/EnumApps/clustersql/internal/balance"
	"github.com/EnumApps/clustersql/internal/causal"
	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/draw"
	"github.com/EnumApps/clustersql/internal/gate"
	"github.com/EnumApps/clustersql/internal/health"
)

// A Strategy plans one open: which nodes are asked, in which order, and how
// long the open waits before each. This package has [Race], [Hedged],
// [Balanced] and [Ordered]. [NewStrategy] makes a strategy from a func. The
// zero Strategy plans nothing and is not a valid setting.
//
// The strategies of this package put every usable node into the plan. Nodes
// with a higher [NodeConfig.Priority] come after all nodes with a lower one.
// Suspect nodes come last, whatever their priority, except that Race asks them
// together with the others.
type Strategy struct {
	name string
	// A valid Strategy has exactly one of these two.
	plan   func(members []balance.Member, draw func(n int) int) []balance.Launch
	custom func(nodes []NodeStatus) []Launch

	goal  balance.Goal  // what RebalanceByStrategy stands for
	order balance.Order // how plan ranks the nodes
}

var (
	// Race asks every usable node at once and takes the first connection. An
	// open is as fast as the fastest node. Its cost is one connection on each
	// of the other nodes that is opened and closed again. Nodes with a higher
	// priority number follow when all nodes with a lower one have failed, or
	// after 2 s. Race is the default.
	Race = Strategy{name: "race", plan: noDraw(balance.Race), goal: balance.Refresh}

	// Hedged asks the node with the shortest round trip. It asks the next one
	// only when the first fails or is slower than usual. An open is about as
	// fast as with Race and costs about one connection. Nodes that were never
	// heard of come after those that are up.
	//
	// How long Hedged waits for a node depends on the node's time to open: it
	// is the mean plus four deviations, at least 100 ms and at most 2 s. If
	// that time was never measured, the wait is 250 ms. Before nodes with a
	// higher priority number the wait is 2 s.
	Hedged = Strategy{name: "hedged", plan: noDraw(balance.Hedged), goal: balance.Refresh, order: balance.ByRoundTrip}

	// Balanced spreads connections over the nodes that are about equally fast:
	// those whose round trip exceeds the shortest one by at most 15 ms or a
	// quarter of it. It draws two of these nodes at random; a node with more
	// weight is drawn more often. Of the two it asks the one with less load for
	// its weight. The other nodes follow as with Hedged.
	Balanced = Strategy{name: "balanced", plan: balance.Balanced, goal: balance.Shares, order: balance.ByWindow}

	// Ordered asks the node with the lowest priority number. Among nodes with
	// the same number it asks the first by name. The other nodes follow as with
	// Hedged. So all processes use the same node while that node is well. A
	// node that has come back is asked after the others until it has been up
	// for [Config.FailbackAfter].
	Ordered = Strategy{name: "ordered", plan: noDraw(balance.Ordered), goal: balance.First, order: balance.ByTurn}
)

// noDraw adapts a strategy that draws no random numbers.
func noDraw(plan func([]balance.Member) []balance.Launch) func([]balance.Member, func(int) int) []balance.Launch {
	return func(members []balance.Member, _ func(int) int) []balance.Launch { return plan(members) }
}

// NewStrategy returns a strategy made by the program. [Strategy.String] returns
// the name.
//
// plan gets the status of the usable nodes, sorted by name: those that are
// neither down nor draining. It is not called if there are none. It must be
// pure: it must not wait or change anything, and several goroutines may call it
// at the same time. The plan may leave nodes out. Names that are not in the
// cluster are skipped, and so is a second launch of a node. If some of the
// usable nodes are donors or full, plan is called twice: once for the others,
// and then for those, whose launches follow. If plan panics, the open fails.
func NewStrategy(name string, plan func(nodes []NodeStatus) []Launch) Strategy {
	return Strategy{name: name, custom: plan}
}

// String returns the strategy's name.
func (s Strategy) String() string { return s.name }

// Plan returns the launches for the given nodes, as an open gets them. It is
// for strategies that are built on this one. Balanced draws from a source of the
// process here, and not from the cluster's. The zero Strategy plans nothing.
func (s Strategy) Plan(nodes []NodeStatus) []Launch {
	switch {
	case s.custom != nil:
		return s.custom(nodes)
	case s.plan == nil:
		return nil
	}
	members := make([]balance.Member, len(nodes))
	for i := range nodes {
		members[i] = nodes[i].member()
	}
	steps := s.plan(members, outside.IntN)
	plan := make([]Launch, len(steps))
	for i, step := range steps {
		plan[i] = Launch{Node: nodes[step.At].Name, Wait: step.Wait}
	}
	return plan
}

// valid reports whether the strategy can plan.
func (s Strategy) valid() bool { return s.plan != nil || s.custom != nil }

// same reports whether two strategies are one: of this package, or with the same
// name and func.
func (s Strategy) same(o Strategy) bool {
	return s.name == o.name && s.goal == o.goal && (s.custom == nil) == (o.custom == nil) &&
		reflect.ValueOf(s.custom).Pointer() == reflect.ValueOf(o.custom).Pointer()
}

// sameStrategy compares the only setting that is a struct.
func sameStrategy(a, b any) bool { return a.(Strategy).same(b.(Strategy)) }

// UnmarshalText sets the strategy from its name in config.toml.
func (s *Strategy) UnmarshalText(text []byte) error {
	for _, known := range []Strategy{Race, Hedged, Balanced, Ordered} {
		if known.name == string(text) {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("unknown strategy %s: use \"race\", \"hedged\", \"balanced\" or \"ordered\"", conffile.Quote(string(text)))
}

// A Launch is one entry of a plan.
type Launch struct {
	// Node is the name of the node to ask.
	Node string
	// Wait is the time between the launch before it and this one: the
	// connection attempt delay of RFC 8305. If an earlier launch fails, this
	// one starts at once. If this node's priority number is higher than that of
	// the node before it, it starts early only when all earlier launches have
	// failed.
	Wait time.Duration
}

// outside draws for strategies that are used outside of a cluster. Tests put
// one with a seed of theirs in its place.
var outside = draw.NewSource(rand.Uint64(), "")

// plan asks the strategy for the launches among the usable nodes. The plan is
// empty if no node is usable.
//
// s is the session of the open's call, or nil. Nodes that are not known to have what
// it has seen are asked last, if there are others.
func (m *manager) plan(nodes []*node, s *causal.Session) (plan []launch, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("clustersql: cluster %q: the strategy panicked: %s", m.name, redacted(nodes, fmt.Sprint(r)))
		}
	}()
	now := time.Now()
	r := usable(nodes, now)
	defer release(r)
	rank(r, s, now)
	switch {
	case len(r.Nodes) == 0:
		return nil, nil
	case !r.Mixed():
		return m.ask(make([]launch, 0, len(r.Nodes)), r, 0), nil
	}
	others, rest := r.Split()
	return m.ask(m.ask(make([]launch, 0, len(r.Nodes)), others, 0), rest, lastResortWait), nil
}

// lastResortWait is how long an open tries the other nodes before it asks the
// nodes of last resort. A failure of one of the others ends the wait early.
const lastResortWait = 250 * time.Millisecond

// A launch is a [Launch] of a node that exists.
type launch = balance.Step[*node]

type roster = balance.Roster[*node]

// rosters keeps rosters for the next plan. What is known of the nodes of a large
// cluster takes some room, and every open needs it for a moment.
var rosters = sync.Pool{New: func() any { return new(roster) }}

// usable returns a roster of the usable ones of the nodes, sorted by name. Of two names
// for one server it has the first. It is to be released.
func usable(nodes []*node, now time.Time) *roster {
	r := rosters.Get().(*roster)
	for _, n := range nodes {
		if m := n.member(now); m.State.Usable() && !n.isAlias() {
			r.Nodes, r.Members = append(r.Nodes, n), append(r.Members, m)
		}
	}
	return r
}

// release gives a roster back. Nobody may use it after that.
func release(r *roster) {
	r.Clear()
	rosters.Put(r)
}

// rank makes the nodes second best that are not known to have what a session has
// seen, if there is one that is. Without a session they are those that other sessions
// have found to be behind. And so are those before which another node has just
// answered a read.
func rank(r *roster, s *causal.Session, now time.Time) {
	for i, n := range r.Nodes {
		r.Members[i].Second = r.Members[i].Second || n.tally.seen.IsBehind(now) || n.tally.hedges.Load().Avoided(now)
	}
	if s == nil {
		return
	}
	has, some := make([]bool, len(r.Nodes)), false
	for i, n := range r.Nodes {
		all, seen := n.tally.seen.Has(s, n.generation.Load())
		if !seen {
			return
		}
		has[i], some = all, some || all
	}
	for i := range r.Members {
		r.Members[i].Second = r.Members[i].Second || some && !has[i]
	}
}

// ask appends the launches that the strategy plans for a roster. The first of
// them waits at least the given time.
func (m *manager) ask(plan []launch, r *roster, wait time.Duration) []launch {
	if m.cfg().Strategy.custom != nil {
		return m.askCustom(plan, r, wait)
	}
	for i, l := range m.cfg().Strategy.plan(r.Members, m.draw) {
		if i == 0 {
			l.Wait = max(l.Wait, wait)
		}
		plan = appendLaunch(plan, r.Nodes[l.At], l.Wait)
	}
	return plan
}

// askCustom is ask for a strategy made by the program.
func (m *manager) askCustom(plan []launch, r *roster, wait time.Duration) []launch {
	shown := make([]NodeStatus, len(r.Nodes))
	now := time.Now()
	for i, n := range r.Nodes {
		shown[i] = n.shown(now)
	}
	asked := make(map[string]bool, len(r.Nodes))
	for _, l := range m.cfg().Strategy.custom(shown) {
		i, known := findNode(r.Nodes, l.Node)
		if !known || asked[l.Node] {
			continue
		}
		if len(asked) == 0 {
			l.Wait = max(l.Wait, wait)
		}
		asked[l.Node] = true
		plan = appendLaunch(plan, r.Nodes[i], l.Wait)
	}
	return plan
}

func appendLaunch(plan []launch, n *node, wait time.Duration) []launch {
	reserve := len(plan) > 0 && n.settings.Load().Priority > plan[len(plan)-1].Node.settings.Load().Priority
	return append(plan, launch{Node: n, Wait: wait, Reserve: reserve})
}

// plan returns the launches of the next round. It asks the strategy only if
// there is a node to ask.
func (o *opening) plan(nodes []*node) ([]launch, error) {
	if !slices.ContainsFunc(nodes, func(n *node) bool { return o.mayAsk(n, o.eager) }) {
		return nil, nil
	}
	plan, err := o.m.plan(nodes, o.session)
	if o.failures == nil {
		return plan, err
	}
	return slices.DeleteFunc(plan, func(l launch) bool { return !o.worthAsking(l.Node, o.eager) }), err
}

// mayAsk reports whether a node is usable and worth asking.
func (o *opening) mayAsk(n *node, called bool) bool {
	return n.effective(n.snapshot.Load()).Usable() && o.worthAsking(n, called)
}

// worthAsking reports whether a node may be asked: it was not asked yet, or its
// retry epoch has grown since it failed, or the open is called and the backoff
// of the full node has ended since then. A full node must have finished its
// backoff in any case.
func (o *opening) worthAsking(n *node, called bool) bool {
	f, asked := o.failures[n]
	s := n.snapshot.Load()
	return !asked || !s.fullUntil.After(time.Now()) && (s.retryEpoch > f.retryEpoch || called && s.fullUntil.After(f.at))
}

// mayRecover reports whether any of the nodes may become worth asking. If a
// node is up and not full, and the open failed there all the same, the reason
// is not the node's, so waiting does not help.
func (o *opening) mayRecover(nodes []*node) bool {
	return slices.ContainsFunc(nodes, func(n *node) bool {
		switch s := n.snapshot.Load(); s.state {
		case health.Down:
			return transient(s.class, s)
		case health.Up:
			return !s.fullUntil.IsZero()
		case health.Draining:
			return false
		default:
			f, asked := o.failures[n]
			return asked && transient(f.why.class, s)
		}
	})
}

// transient reports whether trouble of a class may pass by itself; see
// [health.Class.MayPass]. A node with a retry epoch has worked before, or was full.
func transient(c health.Class, s *snapshot) bool {
	lasts := time.Duration(0)
	if c == health.Failed && s.class == health.Failed {
		lasts = time.Since(s.caused)
	}
	return c.MayPass(s.retryEpoch > 0, lasts)
}

// A waitingRoom holds the opens of a cluster that wait until a node may be asked
// again. A node that has room calls as many as it has room for.
type waitingRoom = gate.Room[*node, *opening]

// Seat returns the open's seat in the waiting room.
func (o *opening) Seat() *gate.Seat[*node] { return &o.seat }

// MayAsk reports whether the open may ask a node that calls it.
func (o *opening) MayAsk(n *node) bool { return o.mayAsk(n, true) }

// wait waits for a change notification, until a node calls, or until the open
// ends. It asks the actors of down nodes for a check soon, and those of full
// nodes for room. Opens never test a node themselves. So a down node gets only
// its actor's probes, however many opens wait.
func (o *opening) wait(ctx context.Context, nodes []*node, news <-chan struct{}) {
	for _, n := range nodes {
		s := n.snapshot.Load()
		if s.state == health.Down || !s.fullUntil.IsZero() && !n.looking.Load() {
			n.checkNow()
		}
	}
	select {
	case <-news:
		o.eager = false
	case <-o.seat.Called():
		o.eager = true
	case <-o.timer.At(time.Time{}):
	case <-o.ended:
	case <-ctx.Done():
	}
}

// noteDark counts the open if no node is usable, once.
func (o *opening) noteDark(nodes []*node) {
	if !o.dark && !slices.ContainsFunc(nodes, func(n *node) bool { return n.effective(n.snapshot.Load()).Usable() }) {
		o.dark = true
		o.m.tally.AllDown.Add(1)
	}
}

// over returns why the open has ended without a winner, or nil if it goes on.
func (o *opening) over(ctx context.Context) error {
	select {
	case <-o.ended:
		return ErrClosed
	default:
	}
	if o.timer.Over() {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}
