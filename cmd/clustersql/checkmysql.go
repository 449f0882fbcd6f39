package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
)

// alike are the settings that must be the same on all nodes, each with what goes
// wrong where they are not.
var alike = []struct{ name, harm string }{
	{"sql_mode", "a statement that one node takes, another refuses"},
	{"time_zone", "times in rows depend on the node"},
	{"system_time_zone", "times in rows depend on the node, where time_zone is SYSTEM"},
	{"character_set_server", "new tables and texts depend on the node"},
	{"collation_server", "comparisons depend on the node"},
	{"lower_case_table_names", "names of tables depend on the node"},
	{"max_allowed_packet", "a statement that one node takes, another refuses"},
	{"tx_isolation", "what a transaction sees depends on the node"},
	{"transaction_isolation", "what a transaction sees depends on the node"},
	{"innodb_lock_wait_timeout", "how long a statement waits for a lock depends on the node"},
	{"default_storage_engine", "new tables depend on the node"},
	{"group_concat_max_len", "results depend on the node"},
	{"autocommit", "a failover begins or ends transactions"},
	{"init_connect", "what a connection begins with depends on the node"},
	{"innodb_strict_mode", "a statement that one node takes, another refuses"},
	{"wsrep_max_ws_size", "a transaction that one node takes, another refuses"},
}

func (r *report) told() (all []*facts) {
	for _, f := range r.facts {
		if f.reached && len(f.vars) > 0 {
			all = append(all, f)
		}
	}
	return all
}

func (r *report) judgeMySQL() {
	told := r.told()
	for _, f := range told {
		if f.vars["wsrep_on"] == "ON" {
			r.galera = true
		}
	}
	if r.galera {
		r.judgeGroup(told)
	}
	r.judgeAlike(told, "version", "versions that differ speak other dialects and plans: bring the nodes to one version", func(f *facts) string { return f.vars["version"] })
	for _, s := range alike {
		r.judgeAlike(told, s.name, s.harm+": SET GLOBAL "+s.name+" alike on all nodes, and in their option files", func(f *facts) string { return f.vars[s.name] })
	}
	for _, f := range told {
		r.judgeAccount(f)
		r.judgeReadOnly(f)
		r.judgeRoom(f, number(f.vars["max_connections"]), number(f.status["threads_connected"]))
		r.judgeHandshakes(f)
		r.judgeIdle(f, "wait_timeout", time.Duration(number(f.vars["wait_timeout"]))*time.Second)
	}
	r.judgeReplication(told)
	r.judgeWriters(told)
}

// judgeAlike is about something that must be the same on all nodes. What most of
// them have is wanted.
func (r *report) judgeAlike(told []*facts, name, cure string, value func(*facts) string) {
	counts := make(map[string]int)
	most := ""
	for _, f := range told {
		v := value(f)
		if counts[v]++; counts[v] > counts[most] {
			most = v
		}
	}
	switch {
	case len(told) < 2 || len(counts) == 1 && most == "":
		return // nothing to compare, or no such setting
	case len(counts) == 1:
		if name == "version" {
			r.add(isOK, name, "", most, "alike", "")
		}
		return
	}
	for _, f := range told {
		if v := value(f); v != most {
			r.add(isWarning, name, f.name, shown(v), shown(most), "%s", cure)
		}
	}
}

// shown shortens a value for the table; an empty one is shown as "".
func shown(v string) string {
	if v == "" {
		return `""`
	}
	if len(v) > 160 {
		return v[:157] + "..."
	}
	return v
}

// judgeGroup is about Galera's group.
func (r *report) judgeGroup(told []*facts) {
	counts := make(map[string]int)
	most := ""
	for _, f := range told {
		uuid := f.status["wsrep_cluster_state_uuid"]
		if counts[uuid]++; counts[uuid] > counts[most] {
			most = uuid
		}
	}
	members, view := groupOf(told)
	for _, f := range told {
		s, v := f.status, f.vars
		primary := s["wsrep_cluster_status"] == "Primary"
		r.judge(v["wsrep_on"] == "ON", isFailed, "group", f.name, "wsrep_on = "+v["wsrep_on"], "a Galera node", "the others are a Galera group: set wsrep_on = ON and its group there, or take the node out")
		r.judge(s["wsrep_cluster_state_uuid"] == most, isFailed, "group", f.name, "group "+s["wsrep_cluster_state_uuid"], most,
			"it has another group's data: correct wsrep_cluster_address there, wipe its data and let it join")
		if own := s["wsrep_cluster_conf_id"]; primary && own != view {
			r.add(isFailed, "group", f.name, fmt.Sprintf("view %s, of %s nodes", own, s["wsrep_cluster_size"]), fmt.Sprintf("view %s, of %d nodes", view, members),
				"it goes on without the others, and what is written there is nowhere else: correct wsrep_cluster_address there, wipe its data and let it join")
		}
		r.judge(primary, isFailed, "component", f.name, s["wsrep_cluster_status"], "Primary",
			"it is cut off from the majority: mend the network between the nodes, or SET GLOBAL wsrep_provider_options = 'gmcast.isolate=0' where that was set")
		if primary {
			r.judge(s["wsrep_local_state"] == "4", isWarning, "synced", f.name, s["wsrep_local_state_comment"], "Synced",
				"it is a donor, joins, or is desynced: wait, or SET GLOBAL wsrep_desync = OFF there")
		}
		if reject, ok := v["wsrep_reject_queries"]; ok {
			r.judge(reject == "NONE", isFailed, "queries", f.name, "wsrep_reject_queries = "+reject, "NONE", "it refuses every query: SET GLOBAL wsrep_reject_queries = NONE there")
		}
		r.judge(v["binlog_format"] == "ROW", isFailed, "binlog_format", f.name, v["binlog_format"], "ROW", "Galera replicates rows only: SET GLOBAL binlog_format = ROW, and in the option file")
		r.judge(v["innodb_autoinc_lock_mode"] == "2", isWarning, "autoinc", f.name, "innodb_autoinc_lock_mode = "+v["innodb_autoinc_lock_mode"], "2", "inserts may deadlock: set it in the option file, and restart the node")
		if f.causalBy != nil {
			r.add(isWarning, "causal wait", f.name, f.text(f.causalBy), "an answer", "a read with wsrep_sync_wait = 1 fails: the node does not hear the group in time")
		} else if f.causal > 0 {
			note := "reads are as old as the node: wsrep_sync_wait=1 in the dsn makes them new, for this long each"
			if n := number(v["wsrep_sync_wait"]); n&1 == 1 || strings.Contains(f.dsn, "wsrep_sync_wait") {
				note = "reads wait for what the group has committed"
			}
			r.judge(f.causal < 100*time.Millisecond, isWarning, "causal wait", f.name, round(f.causal), "under 100ms", "flow control or a busy node: see wsrep_flow_control_paused there")
			if last := &r.rows[len(r.rows)-1]; last.Verdict == isOK {
				last.Note = note
			}
		}
	}
	if members > 0 {
		r.judge(members >= len(r.facts), isFailed, "members", "", fmt.Sprintf("%d in the group, %d in the file", members, len(r.facts)), "all",
			"some of the file's nodes are not in the group: see component and group above")
		r.judge(members%2 == 1, isWarning, "majority", "", fmt.Sprintf("%d members", members), "an odd number",
			"if half of them are lost, the rest refuses work: add a node or an arbitrator (garbd)")
		if members > len(r.facts) {
			r.add(isWarning, "members", "", fmt.Sprintf("%d in the group, %d in the file", members, len(r.facts)), "all",
				"the cluster would not use the others: add a [[cluster.node]] for each; an arbitrator is none")
		}
	}
}

// groupOf returns how many members the group has to which most of the nodes belong, and
// the number of its view. Of two groups with as many of these nodes it is the larger one.
func groupOf(told []*facts) (members int, view string) {
	nodes := make(map[string]int) // by view
	for _, f := range told {
		if f.status["wsrep_cluster_status"] == "Primary" {
			nodes[f.status["wsrep_cluster_conf_id"]]++
		}
	}
	for _, f := range told {
		size, own := int(number(f.status["wsrep_cluster_size"])), f.status["wsrep_cluster_conf_id"]
		if f.status["wsrep_cluster_status"] == "Primary" && (members == 0 || nodes[own] > nodes[view] || nodes[own] == nodes[view] && size > members) {
			members, view = size, own
		}
	}
	return members, view
}

// judgeAccount is about the way to the node, and what the account may do there.
func (r *report) judgeAccount(f *facts) {
	r.judgeTLS(f)
	if err := f.untold["SHOW GRANTS"]; err != nil {
		r.add(isWarning, "rights", f.name, f.text(err), "SHOW GRANTS runs", "the rights cannot be judged")
		return
	}
	if f.grants == "" {
		return
	}
	global := ""
	for line := range strings.Lines(f.grants) {
		if strings.Contains(line, " ON *.* ") {
			global += line
		}
	}
	for _, right := range []string{"ALL PRIVILEGES", "SUPER", "READ_ONLY ADMIN", "READ ONLY ADMIN", "CONNECTION ADMIN", "CONNECTION_ADMIN"} {
		if strings.Contains(global, right) {
			r.add(isWarning, "rights", f.name, right+" on *.*", "rights on its database only",
				"such an account writes to read-only nodes, and takes the connection that is kept for administrators: REVOKE it from the account of the dsn")
			return
		}
	}
	switch r.config.Require {
	case clustersql.RequirePrimary, clustersql.RequireStandby, clustersql.RequirePreferPrimary, clustersql.RequirePreferStandby:
	default:
		if r.config.MaxLag == 0 {
			r.add(isOK, "rights", f.name, "enough", "", "")
			return
		}
	}
	sees := slices.ContainsFunc([]string{"REPLICA MONITOR", "SLAVE MONITOR", "REPLICATION CLIENT", "BINLOG MONITOR"}, func(right string) bool { return strings.Contains(global, right) })
	if sees || r.galera || r.config.RoleQuery != "" {
		r.add(isOK, "rights", f.name, "enough", "", "")
		return
	}
	r.add(isWarning, "rights", f.name, "no right to see replication", "REPLICA MONITOR",
		"require and max_lag need it: GRANT REPLICA MONITOR (MySQL: REPLICATION CLIENT) ON *.* to the account of the dsn")
}

func (r *report) judgeTLS(f *facts) {
	switch {
	case f.tls != "":
		r.add(isOK, "tls", f.name, f.tls, "encrypted", "")
	case f.local:
		r.add(isOK, "tls", f.name, "not encrypted", "", "the way does not leave this machine")
	default:
		r.add(isWarning, "tls", f.name, "not encrypted", "encrypted", "what is read and written can be seen on the way: write tls=true (PostgreSQL: sslmode=verify-full) in the dsn, and give the server a certificate")
	}
}

// judgeReadOnly is about read_only beside what the cluster requires.
func (r *report) judgeReadOnly(f *facts) {
	readOnly := f.readOnly()
	have := "read_only = " + f.vars["read_only"]
	role := clustersql.RoleUnknown
	for _, s := range r.states {
		if s.Name == f.name {
			role = s.Role
		}
	}
	replica := (role == clustersql.RoleReplica || len(f.follows) > 0) && !r.galera
	switch require := r.config.Require; {
	case writes(require) && readOnly && replica:
		r.add(isOK, "read_only", f.name, have, "", "a replica, which require = %q leaves out", require)
	case writes(require) && readOnly:
		r.add(isFailed, "read_only", f.name, have, "OFF", "require is %q, so the node is not used: SET GLOBAL read_only = OFF there", require)
	case (require == clustersql.RequireReadOnly) && !readOnly:
		r.add(isWarning, "read_only", f.name, have, "ON", "require is \"read-only\", so the node is not used: SET GLOBAL read_only = ON there if it is a replica")
	case replica && !readOnly:
		r.add(isFailed, "read_only", f.name, have, "ON on a replica", "a write that goes astray makes its data differ from the primary's: SET GLOBAL read_only = ON there")
	case require == clustersql.RequireAny && readOnly:
		r.add(isWarning, "read_only", f.name, have, "OFF, or another require", "writes fail there with error 1290: set require = \"read-write\" for a cluster that writes, or SET GLOBAL read_only = OFF there")
	default:
		r.add(isOK, "read_only", f.name, have, "", "")
	}
}

func writes(r clustersql.Require) bool {
	return r == clustersql.RequireReadWrite || r == clustersql.RequireWritable
}

// judgeWriters wants one node at least that takes writes, where they are wanted.
func (r *report) judgeWriters(told []*facts) {
	if !writes(r.config.Require) && r.config.Require != clustersql.RequirePrimary || len(told) == 0 {
		return
	}
	writable := 0
	for _, f := range told {
		if !f.readOnly() {
			writable++
		}
	}
	r.judge(writable > 0, isFailed, "writers", "", fmt.Sprintf("%d nodes take writes", writable), "one at least", "SET GLOBAL read_only = OFF on the primary")
}

// judgeRoom is about the connections that a node has room for.
func (r *report) judgeRoom(f *facts, most, used int64) {
	clusters := max(1, r.shared[f.address])
	have := fmt.Sprintf("max_connections = %d, %d in use", most, used)
	if r.Processes == 0 || r.Pool == 0 {
		if most > 0 && used*10 >= most*8 {
			r.add(isWarning, "connections", f.name, have, "room", "more than four fifths are in use: raise max_connections there; --processes and --pool tell how many you need")
			return
		}
		r.add(isSkipped, "connections", f.name, have, "processes × pool", "say --processes and --pool, as SetMaxOpenConns has it")
		return
	}
	// After a failover one node may have all. Each process has one probe
	// connection more, and a fresh one while a node is doubted.
	need := int64(r.Processes) * int64(r.Pool+2) * int64(clusters)
	note := "%d processes × (pool of %d + 2 for probes) × %d clusters on this server; after a failover all may be on one node: raise max_connections there, or lower SetMaxOpenConns"
	r.judge(most >= need, isFailed, "connections", f.name, have, fmt.Sprintf("%d at least", need), note, r.Processes, r.Pool, clusters)
	limit := number(f.vars["max_user_connections"])
	if limit > 0 {
		r.judge(limit >= need, isFailed, "connections", f.name, fmt.Sprintf("max_user_connections = %d", limit), fmt.Sprintf("%d at least", need), "the account may have no more: raise max_user_connections there")
	}
}

// judgeHandshakes is about the count of broken handshakes that locks a host out.
func (r *report) judgeHandshakes(f *facts) {
	limit, err := strconv.ParseInt(f.vars["max_connect_errors"], 10, 64)
	if err != nil {
		return
	}
	have := fmt.Sprintf("max_connect_errors = %d", limit)
	if f.vars["skip_name_resolve"] == "ON" {
		r.add(isOK, "handshakes", f.name, have, "", "skip_name_resolve is ON, so the server locks no host out")
		return
	}
	r.judge(limit >= 1000, isWarning, "handshakes", f.name, have, "1000 at least",
		"that many broken handshakes in a row lock this host out (error 1129): SET GLOBAL max_connect_errors = 100000, or skip_name_resolve in the option file")
}

// judgeIdle is about the server's patience with idle connections. 0 is endless.
func (r *report) judgeIdle(f *facts, name string, limit time.Duration) {
	if limit == 0 {
		return
	}
	want, note := time.Minute, "the server ends idle connections, and the pool finds out at the next use: raise "+name+" there, or call SetConnMaxIdleTime with less"
	if r.Idle > 0 {
		want = r.Idle + 10*time.Second
	}
	r.judge(limit >= want, isWarning, "idle", f.name, name+" = "+limit.String(), want.String()+" at least", "%s", note)
}

func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
