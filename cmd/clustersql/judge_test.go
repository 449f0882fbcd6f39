package main

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
)

// A scene is what nodes have told, before it is judged. Each case changes one thing of
// a scene that is as it should be.
type scene struct {
	*report
	n1, n2, n3 *facts
}

// names returns the names that the nodes of a scene have.
func names(nodes int) (all []string) {
	for i := range nodes {
		all = append(all, fmt.Sprintf("n%d", i+1))
	}
	return all
}

// sceneOf makes a scene of three nodes, each with what make returns for it.
func sceneOf(make func(i int) *facts) *scene {
	s := &scene{report: &report{checkCommand: &checkCommand{Processes: 2, Pool: 5}, cluster: &cluster{config: clustersql.DefaultConfig()}, shared: map[string]int{}}}
	for i, name := range names(3) {
		f := make(i)
		f.node, f.address, f.reached, f.untold = &node{name: name}, name+":3306", true, map[string]error{}
		f.tls, f.trip, f.connect = "TLS_AES_256_GCM_SHA384", time.Millisecond, 2*time.Millisecond
		s.facts = append(s.facts, f)
		s.states = append(s.states, clustersql.NodeStatus{Name: name, State: clustersql.StateUp})
	}
	s.n1, s.n2, s.n3 = s.facts[0], s.facts[1], s.facts[2]
	return s
}

// galeraScene has three nodes of one group.
func galeraScene() *scene {
	return sceneOf(func(int) *facts {
		return &facts{
			causal: time.Millisecond, grants: "GRANT SELECT ON `app`.* TO `app`\n",
			vars: map[string]string{
				"version": "10.11.14-MariaDB", "wsrep_on": "ON", "read_only": "OFF", "binlog_format": "ROW", "innodb_autoinc_lock_mode": "2",
				"wsrep_reject_queries": "NONE", "max_connections": "400", "max_connect_errors": "100000", "wait_timeout": "28800", "sql_mode": "STRICT_TRANS_TABLES",
			},
			status: map[string]string{
				"wsrep_cluster_state_uuid": "u1", "wsrep_cluster_conf_id": "7", "wsrep_cluster_size": "3", "wsrep_cluster_status": "Primary", "wsrep_local_state": "4",
				"wsrep_local_state_comment": "Synced", "threads_connected": "3",
			},
		}
	})
}

// postgresScene has a primary, n1, and two standbys.
func postgresScene() *scene {
	s := sceneOf(func(i int) *facts {
		f := &facts{
			vars:   map[string]string{"max_connections": "100", "server_encoding": "UTF8", "statement_timeout": "0"},
			status: map[string]string{"version": "15.14", "system": "77", "recovery": "true", "super": "false", "limit": "-1", "used": "3", "read_only": "on", "receiver": "streaming", "paused": "false"},
		}
		if i == 0 {
			f.status["recovery"], f.status["read_only"], f.status["receiver"], f.status["paused"] = "false", "off", "", ""
		}
		return f
	})
	s.config.Require = clustersql.RequirePreferStandby
	for i := range s.states {
		s.states[i].Role = clustersql.RoleReplica
	}
	s.states[0].Role = clustersql.RolePrimary
	return s
}

// A judgement is a change of a scene, and the row that it leads to.
type judgement struct {
	name   string
	change func(*scene)
	want   fault
}

// wantJudged checks that all is well in a scene as it is made, and that each change has
// its row.
func wantJudged(t *testing.T, make func() *scene, judge func(*scene), all []judgement) {
	t.Helper()
	s := make()
	judge(s)
	for _, r := range s.rows {
		if r.Verdict != isOK {
			t.Fatalf("all is well, and it says %+v", r)
		}
	}
	for _, c := range all {
		s := make()
		c.change(s)
		judge(s)
		if !c.want.in(s.rows) {
			t.Errorf("%s: no %+v in %+v", c.name, c.want, s.rows)
		}
	}
}

// What nodes of Galera have told is judged: each fault has its row, with the cure, and
// without one all is well.
func TestGaleraIsJudged(t *testing.T) {
	judge := func(s *scene) { s.judgeMySQL(); s.judgeTimes() }
	wantJudged(t, galeraScene, judge, []judgement{
		{"not encrypted", func(s *scene) { s.n2.tls = "" }, fault{"tls", "n2", isWarning, "not encrypted", "tls=true"}},
		{"not encrypted on this machine", func(s *scene) { s.n2.tls, s.n2.local = "", true }, fault{"tls", "n2", isOK, "not encrypted", "does not leave"}},
		{"another version", func(s *scene) { s.n2.vars["version"] = "10.6.1-MariaDB" }, fault{"version", "n2", isWarning, "10.6.1", "one version"}},
		{"another data set", func(s *scene) { s.n2.status["wsrep_cluster_state_uuid"] = "u2" }, fault{"group", "n2", isFailed, "group u2", "wsrep_cluster_address"}},
		{"a group of its own", func(s *scene) {
			s.n1.status["wsrep_cluster_size"], s.n3.status["wsrep_cluster_size"] = "2", "2"
			s.n2.status["wsrep_cluster_size"], s.n2.status["wsrep_cluster_conf_id"] = "1", "1"
		}, fault{"group", "n2", isFailed, "view 1, of 1 nodes", "goes on without the others"}},
		{"the same, while one node is silent", func(s *scene) {
			s.n1.status["wsrep_cluster_size"], s.n3.reached = "2", false
			s.n2.status["wsrep_cluster_size"], s.n2.status["wsrep_cluster_conf_id"] = "1", "1"
		}, fault{"group", "n2", isFailed, "view 1, of 1 nodes", "goes on without the others"}},
		{"no Galera node", func(s *scene) { s.n2.vars["wsrep_on"] = "OFF" }, fault{"group", "n2", isFailed, "wsrep_on = OFF", "wsrep_on = ON"}},
		{"non-Primary", func(s *scene) { s.n2.status["wsrep_cluster_status"] = "non-Primary" }, fault{"component", "n2", isFailed, "non-Primary", "majority"}},
		{"a donor", func(s *scene) {
			s.n2.status["wsrep_local_state"], s.n2.status["wsrep_local_state_comment"] = "2", "Donor/Desynced"
		}, fault{"synced", "n2", isWarning, "Donor", "wsrep_desync = OFF"}},
		{"statements in the binary log", func(s *scene) { s.n2.vars["binlog_format"] = "MIXED" }, fault{"binlog_format", "n2", isFailed, "MIXED", "binlog_format = ROW"}},
		{"locks for numbers", func(s *scene) { s.n2.vars["innodb_autoinc_lock_mode"] = "1" }, fault{"autoinc", "n2", isWarning, "= 1", "option file"}},
		{"slow causal wait", func(s *scene) { s.n2.causal = time.Second }, fault{"causal wait", "n2", isWarning, "1s", "wsrep_flow_control_paused"}},
		{"no causal wait", func(s *scene) { s.n2.causalBy = errors.New("Error 1205") }, fault{"causal wait", "n2", isWarning, "1205", "does not hear the group"}},
		{"half of a group", func(s *scene) {
			for _, f := range s.facts {
				f.status["wsrep_cluster_size"] = "4"
			}
		}, fault{"majority", "", isWarning, "4 members", "garbd"}},
		{"few handshakes", func(s *scene) { s.n2.vars["max_connect_errors"] = "100" }, fault{"handshakes", "n2", isWarning, "max_connect_errors = 100", "max_connect_errors = 100000"}},
		{"few handshakes, and no names", func(s *scene) {
			s.n2.vars["max_connect_errors"], s.n2.vars["skip_name_resolve"] = "100", "ON"
		}, fault{"handshakes", "n2", isOK, "", "locks no host out"}},
		{"few connections for the account", func(s *scene) { s.n2.vars["max_user_connections"] = "10" }, fault{"connections", "n2", isFailed, "max_user_connections = 10", "max_user_connections"}},
		{"several clusters on one server", func(s *scene) { s.shared["n2:3306"] = 40 }, fault{"connections", "n2", isFailed, "max_connections = 400", "40 clusters"}},
		{"the pool is more patient", func(s *scene) { s.Idle, s.n2.vars["wait_timeout"] = time.Hour, "3600" }, fault{"idle", "n2", isWarning, "wait_timeout = 1h0m0s", "SetConnMaxIdleTime"}},
		{"a far node", func(s *scene) { s.n2.trip = 400 * time.Millisecond }, fault{"latency", "n2", isFailed, "400ms", "probe_timeout"}},
		{"a farther node", func(s *scene) { s.config.Strategy, s.n2.trip = clustersql.Balanced, 30*time.Millisecond }, fault{"latency", "n2", isWarning, "30ms", "priority = 1"}},
		{"slow logins", func(s *scene) { s.n2.connect = 2 * time.Second }, fault{"connect", "n2", isWarning, "2s", "skip_name_resolve"}},
		{"another clock", func(s *scene) { s.n2.skew = -5 * time.Second }, fault{"clock", "n2", isWarning, "-5.0 s", "NTP"}},
		{"a powerful account", func(s *scene) { s.n2.grants = "GRANT ALL PRIVILEGES ON *.* TO `app`\n" }, fault{"rights", "n2", isWarning, "ALL PRIVILEGES", "REVOKE"}},
		{"nobody takes writes", func(s *scene) {
			s.config.Require = clustersql.RequireReadWrite
			for _, f := range s.facts {
				f.vars["read_only"] = "ON"
			}
		}, fault{"writers", "", isFailed, "0 nodes", "read_only = OFF"}},
	})
}

// What servers of PostgreSQL have told is judged in the same way. Nobody is told to
// promote a server while the primary may be one that has not answered, or where only
// standbys are wanted.
func TestPostgresIsJudged(t *testing.T) {
	lag := func(s *scene, d time.Duration) { s.states[1].Lag = d }
	wantJudged(t, postgresScene, func(s *scene) { s.judgePostgres() }, []judgement{
		{"another version", func(s *scene) { s.n2.status["version"] = "14.1" }, fault{"version", "n2", isWarning, "14", "one version"}},
		{"a smaller release", func(s *scene) { s.n2.status["version"] = "15.1" }, fault{"version", "", isOK, "15", ""}},
		{"other data", func(s *scene) { s.n2.status["system"] = "99" }, fault{"group", "n2", isFailed, "system 99", "rebuild the node"}},
		{"data not told", func(s *scene) { s.n2.status["system"] = "" }, fault{"group", "n2", isSkipped, "not told", "pg_control_system"}},
		{"not encrypted", func(s *scene) { s.n2.tls = "" }, fault{"tls", "n2", isWarning, "not encrypted", "sslmode=verify-full"}},
		{"a superuser", func(s *scene) { s.n2.status["super"] = "true" }, fault{"rights", "n2", isWarning, "a superuser", "another account"}},
		{"an account that does not see the receiver", func(s *scene) { s.config.MaxLag, s.n2.status["receiver"] = time.Second, "hidden" }, fault{"rights", "n2", isWarning, "no right to see", "GRANT pg_read_all_stats"}},
		{"the same, and nobody needs it", func(s *scene) { s.n2.status["receiver"] = "hidden" }, fault{"replication", "n2", isSkipped, "not told", "GRANT pg_read_all_stats"}},
		{"replay is paused", func(s *scene) { s.n2.status["paused"] = "true" }, fault{"replication", "n2", isFailed, "replay is paused", "pg_wal_replay_resume"}},
		{"nothing is received", func(s *scene) { s.n2.status["receiver"] = "none" }, fault{"replication", "n2", isFailed, "its receiver: none", "primary_conninfo"}},
		{"the receiver waits", func(s *scene) { s.n2.status["receiver"] = "waiting" }, fault{"replication", "n2", isFailed, "its receiver: waiting", "primary_conninfo"}},
		{"an archive", func(s *scene) { s.n2.status["receiver"], s.n2.vars["restore_command"] = "none", "cp" }, fault{"replication", "n2", isWarning, "archive", "primary_conninfo"}},
		{"late on purpose", func(s *scene) { s.n2.vars["recovery_min_apply_delay"] = "3600000" }, fault{"lag", "n2", isWarning, "1h0m0s late on purpose", "recovery_min_apply_delay = 0"}},
		{"late on purpose, as max_lag allows", func(s *scene) { s.config.MaxLag, s.n2.vars["recovery_min_apply_delay"] = time.Minute, "1000" }, fault{"lag", "n2", isOK, "0s", ""}},
		{"far behind", func(s *scene) { lag(s, 90*time.Second) }, fault{"lag", "n2", isWarning, "1m30s", "max_lag leaves"}},
		{"over max_lag", func(s *scene) { s.config.MaxLag = time.Second; lag(s, 9*time.Second) }, fault{"lag", "n2", isWarning, "9s", "raise max_lag"}},
		{"a lag that is not known", func(s *scene) { s.states[1].LagUnknown = "no primary is in sight" }, fault{"lag", "n2", isSkipped, "not known", "no primary is in sight"}},
		{"a read-only primary", func(s *scene) { s.config.Require, s.n1.status["read_only"] = clustersql.RequireReadWrite, "on" }, fault{"read_only", "n1", isFailed, "default_transaction_read_only = on", "default_transaction_read_only = off"}},
		{"writers on a standby", func(s *scene) { s.config.Require = clustersql.RequireAny }, fault{"read_only", "n2", isWarning, "standby", "25006"}},
		{"few connections", func(s *scene) { s.n2.vars["max_connections"] = "10" }, fault{"connections", "n2", isFailed, "max_connections = 10", "raise max_connections"}},
		{"a limit of the role", func(s *scene) { s.n2.status["limit"] = "8" }, fault{"connections", "n2", isFailed, "CONNECTION LIMIT 8", "ALTER ROLE"}},
		{"sessions end soon", func(s *scene) { s.n2.vars["idle_session_timeout"] = "5000" }, fault{"idle", "n2", isWarning, "idle_session_timeout = 5s", "idle_session_timeout"}},
		{"two primaries", func(s *scene) { s.n2.status["recovery"] = "false" }, fault{"primary", "", isFailed, "2 primaries", "rebuild it"}},
		{"no primary", func(s *scene) { s.n1.status["recovery"], s.n1.status["receiver"] = "true", "streaming" }, fault{"primary", "", isWarning, "0 primaries", "add the primary"}},
		{"no primary, for readers", func(s *scene) {
			s.config.Require = clustersql.RequireStandby
			s.n1.status["recovery"], s.n1.status["receiver"] = "true", "streaming"
		}, fault{"primary", "", isOK, "0 primaries", ""}},
		{"the primary has not answered", func(s *scene) { s.n1.reached = false }, fault{"primary", "", isWarning, "0 primaries", "may be the primary"}},
	})
}

// A node is judged when it has been probed after all had been heard of. What a replica
// says before its primary has answered is no fault of it.
func TestSettling(t *testing.T) {
	node := func(name string, state clustersql.State, role clustersql.Role, lagUnknown string, probes uint64) clustersql.NodeStatus {
		return clustersql.NodeStatus{Name: name, State: state, Role: role, LagUnknown: lagUnknown, Probes: probes}
	}
	probing := func(n clustersql.NodeStatus) clustersql.NodeStatus { n.Probing = true; return n }
	const up, down, unknown, suspect = clustersql.StateUp, clustersql.StateDown, clustersql.StateUnknown, clustersql.StateSuspect
	const primary, replica, none = clustersql.RolePrimary, clustersql.RoleReplica, clustersql.RoleUnknown
	for name, steps := range map[string][]struct {
		nodes []clustersql.NodeStatus
		over  bool
	}{
		"the primary is late": {
			{[]clustersql.NodeStatus{node("n1", unknown, none, "", 0), node("n2", down, replica, "no primary", 1)}, false},
			{[]clustersql.NodeStatus{node("n1", unknown, none, "", 0), node("n2", down, replica, "no primary", 2)}, false},
			{[]clustersql.NodeStatus{node("n1", up, primary, "", 1), node("n2", down, replica, "no primary", 2)}, false},
			{[]clustersql.NodeStatus{node("n1", up, primary, "", 2), node("n2", down, replica, "no primary", 2)}, false},
			{[]clustersql.NodeStatus{node("n1", up, primary, "", 2), node("n2", up, replica, "", 3)}, false}, // is n1 the same beside it?
			{[]clustersql.NodeStatus{node("n1", up, primary, "", 3), node("n2", up, replica, "", 3)}, true},
		},
		"the primary is silent at first": {
			{[]clustersql.NodeStatus{node("n1", suspect, none, "", 1), node("n2", down, replica, "no primary", 1)}, false},
			{[]clustersql.NodeStatus{node("n1", suspect, none, "", 1), node("n2", down, replica, "no primary", 2)}, false},
			{[]clustersql.NodeStatus{node("n1", up, primary, "", 2), node("n2", down, replica, "no primary", 2)}, false},
			{[]clustersql.NodeStatus{node("n1", up, primary, "", 2), node("n2", up, replica, "", 3)}, false},
			{[]clustersql.NodeStatus{node("n1", up, primary, "", 3), node("n2", up, replica, "", 3)}, true},
		},
		"the standby is about to come up": {
			{[]clustersql.NodeStatus{node("n1", up, primary, "", 2), node("n2", down, replica, "no primary", 2)}, false},
			{[]clustersql.NodeStatus{node("n1", up, primary, "", 2), probing(node("n2", down, replica, "", 3))}, false},
			{[]clustersql.NodeStatus{node("n1", up, primary, "", 3), node("n2", up, replica, "", 3)}, false},
			{[]clustersql.NodeStatus{node("n1", up, primary, "", 4), node("n2", up, replica, "", 4)}, true},
		},
		"the lag stays unknown": {
			{[]clustersql.NodeStatus{node("n1", up, primary, "", 1), node("n2", down, replica, "no right", 1)}, false},
			{[]clustersql.NodeStatus{node("n1", up, primary, "", 2), node("n2", down, replica, "no right", 1)}, false},
			{[]clustersql.NodeStatus{node("n1", up, primary, "", 2), node("n2", down, replica, "no right", 2)}, true},
		},
	} {
		var s settling
		for i, step := range steps {
			if over := s.over(step.nodes); over != step.over {
				t.Errorf("%s, step %d: %v", name, i+1, over)
			}
		}
	}
	if !new(settling).over([]clustersql.NodeStatus{node("n1", down, none, "", 1), node("n2", down, replica, "", 1)}) {
		t.Error("nodes that do not answer, or are not what is required, are waited for")
	}
}
