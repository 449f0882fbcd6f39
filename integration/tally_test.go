package integration

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql"
)

// A table is what the whole suite prints at its end. The longest gap is that
// between two reads that succeeded, or two writes of a client that only writes,
// less the time in which the machine stood still. The time to return is from the end of the fault until the client has
// the node up; in rows of a return it is from there until the node's share of
// connections is right. Stale reads are those of the node that had the fault.
// Good sessions and good nodes are those of a toll.
//
// With replicas, stale reads are those of all nodes. What a primary had acknowledged
// and not sent when it died is not lost by the client. Writes on an old primary were
// sent there after another one was promoted.
type table struct {
	lines    []tally
	replicas bool
}

// A tally is what one client saw under one fault.
type tally struct {
	fault                                        string
	does                                         work
	readsOK, readsFailed, writesOK, writesFailed int
	gap, back                                    time.Duration
	stale, lost, double, told, old               int
	toll                                         toll
	noReturn                                     bool
}

func (tb *table) String() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	last := ""
	if tb.replicas {
		last = "\twrites on an old primary"
	}
	fmt.Fprintln(w, "fault\treads ok/failed\twrites ok/failed\tlongest gap\ttime to return\tstale\tlost\tdouble\tgood sessions lost\tgood nodes taken down"+last)
	for _, l := range tb.lines {
		back := l.back.Round(10 * time.Millisecond).String()
		if l.noReturn {
			back = "-"
		}
		if tb.replicas {
			last = fmt.Sprintf("\t%d", l.old)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d%s\n", l.fault, l.does.parts(writesOnly, l.readsOK, l.readsFailed), l.does.parts(readsOnly, l.writesOK, l.writesFailed),
			l.gap.Round(time.Millisecond), back, l.stale, l.lost, l.double, l.toll.sessions, l.toll.nodes, last)
	}
	w.Flush()
	return text.String()
}

// parts is a cell of the table. It is empty for a client that only does other work.
func (is work) parts(other work, ok, failed int) string {
	if is == other {
		return "-"
	}
	return fmt.Sprintf("%d/%d", ok, failed)
}

// A span is a part of a run.
type span struct{ from, to time.Time }

// begun returns the operations that began within the span.
func (p span) begun(ops []op) []op {
	var in []op
	for _, o := range ops {
		if !o.begin.Before(p.from) && o.begin.Before(p.to) {
			in = append(in, o)
		}
	}
	return in
}

func failed(ops []op) []op {
	var bad []op
	for _, o := range ops {
		if o.err != nil {
			bad = append(bad, o)
		}
	}
	return bad
}

// failedOn returns the operations that failed with the connection to a node.
func failedOn(ops []op, node string) []op {
	return slices.DeleteFunc(failed(ops), func(o op) bool { return o.node != node })
}

// on returns the operations that a node answered.
func on(ops []op, node string) []op {
	var there []op
	for _, o := range ops {
		if o.err == nil && o.node == node {
			there = append(there, o)
		}
	}
	return there
}

// tally counts what a client saw within a span, asserts what must hold for
// every fault, and adds the counts to the table. It must be called after end. A
// back below 0 says that the node did not return.
func (s *stage) tally(w *workload, fault string, during span, back time.Duration) tally {
	s.Helper()
	reads, opens := during.begun(w.reads.all()), during.begun(w.opens.all())
	writes := during.begun(w.inserts.all())
	l := tally{fault: fault, does: w.does, back: back, noReturn: back < 0, old: s.old}
	l.readsFailed, l.writesFailed = len(failed(reads)), len(failed(writes))
	l.readsOK, l.writesOK = len(reads)-l.readsFailed, len(writes)-l.writesFailed
	l.gap = s.gap(w, during)
	seen := slices.Concat(reads, opens)
	others := 0
	for i, n := range s.c.Nodes {
		if stale := s.counter.stale(seen, n.Name, s.delay()); i == s.faulty || s.table.replicas {
			l.stale += stale
		} else {
			others += stale
		}
	}
	for _, o := range writes {
		r := s.rows[o.key]
		switch {
		case o.err == nil && r.least < 1 && !s.unsent[o.key]:
			l.lost++
		case o.err != nil && r.most > 0 && !errors.Is(o.err, clustersql.ErrUnknownOutcome):
			l.told++
		}
		if r.most > 1 {
			l.double++
		}
	}
	l.toll = s.lookout.toll(w.account(), during)
	s.table.lines = append(s.table.lines, l)
	s.Logf("%s: %d of %d reads failed, %d of %d opens, %d of %d inserts; %d stale reads on the others\n%s", fault,
		l.readsFailed, len(reads), len(failed(opens)), len(opens), l.writesFailed, len(writes),
		others, causes(slices.Concat(seen, writes)))
	if during.to.Sub(during.from) > time.Second && (l.readsOK == 0 && w.does != writesOnly || l.writesOK == 0 && w.does != readsOnly) {
		s.Errorf("%s: the load did nothing", fault)
	}
	if l.lost > 0 || l.double > 0 || l.told > 0 {
		s.Errorf("%s: of %d acknowledged inserts %d are not there; %d are there twice; %d are there though their errors say that they were not run", fault, l.writesOK, l.lost, l.double, l.told)
	}
	return l
}

// gap returns the longest time without a successful read, or write of a client that
// only writes, less the time in which the machine stood still.
func (s *stage) gap(w *workload, during span) time.Duration {
	if during.to.Before(during.from) {
		return 0
	}
	ends, ops := []time.Time{during.from}, w.reads.all()
	if w.does == writesOnly {
		ops = w.inserts.all()
	}
	for _, o := range ops {
		if o.err == nil && o.end.After(during.from) && o.end.Before(during.to) {
			ends = append(ends, o.end)
		}
	}
	ends = append(ends, during.to)
	longest, at := time.Duration(0), during
	for i := 1; i < len(ends); i++ {
		p := span{ends[i-1], ends[i]}
		if d := s.net(p); d > longest {
			longest, at = d, p
		}
	}
	s.Logf("%s: nothing succeeded for %s (%s less standstill) from %s after the fault", w.name, longest, at.to.Sub(at.from), at.from.Sub(during.from))
	return longest
}

// stillness is how far apart two reads of the witness may be before the machine
// counts as standing still. The witness reads every 10 ms.
const stillness = 50 * time.Millisecond

// net returns the length of a span, less the time in which the machine stood
// still: this process, or a server without the fault, got no processor.
func (s *stage) net(p span) time.Duration {
	still := time.Duration(0)
	if s.blind {
		return p.to.Sub(p.from)
	}
	last := time.Time{}
	for _, o := range s.witness.all() {
		if o.err != nil {
			continue
		}
		from, to := last, o.end
		last = o.end
		if from.Before(p.from) {
			from = p.from
		}
		if to.After(p.to) {
			to = p.to
		}
		if d := to.Sub(from); d > stillness {
			still += d - stillness
		}
	}
	return p.to.Sub(p.from) - still
}

// onWire returns the largest number of operations that were under way at one
// moment of a span.
func onWire(ops []op, p span) int {
	type step struct {
		at time.Time
		by int
	}
	var steps []step
	for _, o := range ops {
		if o.end.After(p.from) && o.begin.Before(p.to) {
			steps = append(steps, step{o.begin, 1}, step{o.end, -1})
		}
	}
	slices.SortFunc(steps, func(a, b step) int { return a.at.Compare(b.at) })
	now, most := 0, 0
	for _, st := range steps {
		now += st.by
		most = max(most, now)
	}
	return most
}

// hung returns how long the slowest operation under way within a span took,
// from the span's beginning or from its own if that was later.
func (s *stage) hung(p span, ops []op) time.Duration {
	longest := time.Duration(0)
	for _, o := range ops {
		if o.end.Before(p.from) || !o.begin.Before(p.to) {
			continue
		}
		from := o.begin
		if from.Before(p.from) {
			from = p.from
		}
		longest = max(longest, s.net(span{from, o.end}))
	}
	return longest
}

// percentile returns the percentile of the times of successful operations.
func (s *stage) percentile(ops []op, p float64) time.Duration {
	var took []time.Duration
	for _, o := range ops {
		if o.err != nil {
			continue
		}
		d := o.end.Sub(o.begin)
		if d > stillness {
			d = s.net(span{o.begin, o.end})
		}
		took = append(took, d)
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[int(float64(len(took)-1)*p)]
}

// rolledBack reports whether the group took the transaction back itself, as
// Galera does with one that is under way while the members change. A client of
// one node gets the same answer, and only the program knows what to do again.
func rolledBack(o op) bool {
	var said *mysql.MySQLError
	return errors.As(o.err, &said) && said.Number == 1213
}

// none asserts that none of the operations failed, but for those that the group
// took back.
func (s *stage) none(what string, ops []op) {
	s.Helper()
	if bad := slices.DeleteFunc(failed(ops), rolledBack); len(bad) > 0 {
		s.Errorf("%s: %d of %d failed:\n%s", what, len(bad), len(ops), causes(bad))
	}
}

var measured = regexp.MustCompile(`[0-9.]+(µs|ms|s)\b|:[0-9]+`)

// causes counts errors by their text and returns the most frequent ones.
func causes(ops []op) string {
	counts := make(map[string]int)
	for _, o := range ops {
		if o.err != nil {
			counts[fmt.Sprintf("%.400s", measured.ReplaceAllString(o.err.Error(), "…"))]++
		}
	}
	var lines []string
	for text, n := range counts {
		lines = append(lines, fmt.Sprintf("%6d× %s", n, text))
	}
	slices.Sort(lines)
	slices.Reverse(lines)
	return strings.Join(lines[:min(6, len(lines))], "\n")
}
