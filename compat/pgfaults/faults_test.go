// Package pgfaults has every fault of a PostgreSQL replication under load, on
// real servers: with clustersql, and with the lists of hosts that pgx and lib/pq
// know by themselves.
package pgfaults

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/pgcluster"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fault is a row of the table.
type fault struct {
	name string
	row  func(*stage)
	// planned says that no statement outside a transaction may fail, unless the new
	// primary comes later than an open waits.
	planned bool
	// probe is probe_interval and probe_timeout of clustersql; 0: the usual ones.
	probe time.Duration
}

// config returns the settings of clustersql that the row depends on.
func (f fault) config() clustersql.Config {
	c := usual
	if f.probe > 0 {
		c.ProbeInterval, c.ProbeTimeout = f.probe, f.probe
	}
	return c
}

var faults = []fault{
	{name: "kill -9 of a standby", row: standbyKilled},
	{name: "kill -9 of the primary", row: primaryKilled},
	{name: "the same, probes every 200 ms", row: primaryKilled, probe: 200 * time.Millisecond},
	{name: "SIGSTOP of a standby", row: standbyFrozen},
	{name: "SIGSTOP of the primary", row: primaryFrozen},
	{name: "restart of a standby", row: standbyRestarts},
	{name: "restart of the primary", row: primaryRestarts},
	{name: "switchover, read-only", row: switchoverReadOnly, planned: true},
	{name: "switchover, shutdown", row: switchoverShutdown},
	{name: "old primary is back", row: oldPrimaryBack},
	{name: "replay paused", row: replayPaused},
	{name: "standby cut off", row: standbyCutOff},
	{name: "full", row: full},
	{name: "all frozen", row: allFrozen},
	{name: "return", row: returns},
}

// Every fault happens on the same servers, under load and until it has ended. A
// commit is acknowledged when one standby has it, and the standby that has most
// is promoted. So whatever is lost was lost by the client. The figures are
// printed at the end.
func TestFaults(t *testing.T) {
	log := new(journal)
	c := pgcluster.StartT(t, pgcluster.Options{Synchronous: true, Extra: []string{"max_connections = 70"}, Log: log})
	prepare(t, c)
	var results table
	began := time.Now()
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			before := log.len()
			f.row(&stage{T: t, c: c, table: &results, fault: f})
			if t.Failed() {
				t.Logf("what was done to the servers:\n%s", log.String()[before:])
			}
		})
	}
	t.Logf("after %s:\n%s", time.Since(began).Round(time.Second), &results)
}

// prepare makes the tables and the roles.
func prepare(t *testing.T, c *pgcluster.Cluster) {
	t.Helper()
	err := c.Exec(t.Context(),
		"CREATE ROLE "+outsider+" LOGIN",
		"CREATE TABLE counter (id INT PRIMARY KEY, v BIGINT)",
		"INSERT INTO counter VALUES (0, 0)",
		"CREATE TABLE ins (id BIGSERIAL PRIMARY KEY, k TEXT, port INT)",
		fmt.Sprintf("GRANT ALL ON counter, ins, ins_id_seq TO %s, %s", pgcluster.User, outsider))
	if err != nil {
		t.Fatal(err)
	}
}

// A journal keeps the log of the servers.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) len() int { return len(j.String()) }
