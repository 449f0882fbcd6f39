package main

import (
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
)

// TestReplicas has a primary of MariaDB and its replicas: as they should be, with a
// rehearsal, and with misconfigurations that are found, each with its cure.
func TestReplicas(t *testing.T) {
	t.Parallel() // most of it waits
	l := lab{galera.StartReplicationT(t, galera.Options{Monitor: true})}
	ctx, dsns := t.Context(), l.dsns()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(l.Exec(ctx, "CREATE TABLE app.written (id BIGINT AUTO_INCREMENT PRIMARY KEY)"))
	for _, n := range l.Nodes[1:] {
		do(n.WaitApplied(ctx, l.Nodes[0]))
	}
	readers := "require = \"prefer-standby\"\nmax_lag = \"10s\"\n"

	rows := checkRows(t, 0, l.file(t, readers, dsns[:2]...), "--processes=2", "--pool=5")
	wantWell(t, rows)
	wantFaults(t, rows,
		fault{"replication", "n1", isOK, "primary", ""},
		fault{"replication", "n2", isOK, "replica of n1", ""},
		fault{"lag", "n2", isOK, "0s", ""},
		fault{"primary", "", isOK, "1 primaries", ""},
		fault{"rights", "n2", isOK, "enough", ""},
		fault{"failover: refuse", "n2", "", "down after", ""},
		fault{"failover: freeze", "n1", "", "back after", ""},
		fault{"failover: slow", "n2", "", "0 failed", ""},
	)

	writers := l.file(t, "require = \"read-write\"\n", dsns...)
	rows = checkRows(t, 0, writers, "--rehearsal")
	wantFaults(t, rows,
		fault{"used", "n2", isOK, "read-only", ""},
		fault{"read_only", "n3", isOK, "read_only = ON", "leaves out"},
		fault{"writers", "", isOK, "1 nodes", ""},
		fault{"spare", "", isWarning, "1 of 3", "take the place"},
		fault{"failover", "", isSkipped, "1 usable", "fail over"},
	)
	if r := invoke(t, nil, "doctor", writers, "--for=200ms"); r.code != 0 {
		t.Errorf("doctor finds something odd in a primary and its replicas: %+v", r)
	}
	rows = checkRows(t, 0, l.file(t, "require = \"standby\"\n", dsns[1:]...), "--no-rehearsal")
	wantFaults(t, rows,
		fault{"primary", "", isOK, "0 primaries", ""},
		fault{"replication", "n1", isOK, "replica of server ", ""}, // whose number no node of the file has
	)

	do(l.Nodes[1].StopApplying(ctx))
	do(l.Nodes[2].Delay(ctx, time.Hour))
	l.set(t, 2, "SET GLOBAL read_only = OFF", "SET GLOBAL read_only = ON")
	l.set(t, 0, "INSERT INTO app.written VALUES ()", "")
	rows = checkRows(t, checkFailed, l.file(t, "require = \"prefer-standby\"\n", dsns...), "--no-rehearsal")
	wantFaults(t, rows,
		fault{"replication", "n2", isFailed, "replica of n1, receives: Yes, applies: No", "START SLAVE"},
		fault{"lag", "n3", isWarning, "1h0m0s late on purpose", "MASTER_DELAY = 0"},
		fault{"read_only", "n3", isFailed, "read_only = OFF", "SET GLOBAL read_only = ON"},
		fault{"primary", "", isOK, "1 primaries", ""},
	)
	rows = checkRows(t, checkFailed, writers, "--no-rehearsal")
	wantFaults(t, rows, fault{"replication", "n2", isFailed, "applies: No", "START SLAVE"})
	wantIllnesses(t, l.file(t, "require = \"prefer-standby\"\nmax_lag = \"1s\"\n", dsns...),
		illness{Node: "n2", Rule: "down", Text: "lag", Cure: "max_lag"})
	do(l.Nodes[1].StartApplying(ctx))

	// n3 becomes a second primary, and then a server that nobody feeds.
	do(l.Nodes[2].Delay(ctx, 0))
	do(l.Nodes[2].Promote(ctx))
	rows = checkRows(t, checkFailed, writers, "--no-rehearsal")
	wantFaults(t, rows, fault{"primary", "", isFailed, "2 primaries", "their data part"})
	wantIllnesses(t, writers, illness{Node: "n3", Rule: "down", Text: "new primary", Cure: "two servers take writes"})
	l.set(t, 2, "SET GLOBAL read_only = ON", "")
	rows = checkRows(t, 0, l.file(t, "require = \"prefer-standby\"\n", dsns[1:]...), "--no-rehearsal")
	wantFaults(t, rows,
		fault{"replication", "n2", isWarning, "read-only, follows nobody", "CHANGE MASTER"},
		fault{"primary", "", isWarning, "0 primaries", "promote one"},
	)
	l.set(t, 0, "REVOKE REPLICA MONITOR ON *.* FROM "+galera.User, "")
	rows = checkRows(t, 0, l.file(t, "require = \"prefer-standby\"\n", dsns[:2]...), "--no-rehearsal")
	wantFaults(t, rows, fault{"rights", "n1", isWarning, "no right to see replication", "GRANT REPLICA MONITOR"})
}

// What servers say of their replication is judged, in the words of each database.
func TestReplicationIsJudged(t *testing.T) {
	replica := func(more ...string) following {
		s := following{"source_server_id": "1", "replica_io_running": "Yes", "replica_sql_running": "Yes", "seconds_behind_source": "0"}
		for i := 0; i < len(more); i += 2 {
			s[more[i]] = more[i+1]
		}
		return s
	}
	server := func(name, id, readOnly string, follows ...following) *facts {
		return &facts{node: &node{name: name}, address: name + ":3306", follows: follows, untold: map[string]error{},
			vars: map[string]string{"server_id": id, "read_only": readOnly}}
	}
	n1 := server("n1", "1", "OFF")
	for _, c := range []struct {
		name    string
		maxLag  time.Duration
		servers []*facts
		want    fault
	}{
		{"well", 0, []*facts{n1, server("n2", "2", "ON", replica())}, fault{"lag", "n2", isOK, "0s", ""}},
		{"two of one number", 0, []*facts{n1, server("n2", "1", "ON", replica())}, fault{"server_id", "n2", isFailed, "1, as n1", "another server_id"}},
		{"it follows another cluster", 0, []*facts{n1, server("n2", "2", "ON", replica("source_server_id", "9"))}, fault{"replication", "n2", isWarning, "replica of server 9", "another cluster's"}},
		{"it never connected", 0, []*facts{n1, server("n2", "2", "ON", replica("replica_io_running", "Connecting", "last_io_error", "Access denied"))}, fault{"replication", "n2", isFailed, "receives: Connecting", "Access denied"}},
		{"far behind", 0, []*facts{n1, server("n2", "2", "ON", replica("seconds_behind_source", "90"))}, fault{"lag", "n2", isWarning, "1m30s", "max_lag leaves"}},
		{"over max_lag", time.Second, []*facts{n1, server("n2", "2", "ON", replica("seconds_behind_source", "9"))}, fault{"lag", "n2", isWarning, "9s", "raise max_lag"}},
		{"late on purpose, as max_lag allows", time.Minute, []*facts{n1, server("n2", "2", "ON", replica("sql_delay", "30", "seconds_behind_source", "30"))}, fault{"lag", "n2", isOK, "30s", ""}},
		{"one of two sources stopped", 0, []*facts{n1, server("n2", "2", "ON", replica(), replica("replica_sql_running", "No"))}, fault{"replication", "n2", isFailed, "applies: No", "START"}},
	} {
		r := &report{cluster: &cluster{config: clustersql.DefaultConfig()}}
		r.config.MaxLag = c.maxLag
		r.judgeReplication(c.servers)
		if !c.want.in(r.rows) {
			t.Errorf("%s: want %+v, got %+v", c.name, c.want, r.rows)
		}
	}
	r := &report{cluster: &cluster{config: clustersql.DefaultConfig()}}
	if r.judgeReplication([]*facts{n1, server("n2", "2", "OFF")}); len(r.rows) > 0 {
		t.Errorf("of servers that replicate nothing it says %+v", r.rows)
	}
}
