package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// someResults has a little of everything. clustersql is as good in it as it
// must be.
func someResults() *Results {
	r := &Results{Machine: Machine{Server: "10.11-MariaDB"}, Wrapper: &Wrapper{Added: []float64{5}, Armed: []float64{50}}, Idle: []*Idle{{Nodes: 3}}}
	took := []time.Duration{time.Millisecond, 2 * time.Millisecond}
	for _, c := range contestants {
		for _, delay := range []time.Duration{0, time.Millisecond} {
			r.Steady = append(r.Steady, &SteadyOpens{Contestant: c.name, Delay: delay, Took: took, P50: []float64{1}, Opens: 2, ServerConns: 2})
		}
		r.Steady = append(r.Steady, &SteadyOpens{Contestant: c.name, Rejecting: true, Took: took, P50: []float64{1}, Opens: 2})
		for _, f := range nodeFaults {
			w := Window{Took: took, Opens: 2}
			r.Faulty = append(r.Faulty, &FaultOpens{Fault: f.name, Contestant: c.name, Before: w, First: w, Late: w, All: w, Slow: []int{1}})
		}
		for _, work := range works {
			l := Load{Queries: 100, Wall: time.Second, CPU: time.Millisecond}
			if c.proxy != "" {
				l.Queries = 50
			}
			for _, workers := range fullPlan.workers {
				r.Load = append(r.Load, &Throughput{Contestant: c.name, Work: work, Workers: workers, Rounds: []Load{l}})
			}
		}
		for _, o := range outages {
			f := &Failover{Fault: o.name, Contestant: c.name, Failed: []int{0}, Gap: []time.Duration{time.Millisecond}, Longest: []time.Duration{time.Millisecond}, Return: []time.Duration{0}, Line: []Bin{{OK: 1}, {Failed: 1}}, Back: time.Second}
			if c.name == hedgeReads && o.silent {
				f.Hedged = []int{16}
			}
			if !c.ours {
				f.Failed, f.Gap, f.Return = []int{1}, []time.Duration{time.Second}, []time.Duration{-1}
			}
			r.Failovers = append(r.Failovers, f)
		}
		for _, f := range fields {
			r.Spreads = append(r.Spreads, &NodeSpread{Nodes: f.name, Contestant: c.name, Conns: []int{1, 1, 1}})
		}
		r.Left = append(r.Left, &Leftover{Contestant: c.name, After: []time.Duration{0}, Client: []Left{{}}})
	}
	return r
}

func TestReportIsComplete(t *testing.T) {
	dir, r := t.TempDir(), someResults()
	if err := write(dir, r, fullPlan); err != nil {
		t.Fatal(err)
	}
	if err := smoke(dir, r); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "RESULTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "**not reached**"); n > 0 {
		t.Errorf("%d verdicts on good figures are bad:\n%s", n, text)
	}
	if got, want := strings.Count(string(text), "another node answered 16 reads first"), 1; got != want {
		t.Errorf("the report says %d times, want %d, how many reads were hedged:\n%s", got, want, text)
	}
	if strings.Contains(string(text), "\n\n\n") || strings.Contains(string(text), "%!") {
		t.Errorf("badly written:\n%s", text)
	}
}

// A smoke run finds what is wrong.
func TestSmokeSeesWhatIsWrong(t *testing.T) {
	for name, spoil := range map[string]func(string, *Results){
		"useless":    func(_ string, r *Results) { r.faulty("silent", hedged).All.Useless = 1 },
		"goroutines": func(_ string, r *Results) { r.left(race).End.Goroutines = 1 },
		"conns":      func(_ string, r *Results) { r.left(race).ServerConns = 1 },
		"picture":    func(dir string, _ *Results) { os.Remove(filepath.Join(dir, "failover.svg")) },
		"table": func(dir string, _ *Results) {
			os.WriteFile(filepath.Join(dir, "RESULTS.md"), []byte("# nothing"), 0o644)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, r := t.TempDir(), someResults()
			if err := write(dir, r, fullPlan); err != nil {
				t.Fatal(err)
			}
			spoil(dir, r)
			if smoke(dir, r) == nil {
				t.Error("passed")
			}
		})
	}
}

// A smoke run does not judge what other contestants leave open or hand out.
func TestSmokeJudgesNoPeers(t *testing.T) {
	dir, r := t.TempDir(), someResults()
	r.left("the original (race)").End.Goroutines = 500
	r.faulty("answers 1047", plain).All.Useless = 2
	if err := write(dir, r, fullPlan); err != nil {
		t.Fatal(err)
	}
	if err := smoke(dir, r); err != nil {
		t.Error(err)
	}
}

// Verdicts say so if figures are not good enough.
func TestVerdictsSeeWhatIsNotReached(t *testing.T) {
	for name, spoil := range map[string]func(*Results){
		"client CPU": func(r *Results) {
			for _, t := range r.Load {
				if t.Contestant == hedged {
					t.Rounds[0].CPU *= 2
				}
			}
		},
		"throughput with 16 workers, SELECT 1": func(r *Results) {
			find(r.Load, proxyMySQL, workSelect1, 16).Rounds[0].Queries = 99
		},
		"added":              func(r *Results) { r.Wrapper.Allocs = 1 },
		"open p50":           func(r *Results) { findWell(r.Steady, hedged, time.Millisecond).P50[0] = 1.06 },
		"server connections": func(r *Results) { findWell(r.Steady, balanced, 0).ServerConns = 3 },
		"open p99":           func(r *Results) { r.faulty("refusing", balanced).Late.Took = []time.Duration{time.Second} },
		"open p99 three": func(r *Results) { // noise excuses no more than its own size
			r.faulty("slow by 200 ms", plainAgain).Late.Took = []time.Duration{3 * time.Millisecond}
			r.faulty("slow by 200 ms", hedged).Late.Took = []time.Duration{4 * time.Millisecond}
		},
		"opens over": func(r *Results) { r.faulty("silent", hedged).Slow = []int{0, 2} },
		"useless":    func(r *Results) { r.faulty("full", ordered).All.Useless = 1 },
		"failover":   func(r *Results) { r.failover(outages[0].name, race).Failed[0] = 2 },
	} {
		r := someResults()
		spoil(r)
		bad := 0
		for _, v := range verdicts(r) {
			if !v.OK {
				bad++
				if !strings.HasPrefix(v.What, name) {
					t.Errorf("%s: %+v", name, v)
				}
			}
		}
		if bad == 0 {
			t.Errorf("%s: all verdicts are good", name)
		}
	}
}

func (r *Results) faulty(fault, name string) *FaultOpens {
	for _, f := range r.Faulty {
		if f.Fault == fault && f.Contestant == name {
			return f
		}
	}
	return nil
}

func (r *Results) left(name string) *Leftover {
	for _, l := range r.Left {
		if l.Contestant == name {
			return l
		}
	}
	return nil
}
