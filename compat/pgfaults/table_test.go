package pgfaults

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/EnumApps/clustersql"
)

// A table is what the suite prints at its end. The longest gap is that between
// two operations that succeeded, less the time in which this process stood
// still. Stale reads are older than max_lag. Rows on an old primary are those
// that were written there after another node had been promoted. Good
// connections and good nodes are those of a toll.
type table struct{ lines []tally }

// A tally is what one client saw under one fault.
type tally struct {
	fault, client                                string
	readsOK, readsFailed, writesOK, writesFailed int
	readGap, writeGap                            time.Duration
	moved                                        time.Duration // see the func of that name
	promoted                                     bool
	stale, lost, double, told, old               int
	ours                                         bool
	toll                                         toll
}

func (tb *table) String() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "fault\tclient\treads ok/failed\tlongest gap\twrites ok/failed\tlongest gap\ton the new primary after\tstale\tlost\tdouble\ton an old primary\tgood connections lost\tgood nodes taken down")
	for _, l := range tb.lines {
		moved, conns, nodes, name := "-", "-", "-", l.client
		switch {
		case l.promoted && l.moved < 0:
			moved = "never"
		case l.promoted:
			moved = l.moved.Round(time.Millisecond).String()
		}
		if l.ours {
			conns, nodes = fmt.Sprint(l.toll.conns), fmt.Sprint(l.toll.nodes)
		}
		fmt.Fprintf(w, "%s\t%s\t%d/%d\t%s\t%d/%d\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\n", l.fault, name,
			l.readsOK, l.readsFailed, l.readGap.Round(time.Millisecond), l.writesOK, l.writesFailed, l.writeGap.Round(time.Millisecond),
			moved, l.stale, l.lost, l.double, l.old, conns, nodes)
	}
	w.Flush()
	return text.String()
}

// A span is a part of a run.
type span struct{ from, to time.Time }

// begun returns the operations that began within the span.
func (p span) begun(ops []op) []op {
	return slices.DeleteFunc(slices.Clone(ops), func(o op) bool { return o.begin.Before(p.from) || !o.begin.Before(p.to) })
}

func failed(ops []op) []op {
	return slices.DeleteFunc(slices.Clone(ops), func(o op) bool { return o.err == nil })
}

// tally counts what a client saw since the fault, and adds it to the table.
func (s *stage) tally(c *client) {
	s.Helper()
	during := span{s.from, s.stopped}
	reads, writes := during.begun(c.reads.all()), during.begun(c.inserts.all())
	l := tally{fault: s.fault.name, client: c.name, ours: c.ours(), promoted: s.next != nil, moved: -1}
	l.readsFailed, l.writesFailed = len(failed(reads)), len(failed(writes))
	l.readsOK, l.writesOK = len(reads)-l.readsFailed, len(writes)-l.writesFailed
	l.readGap, l.writeGap = s.gap(c.reads.all(), during), s.gap(c.inserts.all(), during)
	l.stale = s.counter.stale(reads)
	for _, o := range c.inserts.all() { // all of the row: also what came before the fault may be lost
		r := s.rows[o.key]
		switch {
		case o.err == nil && r.times < 1:
			l.lost++
		case o.err != nil && r.times > 0 && !errors.Is(o.err, clustersql.ErrUnknownOutcome):
			l.told++
		}
		if r.times > 1 {
			l.double++
			s.Logf("%q is there %d times; its call began %s after the fault and ended %s after it: %v", o.key, r.times, o.begin.Sub(s.from), o.end.Sub(s.from), o.err)
		}
		if s.next != nil && o.begin.After(s.promoted) && s.stray[o.key] {
			l.old++
		}
	}
	if s.next != nil {
		l.moved = s.moved(c)
	}
	for _, p := range c.pools() {
		if p.ours {
			l.toll.add(s.lookout.toll(p, span{s.began, s.stopped}))
		}
	}
	s.table.lines = append(s.table.lines, l)
	s.Logf("%s: %d of %d reads failed, %d of %d inserts\n%s", c.name, l.readsFailed, len(reads), l.writesFailed, len(writes), causes(slices.Concat(reads, writes)))
	if l.ours {
		s.judge(l)
	}
}

// moved returns how long after the new primary could acknowledge writes the
// client's writers were there: one had written there, and none was waiting any
// more in a call of before the promotion. It is below 0 if that never happened.
func (s *stage) moved(c *client) time.Duration {
	first, last := time.Duration(-1), time.Duration(0)
	for _, o := range c.inserts.all() {
		if !o.end.After(s.promoted) {
			continue
		}
		if first < 0 && o.err == nil && s.rows[o.key].port == s.next.Port() {
			first = s.net(span{s.ready, o.end})
		}
		if o.begin.Before(s.promoted) {
			last = max(last, s.net(span{s.ready, o.end}))
		}
	}
	if first < 0 {
		return first
	}
	return max(first, last)
}

// movesWithin is how soon after a promotion the writers must be on the new
// primary.
func (f fault) movesWithin() time.Duration {
	if f.probe > 0 {
		return 500 * time.Millisecond
	}
	return 1500 * time.Millisecond
}

// These are the goals that a row may spare.
const (
	stale = "stale"
	lost  = "lost"
	old   = "on an old primary"
	moved = "on the new primary after"
)

// judge asserts what must hold for clustersql whatever the fault.
func (s *stage) judge(l tally) {
	s.Helper()
	wrong := false
	for _, goal := range []struct {
		name  string
		holds bool
		text  string
	}{
		{"load", l.readsOK > 0 && l.writesOK > 0, "the load did nothing"},
		{"reads", l.readsFailed == 0, fmt.Sprintf("%d reads failed", l.readsFailed)},
		{stale, l.stale == 0, fmt.Sprintf("%d reads were older than %s", l.stale, maxLag)},
		{lost, l.lost == 0, fmt.Sprintf("%d acknowledged inserts are not there", l.lost)},
		{"double", l.double == 0, fmt.Sprintf("%d inserts are there twice", l.double)},
		{"told", l.told == 0, fmt.Sprintf("%d inserts are there though their errors say that they were not run", l.told)},
		{old, l.old == 0, fmt.Sprintf("%d inserts were run on an old primary", l.old)},
		{"switchover", !s.fault.planned || l.writesFailed == 0 || l.writeGap > usual.OpenTimeout, fmt.Sprintf("%d writes failed in a planned switchover", l.writesFailed)},
		{moved, !l.promoted || l.moved >= 0 && l.moved <= s.fault.movesWithin(), fmt.Sprintf("the writers were on the new primary after %s", l.moved)},
		{"toll", l.toll.conns == 0 && l.toll.nodes == 0, fmt.Sprintf("%d good connections lost, %d good nodes taken down:\n%s", l.toll.conns, l.toll.nodes, strings.Join(l.toll.why, "\n"))},
	} {
		if !goal.holds {
			wrong = true
			s.Errorf("%s", goal.text)
		}
	}
	if wrong {
		s.tell()
	}
}

// gap returns the longest time without a success, less the time in which this
// process stood still.
func (s *stage) gap(ops []op, during span) time.Duration {
	ends := []time.Time{during.from}
	for _, o := range ops {
		if o.err == nil && o.end.After(during.from) && o.end.Before(during.to) {
			ends = append(ends, o.end)
		}
	}
	ends = append(ends, during.to)
	longest := time.Duration(0)
	for i := 1; i < len(ends); i++ {
		longest = max(longest, s.net(span{ends[i-1], ends[i]}))
	}
	return longest
}

var measured = regexp.MustCompile(`[0-9.]+(µs|ms|s)\b|:[0-9]+`)

// causes counts errors by their text and returns the most frequent ones.
func causes(ops []op) string {
	counts := make(map[string]int)
	for _, o := range ops {
		if o.err != nil {
			counts[fmt.Sprintf("%.300s", measured.ReplaceAllString(o.err.Error(), "…"))]++
		}
	}
	var lines []string
	for text, n := range counts {
		lines = append(lines, fmt.Sprintf("%6d× %s", n, text))
	}
	slices.Sort(lines)
	slices.Reverse(lines)
	return strings.Join(lines[:min(5, len(lines))], "\n")
}
