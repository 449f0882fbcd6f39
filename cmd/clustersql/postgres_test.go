package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/pgcluster"
)

// TestPostgres has a primary and a standby: as they should be, with a rehearsal, and
// with misconfigurations that are found, each with its cure.
func TestPostgres(t *testing.T) {
	t.Parallel() // most of it waits
	c := pgcluster.StartT(t, pgcluster.Options{Nodes: 2})
	file := func(settings string, dsns ...string) string {
		text := "[[cluster]]\nname = \"pg\"\ndriver = \"clustersql-pgx\"\n" + fast + settings
		for i, dsn := range dsns {
			text += fmt.Sprintf("[[cluster.node]]\nname = \"n%d\"\ndsn = %q\n", i+1, dsn)
		}
		return writeFile(t, "config.toml", text)
	}
	dsns := []string{c.Nodes[0].DSN(""), c.Nodes[1].DSN("")}

	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(c.Exec(t.Context(), "GRANT pg_read_all_stats TO "+pgcluster.User))

	rows := checkRows(t, 0, file("require = \"prefer-standby\"\nmax_lag = \"10s\"\n", dsns...), "--processes=2", "--pool=5")
	wantWell(t, rows)
	wantFaults(t, rows,
		fault{"primary", "", isOK, "1 primaries", ""},
		fault{"group", "n2", isOK, "system ", ""},
		fault{"replication", "n2", isOK, "streams", ""},
		fault{"lag", "n2", isOK, "", ""},
		fault{"rights", "n2", isOK, "no superuser", ""},
		fault{"failover: refuse", "n2", "", "down after", ""},
		fault{"failover: freeze", "n1", "", "back after", ""},
		fault{"failover: slow", "n2", "", "0 failed", ""},
	)

	rows = checkRows(t, 0, file("require = \"read-write\"\n", dsns...), "--rehearsal")
	wantFaults(t, rows,
		fault{"used", "n2", isOK, "read-only", ""},
		fault{"spare", "", isWarning, "1 of 2", "take the place"},
		fault{"failover", "", isSkipped, "1 usable", "fail over"},
	)

	rows = checkRows(t, 0, file("require = \"standby\"\n", dsns[1]), "--no-rehearsal")
	wantFaults(t, rows, fault{"primary", "", isOK, "0 primaries", ""})

	standby, readers := c.Nodes[1], file("require = \"prefer-standby\"\nmax_lag = \"1h\"\n", dsns...)
	do(standby.PauseReplay(t.Context()))
	wantFaults(t, checkRows(t, checkFailed, readers, "--no-rehearsal"), fault{"replication", "n2", isFailed, "replay is paused", "pg_wal_replay_resume"})
	do(standby.ResumeReplay(t.Context()))
	do(standby.Delay(t.Context(), 2*time.Hour))
	wantFaults(t, checkRows(t, 0, readers, "--no-rehearsal"), fault{"lag", "n2", isWarning, "2h0m0s late on purpose", "recovery_min_apply_delay = 0"})
	do(standby.Delay(t.Context(), 0))
	do(standby.Disconnect())
	waitFor(t, func() string { // the server gives the connection up
		if n, err := standby.Query(t.Context(), "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"); err != nil || n != "0" {
			return fmt.Sprintf("%s streams, %v", n, err)
		}
		return ""
	})
	wantFaults(t, checkRows(t, checkFailed, readers, "--no-rehearsal"), fault{"replication", "n2", isFailed, "its receiver: ", "primary_conninfo"})
	do(standby.Reconnect())
	do(standby.WaitReplayed(t.Context()))
	do(c.Exec(t.Context(), "REVOKE pg_read_all_stats FROM "+pgcluster.User))
	wantFaults(t, checkRows(t, 0, readers, "--no-rehearsal"),
		fault{"rights", "n2", isWarning, "no right to see whether the standby receives", "GRANT pg_read_all_stats"},
		fault{"replication", "n2", isSkipped, "not told", ""})

	do(c.Nodes[1].Set(t.Context(), "statement_timeout", "5s"))
	do(c.Exec(t.Context(), "ALTER ROLE "+pgcluster.User+" CONNECTION LIMIT 8"))
	lost := "postgres://app:hunter22@" + closedPort(t) + "/app?sslmode=disable"
	rows = checkRows(t, checkFailed, file("", dsns[0], dsns[1], lost, c.Nodes[0].DSNOf("nobody", ""), dsns[0]), "--no-rehearsal", "--processes=10", "--pool=50")
	wantFaults(t, rows,
		fault{"statement_timeout", "", isWarning, "", "ALTER SYSTEM SET statement_timeout"},
		fault{"connections", "n1", isFailed, "CONNECTION LIMIT 8", "ALTER ROLE"},
		fault{"connections", "n1", isFailed, "max_connections", "raise max_connections"},
		fault{"read_only", "n2", isWarning, "standby", "prefer-standby"},
		fault{"reached", "n3", isFailed, "refused", "nothing listens"},
		fault{"reached", "n4", isFailed, "nobody", "pg_hba.conf"},
		fault{"same server", "", isFailed, "the address of n1", "take one out"},
	)
	if r := invoke(t, nil, "check", "postgres://"+pgcluster.User+"@"+c.Nodes[0].Addr()+","+c.Nodes[1].Addr()+"/app?sslmode=disable&target_session_attrs=any", "--no-rehearsal"); r.code != 0 {
		t.Errorf("by a URI: %+v", r)
	}
	if r := invoke(t, nil, "watch", "--once", "--until=up>=2", file("", dsns...)); r.code != 0 {
		t.Errorf("watch: %+v", r)
	}
}
