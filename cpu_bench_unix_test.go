//go:build unix

package clustersql

import (
	"database/sql"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// BenchmarkThousandNodes lets a thousand nodes be probed once a second, and
// does nothing else. One operation is one second. cpu-% is how much of one core
// the process used, by getrusage(2). The probes' answers are included.
func BenchmarkThousandNodes(b *testing.B) {
	const nodes = 1000
	b.ReportAllocs()
	backend := fakedb.New()
	d := fakeCluster(b, backend, nodes)
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	if err := d.WaitReady(b.Context(), nodes); err != nil {
		b.Fatal(err)
	}
	before, began, probes := cpuTime(b), time.Now(), probesOf(d)
	for b.Loop() {
		time.Sleep(time.Second)
	}
	wall := time.Since(began)
	b.ReportMetric(100*float64(cpuTime(b)-before)/float64(wall), "cpu-%")
	b.ReportMetric(float64(probesOf(d)-probes)/wall.Seconds(), "probes/s")
}

// BenchmarkOpensAtOnce lets many opens begin at the same moment. cpu-ns/open is
// the processor time for all of them, divided by their number: with work that
// grows with the number of those that wait, it would grow too.
func BenchmarkOpensAtOnce(b *testing.B) {
	for _, s := range []struct {
		name string
		opt  Option
	}{{"race", WithStrategy(Race)}, {"hedged", WithStrategy(Hedged)}} {
		for _, opens := range []int{500, 16000} {
			b.Run(fmt.Sprintf("%s/opens=%d", s.name, opens), func(b *testing.B) {
				c := ready(b, 3, s.opt, WithOpenTimeout(time.Minute))
				before := cpuTime(b)
				for b.Loop() {
					openAtOnce(b, c, opens)
				}
				b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N*opens), "cpu-ns/open")
			})
		}
	}
}

func probesOf(d Driver) (sum uint64) {
	for _, n := range d.Status().Nodes {
		sum += n.Probes
	}
	return sum
}

// cpuTime returns the time that the process has used so far, in user and system
// mode.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
