package simulation

import (
	"context"
	"errors"
	"strings"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// judge takes what a backend's conn was asked to run. All rules about
// statements are here but for what the caller is told; see answered.
func (w *world) judge(r fakedb.Run) {
	call, _ := r.Ctx.Value(callKey{}).(*call)
	w.mu.Lock()
	s := w.texts[r.Query]
	h, handed := w.handed[r.Conn]
	w.mu.Unlock()
	switch {
	case r.Query == "COMMIT", r.Query == "ROLLBACK":
		delete(w.owner, r.Conn)
		return
	case s == nil && r.Query != "BEGIN" || call == nil:
		return // of a check
	case !handed && w.plan.hedged && s != nil && s.read:
		// A read came to it, and it is the conn's own then, or was closed.
		h = handover{seq: w.seq.Add(1), node: r.Node, from: elsewhere}
		w.mu.Lock()
		w.handed[r.Conn] = h
		w.tally.hedged++
		w.mu.Unlock()
	case !handed:
		w.violate("call %d: %q ran on a conn that was not handed out", call.number, r.Query)
		return
	}
	if r.Outcome == fakedb.NotSent {
		return
	}
	first := w.first[r.Conn]
	if first == nil {
		w.first[r.Conn] = call
	}
	if first != nil && first != call && h.seq < call.seq && h.outdated(call) {
		w.violate("call %d: %q was sent on a conn of %s of generation %d, which was in the pool when the call began, at generation %d",
			call.number, r.Query, r.Node, h.born, call.nodes[h.node].Generation)
	}
	if o := w.owner[r.Conn]; o != nil && o != call {
		w.violate("call %d: %q was sent into the transaction of call %d", call.number, r.Query, o.number)
	}
	if s == nil { // BEGIN
		if r.Outcome == fakedb.Answered {
			w.owner[r.Conn] = call
			call.conn = r.Conn
		}
		return
	}
	if s.tx && call.conn != r.Conn {
		w.violate("call %d: %q left its transaction's conn", call.number, r.Query)
	}
	w.judgeRepeat(s, r)
}

// elsewhere stands for the connector of what a hedged read has opened.
var elsewhere = func() *connector {
	c := new(connector)
	c.closed.Store(true)
	return c
}()

// judgeRepeat judges a statement that was sent before.
func (w *world) judgeRepeat(s *statement, r fakedb.Run) {
	w.mu.Lock()
	before := s.runs
	s.runs = append(s.runs, r)
	switch r.Outcome {
	case fakedb.Refused:
		w.tally.refused++
	case fakedb.Unanswered:
		w.tally.lost++
	}
	if len(before) > 0 {
		w.tally.moved++
	}
	w.mu.Unlock()
	repeatable := !s.pins && s.repeatable()
	for _, b := range before {
		switch {
		case b.Outcome == fakedb.Refused && !s.pins:
		case w.plan.hedged && s.read && !s.pins:
		case b.Outcome == fakedb.Unanswered && repeatable && !b.Left:
			w.mu.Lock()
			w.tally.repeated++
			w.mu.Unlock()
		default:
			w.violate("call %d: %q was sent to %s again, though on %s it was %s (%v)", s.call.number, s.text, r.Node, b.Node, b.Outcome, b.Err)
		}
	}
}

// answered compares what a caller is told of a statement with what became of
// it.
func (w *world) answered(ctx context.Context, s *statement, err error) {
	left := ctx.Err() != nil
	var runs []fakedb.Run
	for _, r := range w.backend.Ledger(0) {
		if r.Query == s.text {
			runs = append(runs, r)
		}
	}
	ran, lost := false, false
	for _, r := range runs {
		ran = ran || r.Outcome == fakedb.Answered
		lost = lost || r.Outcome == fakedb.Unanswered
	}
	unknown := errors.Is(err, clustersql.ErrUnknownOutcome)
	half := strings.HasPrefix(s.text, "CALL") || strings.Contains(s.text, ";")
	switch {
	case w.plan.hedged && s.read && !s.pins && len(runs) > 1: // one answer counts; the other one may come to anything
		if err == nil && !ran {
			w.violate("call %d was told that %q ran, and it did not: %v", s.call.number, s.text, runs)
		}
	case err == nil && !ran:
		w.violate("call %d was told that %q ran, and it did not: %v", s.call.number, s.text, runs)
	case err != nil && ran && !left:
		w.violate("call %d was told that %q failed (%v), and it ran: %v", s.call.number, s.text, err, runs)
	case unknown && !lost:
		w.violate("call %d was told that it is not known whether %q ran, and nothing speaks for it: %v", s.call.number, s.text, runs)
	case err != nil && lost && !unknown && !left && !half && (s.tx || !s.repeatable()):
		w.violate("call %d was not told that %q may have run: %v; %v", s.call.number, s.text, err, runs)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if unknown {
		w.tally.unknown++
	}
	if left {
		w.tally.cancelled++
	}
}

// committed compares what a caller is told of a Commit with what became of it.
// from is the length of the ledger before it. That it may be committed is also
// said where nothing was sent: not every driver's word for that can be taken.
func (w *world) committed(c *call, from int, err error) {
	outcome, conn := fakedb.NotSent, (*fakedb.Conn)(nil)
	for i, r := range w.backend.Ledger(0) {
		switch {
		case r.Query == "BEGIN" && r.Outcome == fakedb.Answered && r.Ctx.Value(callKey{}) == c:
			conn = r.Conn
		case r.Query == "COMMIT" && r.Conn == conn && i >= from:
			outcome = r.Outcome
		}
	}
	unknown := errors.Is(err, clustersql.ErrUnknownOutcome)
	switch {
	case err == nil && outcome != fakedb.Answered:
		w.violate("call %d was told that its transaction is committed, and the COMMIT was %s", c.number, outcome)
	case err != nil && outcome == fakedb.Answered:
		w.violate("call %d was told that its transaction failed (%v), and it is committed", c.number, err)
	case err != nil && !unknown && outcome == fakedb.Unanswered:
		w.violate("call %d was not told that its transaction may be committed: %v", c.number, err)
	}
}

// repeatable reports whether the caller or the cluster allows that the
// statement runs again.
func (s *statement) repeatable() bool {
	return s.call.idempotent || s.call.w.plan.settings.cfg.Idempotent && s.read
}
