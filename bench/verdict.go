package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// A Verdict is one thing that the figures must show, and whether they do.
type Verdict struct {
	What, Want, Got string
	OK              bool
}

var strategies = []string{race, hedged, balanced, ordered}

// verdicts judges what was measured. It leaves out what was not.
func verdicts(r *Results) (all []Verdict) {
	if len(r.Load) > 0 {
		all = append(all, costVerdicts(r)...)
		all = append(all, proxyVerdicts(r)...)
	}
	if r.Wrapper != nil {
		added, armed := spreadOf(r.Wrapper.Added), spreadOf(r.Wrapper.Armed)
		all = append(all, Verdict{"added to a call of a scripted backend, late_after off", "under 20 ns",
			fmt.Sprintf("%.1f ns [%.1f–%.1f]", added.Mid, added.Low, added.High), added.Mid < 20},
			Verdict{"added to that by late_after", "under 100 ns, 0 allocations",
				fmt.Sprintf("%.1f ns [%.1f–%.1f], %.0f allocations", armed.Mid, armed.Low, armed.High, r.Wrapper.Allocs),
				armed.Mid < 100 && r.Wrapper.Allocs == 0})
	}
	if len(r.Steady) > 0 {
		all = append(all, wellVerdicts(r)...)
	}
	if len(r.Faulty) > 0 {
		all = append(all, faultVerdicts(r)...)
		all = append(all, uselessVerdict(r))
	}
	if len(r.Failovers) > 0 {
		all = append(all, failoverVerdicts(r)...)
	}
	return all
}

// pooled returns the spread of the ratios of one contestant's figure to
// another's, round by round. It covers all kinds of work and numbers of workers
// for which want returns true.
func pooled(r *Results, name, base string, figure func(Load) float64, want func(*Throughput) bool) Spread {
	var ratios []float64
	for _, t := range r.Load {
		if t.Contestant != name || !want(t) {
			continue
		}
		values, over := t.each(figure), find(r.Load, base, t.Work, t.Workers).each(figure)
		for i := range min(len(values), len(over)) {
			if values[i] > 0 && over[i] > 0 {
				ratios = append(ratios, values[i]/over[i])
			}
		}
	}
	return spreadOf(ratios)
}

func anyLoad(*Throughput) bool { return true }

func find(all []*Throughput, name, work string, workers int) *Throughput {
	for _, t := range all {
		if t.Contestant == name && t.Work == work && t.Workers == workers {
			return t
		}
	}
	return &Throughput{}
}

func costVerdicts(r *Results) (all []Verdict) {
	noise := pooled(r, plainAgain, plain, perSecond, anyLoad)
	for _, name := range strategies {
		cpu, rate := pooled(r, name, plain, cpuPerQuery, anyLoad), pooled(r, name, plain, perSecond, anyLoad)
		got := rate.String()
		if name == race || name == balanced {
			got += fmt.Sprintf("; on the same three nodes, / %s: %s", onThree, pooled(r, name, onThree, perSecond, anyLoad))
		}
		all = append(all,
			Verdict{"client CPU per query, " + name + " / plain", "at most 1.02", cpu.String(), cpu.Mid <= 1.02},
			Verdict{"throughput, " + name + " / plain", fmt.Sprintf("within the second plain pool's quartiles, %.3f–%.3f, or above", noise.Low, noise.High),
				got, rate.Mid >= noise.Low})
	}
	return all
}

// resolution returns how far the median may be from that of many more values:
// its standard error, if the quartiles are those of a normal distribution.
func (s Spread) resolution() float64 {
	return 0.93 * (s.High - s.Low) / math.Sqrt(float64(max(s.N, 1)))
}

// proxyVerdicts compares with the proxies. It also shows the most that could be
// gained: by a plain driver, which adds no cost, on as many nodes and on one.
func proxyVerdicts(r *Results) (all []Verdict) {
	for _, work := range works {
		sixteen := func(t *Throughput) bool { return t.Work == work && t.Workers == 16 }
		for _, proxy := range []string{proxyMySQL, proxyWsrep} {
			over := func(name string) Spread { return pooled(r, name, proxy, perSecond, sixteen) }
			s := over(balanced)
			all = append(all, Verdict{fmt.Sprintf("throughput with 16 workers, %s, %s / %s", work, balanced, proxy), "at least 1.4",
				fmt.Sprintf("%v; %s: %.3f, %s: %.3f", s, onThree, over(onThree).Mid, plain, over(plain).Mid), s.Mid >= 1.4})
		}
	}
	return all
}

func findWell(all []*SteadyOpens, name string, delay time.Duration) *SteadyOpens {
	for _, w := range all {
		if w.Contestant == name && w.Delay == delay && !w.Rejecting {
			return w
		}
	}
	return &SteadyOpens{}
}

// connsPerOpen returns the number of connections at the servers for each useful
// open.
func (w *SteadyOpens) connsPerOpen() string {
	useful := w.Opens - w.Failed - w.Useless
	if useful == 0 {
		return "none useful"
	}
	return fmt.Sprintf("%.3f", w.ServerConns/float64(useful))
}

func wellVerdicts(r *Results) (all []Verdict) {
	var delay time.Duration
	for _, w := range r.Steady {
		delay = max(delay, w.Delay)
	}
	base := findWell(r.Steady, plainDo1, delay)
	for _, want := range []struct {
		name string
		most float64
	}{{hedged, 1.05}, {race, 1.6}} {
		s := paired(findWell(r.Steady, want.name, delay).P50, base.P50)
		all = append(all, Verdict{fmt.Sprintf("open p50 at %v of network delay, %s / %s", delay, want.name, plainDo1),
			fmt.Sprintf("at most %.2f", want.most), s.String(), s.Mid <= want.most})
	}
	for _, name := range []string{hedged, balanced, ordered} {
		var opens int
		var conns float64
		for _, w := range r.Steady {
			if w.Contestant == name && !w.Rejecting {
				opens, conns = opens+w.Opens-w.Failed-w.Useless, conns+w.ServerConns
			}
		}
		per := conns / float64(max(opens, 1))
		all = append(all, Verdict{"server connections per open, nodes well, " + name, "at most 1.02",
			fmt.Sprintf("%.3f", per), per <= 1.02})
	}
	return all
}

// faultVerdicts judges opens around faults at relays. The second plain pool has
// no fault, and shows what else the machine did at the time. A ratio may
// therefore be larger by as much as that pool's ratio is above 1.
func faultVerdicts(r *Results) (all []Verdict) {
	noise := make(map[string]float64)
	for _, f := range r.Faulty {
		if f.Contestant == plainAgain {
			noise[f.Fault] = max(1, f.lateOverWell())
		}
	}
	for _, f := range r.Faulty {
		if f.Contestant != hedged && f.Contestant != balanced || !slices.Contains([]string{"slow by 200 ms", "silent", "refusing"}, f.Fault) {
			continue
		}
		ratio, most := f.lateOverWell(), 1.2*noise[f.Fault]
		all = append(all,
			Verdict{fmt.Sprintf("open p99 three seconds after one node is %s, %s / well", f.Fault, f.Contestant),
				fmt.Sprintf("at most 1.20, with the noise %.2f", most),
				fmt.Sprintf("%.2f (%.1f / %.1f ms; p50 %.2f)", ratio, ms(at(f.Late.Took, 0.99)), ms(at(f.Before.Took, 0.99)), ms(at(f.Late.Took, 0.5))/ms(at(f.Before.Took, 0.5))),
				ratio <= most},
			Verdict{fmt.Sprintf("opens over the hedge delay in the first second, one node %s, %s", f.Fault, f.Contestant), "at most 1 per round",
				fmt.Sprint(f.Slow), slices.Max(append(f.Slow, 0)) <= 1})
	}
	return all
}

// lateOverWell returns the ratio of the p99 some time after the fault to the
// p99 before it.
func (f *FaultOpens) lateOverWell() float64 {
	return ms(at(f.Late.Took, 0.99)) / ms(at(f.Before.Took, 0.99))
}

func at(took []time.Duration, p float64) time.Duration {
	return quantile(slices.Sorted(slices.Values(took)), p)
}

// useless returns how many useless connections clustersql handed out.
func useless(r *Results) (n, opens int) {
	for _, f := range r.Faulty {
		if isOurs(f.Contestant) {
			n, opens = n+f.Before.Useless+f.All.Useless, opens+f.Before.Opens+f.All.Opens
		}
	}
	for _, w := range r.Steady {
		if isOurs(w.Contestant) {
			n, opens = n+w.Useless, opens+w.Opens
		}
	}
	return n, opens
}

func uselessVerdict(r *Results) Verdict {
	n, opens := useless(r)
	return Verdict{"useless opens of clustersql, all strategies, nodes well and with every fault", "0", fmt.Sprintf("%d of %d", n, opens), n == 0 && opens > 0}
}

func isOurs(name string) bool {
	c, err := contestantNamed(name)
	return err == nil && c.ours
}

// A cell is one figure of a failover. Smaller is better. Two figures count as
// equal if they differ by no more than slack or a twentieth.
type cell struct {
	name   string
	figure func(*Failover) float64
	slack  float64
}

var cells = []cell{
	{"failed reads", func(f *Failover) float64 { return float64(sum(f.Failed)) }, 0},
	{"longest gap", func(f *Failover) float64 { return ms(slices.Max(append(f.Gap, 0))) }, 50},
	{"time to use", func(f *Failover) float64 { return ms(f.backInUse()) }, 100},
}

// show returns a figure with its unit.
func (c cell) show(v float64) string {
	switch {
	case c.slack == 0:
		return fmt.Sprint(v)
	case v >= ms(never):
		return "never"
	}
	return fmt.Sprintf("%.0f ms", v)
}

// never is the figure of a node that was not used again while it was watched.
const never = time.Hour

// backInUse returns the median time to the first read on the node that came
// back.
func (f *Failover) backInUse() time.Duration {
	var all []time.Duration
	for _, d := range f.Return {
		if d < 0 {
			d = never
		}
		all = append(all, d)
	}
	return at(all, 0.5)
}

func sum(all []int) (n int) {
	for _, v := range all {
		n += v
	}
	return n
}

// failoverVerdicts compares each strategy of clustersql with the best of the
// others, in every cell. The plain driver is left out, because it has only one
// node.
func failoverVerdicts(r *Results) (all []Verdict) {
	for _, name := range append(slices.Clone(strategies), idempotent, hedgeReads) {
		var fine, best, of int
		var worse []string
		for _, f := range r.Failovers {
			if f.Contestant != name {
				continue
			}
			for _, c := range cells {
				of++
				ours, theirs := c.figure(f), bestOfPeers(r, f.Fault, c)
				slack := max(c.slack, theirs/20)
				switch {
				case ours < theirs-slack || ours == theirs && ours == 0:
					best, fine = best+1, fine+1
				case ours <= theirs+slack:
					fine++
				default:
					worse = append(worse, fmt.Sprintf("%s at %s: %s, best of the others %s", c.name, f.Fault, c.show(ours), c.show(theirs)))
				}
			}
		}
		got := fmt.Sprintf("no worse in %d, best in %d of %d cells", fine, best, of)
		if len(worse) > 0 {
			got += "; worse: " + strings.Join(worse, "; ")
		}
		all = append(all, Verdict{"failover, " + name, "no cell worse than the best of the others, best in most", got, fine == of && 2*best > of})
	}
	return all
}

func bestOfPeers(r *Results, fault string, c cell) float64 {
	best := ms(never)
	for _, f := range r.Failovers {
		if f.Fault == fault && f.Contestant != plain && !isOurs(f.Contestant) {
			best = min(best, c.figure(f))
		}
	}
	return best
}

// String returns the median and the quartiles.
func (s Spread) String() string {
	if s.N == 0 {
		return "–"
	}
	return fmt.Sprintf("%.3f [%.3f–%.3f]", s.Mid, s.Low, s.High)
}
