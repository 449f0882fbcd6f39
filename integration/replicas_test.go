package integration

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/go-sql-driver/mysql"
)

// maxLag is the readers' max_lag.
const maxLag = 2 * time.Second

// lagBound is how old a read of a replica may be: a probe of the primary and then
// one of the replica come late by an interval each.
var lagBound = maxLag + 2*usual.ProbeInterval*6/5

// delay returns how long before a read something must have been committed to be
// missed by it.
func (s *stage) delay() time.Duration {
	if s.table.replicas {
		return lagBound
	}
	return replicationDelay
}

// Every fault of a primary and its replicas happens on the same nodes, each under
// load and until it has ended. Each begins with n1 as the primary.
func TestReplicationFaults(t *testing.T) {
	_ = mysql.SetLogger(&mysql.NopLogger{}) // it would write a line for every lost connection
	var log strings.Builder
	c := galera.StartReplicationT(t, galera.Options{Monitor: true, Log: &log})
	makeTables(t, c)
	results := table{replicas: true}
	began := time.Now()
	for _, fault := range []struct {
		name string
		row  func(*stage)
	}{
		{"kill -9 of the primary", primaryKilled},
		{"probes every 200 ms", primaryKilledQuickly},
		{"SIGSTOP of the primary", primaryFrozen},
		{"shutdown of the primary", primaryShutDown},
		{"switchover", switchedOver},
		{"slow switchover", switchedOverSlowly},
		{"kill -9 of a replica", replicaKilled},
		{"SIGSTOP of a replica", replicaFrozen},
		{"shutdown of a replica", replicaShutDown},
		{"SQL thread", applyingStopped},
		{"cut off", replicaCutOff},
		{"max_connections", replicaFull},
		{"all frozen", replicationFrozen},
	} {
		t.Run(fault.name, func(t *testing.T) {
			before := log.Len()
			defer func() {
				restore(t, c)
				if t.Failed() {
					t.Logf("what was done to the servers:\n%s", log.String()[before:])
				}
			}()
			fault.row(&stage{T: t, c: c, table: &results, unsent: make(map[string]bool)})
		})
	}
	t.Logf("after %s:\n%s", time.Since(began).Round(time.Second), &results)
}

// pair starts a client that writes and one that reads, with the fault's name. The
// fault is that of a node.
func (s *stage) pair(fault string, faulty int) (writer, reader *workload) {
	s.Helper()
	s.faulty = faulty
	probes := func(*clustersql.Config) {}
	if s.probe > 0 {
		probes = clustersql.WithProbe(s.probe, s.probe)
	}
	loads := s.start(
		client{name: fault + ", writers", does: writesOnly, fit: 1, probe: s.probe, opts: []clustersql.Option{clustersql.WithRequire(clustersql.RequireReadWrite), probes}},
		client{name: fault + ", readers", does: readsOnly, share: halfShare, probe: s.probe, opts: []clustersql.Option{
			clustersql.WithRequire(clustersql.RequirePreferStandby), clustersql.WithMaxLag(maxLag), clustersql.WithStrategy(clustersql.Balanced), clustersql.WithIdempotent(true), probes}})
	s.quiet()
	return loads[0], loads[1]
}

// halfShare is a half, 20 percent more or less.
var halfShare = shares{0.8 / 2, 1.2 / 2}

// replica returns the replica that gets the fault.
func (s *stage) replica() *galera.Node { return s.c.Nodes[1] }

// promotes is how long the writers may take from a promotion to their first
// acknowledged write.
func (s *stage) promotes() time.Duration {
	if s.probe > 0 {
		return promotesQuickly
	}
	return promotes
}

// promote promotes the replica that has the most, as a tool of the operator would.
// It returns when, and how long after that the writer had its first write
// acknowledged.
func (s *stage) promote(writer *workload) (best *galera.Node, promoted time.Time, back time.Duration) {
	s.Helper()
	best, err := s.c.Best(s.Context())
	s.must(err)
	s.excuse(best)
	s.must(best.Promote(s.Context()))
	promoted = time.Now()
	s.must(s.c.FollowPrimary(s.Context()))
	s.within(15*time.Second, "a write on the new primary", func() bool {
		return slices.ContainsFunc(writer.inserts.all(), func(o op) bool {
			back = o.end.Sub(promoted)
			return o.err == nil && back > 0
		})
	})
	back = s.net(span{promoted, promoted.Add(back)})
	s.bound(back <= s.promotes(), "the first write came %s after the promotion", back)
	return best, promoted, back
}

// excuse notes which acknowledged writes the dead primary had not sent to the node
// that is promoted. Nobody can know them any more.
func (s *stage) excuse(best *galera.Node) {
	s.Helper()
	there := s.keysOn(best)
	for _, w := range s.loads {
		for _, o := range w.inserts.all() {
			if o.err == nil && !there[o.key] {
				s.unsent[o.key] = true
			}
		}
	}
	var v int64
	s.must(best.AdminDB().QueryRowContext(s.Context(), "SELECT v FROM app.faults_counter WHERE id = 0").Scan(&v))
	s.counter.disown(v)
	s.Logf("the primary had acknowledged and not sent %d writes", len(s.unsent))
}

// keysOn returns the keys of this stage that a node has.
func (s *stage) keysOn(n *galera.Node) map[string]bool {
	s.Helper()
	rows, err := n.AdminDB().QueryContext(s.Context(), "SELECT k FROM app.faults_ins WHERE k LIKE ?", s.prefix()+"%")
	s.must(err)
	defer rows.Close()
	keys := make(map[string]bool)
	for rows.Next() {
		var key string
		s.must(rows.Scan(&key))
		keys[key] = true
	}
	s.must(rows.Err())
	return keys
}

// oldBack waits until the writer holds the old primary, which takes writes, and
// for a while more. Then the node follows the new one. It returns how long the
// reader took to use it as a replica.
func (s *stage) oldBack(writer, reader *workload, old, primary *galera.Node, promoted time.Time) time.Duration {
	s.Helper()
	s.within(comesBack, "the old primary to be held", func() bool {
		return slices.ContainsFunc(writer.told(old.Name), func(e clustersql.Event) bool { return e.Kind == clustersql.EventHeld && !e.Time.Before(promoted) })
	})
	s.pass(2 * time.Second)
	there := s.keysOn(old)
	for _, w := range s.loads {
		for _, o := range w.inserts.all() {
			if there[o.key] && o.begin.After(promoted) {
				s.old++
			}
		}
	}
	s.bound(s.old == 0, "%d writes on the old primary", s.old)
	s.must(old.Follow(s.Context(), primary))
	s.must(old.WaitApplied(s.Context(), primary))
	now := time.Now()
	return s.returned(reader, s.faulty, now)
}

// judgePair asserts what holds for every fault: no read fails, none is too old, and
// at most so many writes fail as were under way, of unknown outcome.
func (s *stage) judgePair(writer, reader *workload, from time.Time, wrote, read time.Duration, most int) {
	s.Helper()
	s.tally(writer, writer.name, s.since(from), wrote)
	bad := failed(s.since(from).begun(writer.inserts.all()))
	s.bound(len(bad) <= most, "%s: %d failed, at most %d may:\n%s", writer.name, len(bad), most, causes(bad))
	for _, o := range bad {
		s.bound(errors.Is(o.err, clustersql.ErrUnknownOutcome), "%s: %v", writer.name, o.err)
	}
	l := s.tally(reader, reader.name, s.since(from), read)
	s.none(reader.name, s.since(from).begun(reader.reads.all()))
	s.bound(l.stale == 0, "%s: %d reads are older than %s", reader.name, l.stale, lagBound)
}

// leftOut waits until the reader has left the faulty node out, for a reason.
func (s *stage) leftOut(reader *workload, because string) {
	s.Helper()
	waitState(s.T, reader.d, s.faulty, clustersql.StateDown)
	reason := reader.d.Status().Nodes[s.faulty].Reason
	s.bound(strings.HasPrefix(reason, because), "the node was left out: %s", reason)
}

// makeTables makes what the clients read and write.
func makeTables(t *testing.T, c *galera.Cluster) {
	t.Helper()
	run(t, c,
		"CREATE TABLE app.faults_kv (id INT PRIMARY KEY, v INT)",
		"INSERT INTO app.faults_kv SELECT seq, seq FROM app.seq_0_to_999",
		"CREATE TABLE app.faults_counter (id INT PRIMARY KEY, v BIGINT)",
		"INSERT INTO app.faults_counter VALUES (0, 1)",
		"CREATE TABLE app.faults_ins (id BIGINT PRIMARY KEY AUTO_INCREMENT, k VARCHAR(64), node VARCHAR(16), KEY (k))")
}
