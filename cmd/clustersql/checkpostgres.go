package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/EnumApps/clustersql"
)

// pgSettings are the settings that must be the same on all nodes.
var pgSettings = []struct{ name, harm string }{
	{"server_encoding", "texts depend on the node"},
	{"TimeZone", "times depend on the node"},
	{"DateStyle", "how dates are read depends on the node"},
	{"lc_collate", "comparisons depend on the node"},
	{"default_transaction_isolation", "what a transaction sees depends on the node"},
	{"statement_timeout", "which statements are ended depends on the node"},
	{"lock_timeout", "how long a statement waits for a lock depends on the node"},
	{"password_encryption", "after a promotion new passwords are of another kind"},
	{"max_connections", "a standby needs as many as its primary, and after a promotion the clients do"},
	{"shared_preload_libraries", "extensions depend on the node"},
}

// askPostgres asks one node of PostgreSQL. It only reads.
func (f *facts) askPostgres(ctx context.Context) {
	cfg, err := pgx.ParseConfig(f.dsn)
	if err != nil {
		f.err = err
		return
	}
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	began := time.Now()
	conn, err := db.Conn(ctx)
	if err != nil {
		f.err = err
		return
	}
	defer conn.Close()
	f.connect, f.reached = time.Since(began), true
	f.vars = f.pairs(ctx, conn, "SELECT lower(name), setting FROM pg_settings")
	f.status = make(map[string]string)
	for name, query := range map[string]string{
		"version":   "SHOW server_version",
		"system":    "SELECT system_identifier::text FROM pg_control_system()",
		"recovery":  "SELECT pg_is_in_recovery()::text",
		"super":     "SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user",
		"limit":     "SELECT rolconnlimit::text FROM pg_roles WHERE rolname = current_user",
		"used":      "SELECT count(*)::text FROM pg_stat_activity WHERE backend_type = 'client backend'",
		"encrypted": "SELECT coalesce(cipher, '') FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
		"read_only": "SHOW transaction_read_only",
		// Others than pg_read_all_stats see of the receiver only that there is one.
		"receiver": "SELECT CASE WHEN pg_is_in_recovery() THEN coalesce((SELECT coalesce(status, 'hidden') FROM pg_stat_wal_receiver), 'none') END",
		"paused":   "SELECT CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused()::text END",
	} {
		var value sql.NullString
		if err := conn.QueryRowContext(ctx, query).Scan(&value); err != nil {
			f.untold[name] = err
			continue
		}
		f.status[name] = value.String
	}
	f.tls = f.status["encrypted"]
	f.askClock(ctx, conn, "SELECT extract(epoch FROM clock_timestamp())::float8")
}

func (r *report) judgePostgres() {
	told := r.told()
	r.judgeAlike(told, "version", "nodes of one cluster have one major version: bring the nodes to one version", func(f *facts) string {
		major, _, _ := strings.Cut(f.status["version"], ".")
		return major
	})
	r.judgeSystem(told)
	for _, s := range pgSettings {
		r.judgeAlike(told, s.name, s.harm+": ALTER SYSTEM SET "+s.name+" alike on all nodes", func(f *facts) string { return f.vars[strings.ToLower(s.name)] })
	}
	primaries := make(map[string]bool) // by address
	for _, f := range told {
		standby := f.status["recovery"] == "true"
		if !standby {
			primaries[f.address] = true
		}
		r.judgeTLS(f)
		r.judgeRights(f)
		r.judgeRole(f, standby)
		if standby {
			r.judgeStandby(f)
		}
		r.judgeRoom(f, number(f.vars["max_connections"])-number(f.vars["superuser_reserved_connections"])-number(f.vars["reserved_connections"]), number(f.status["used"]))
		if limit := number(f.status["limit"]); limit > 0 {
			need := int64(r.Processes) * int64(r.Pool+2)
			r.judge(limit >= need, isFailed, "connections", f.name, fmt.Sprintf("CONNECTION LIMIT %d", limit), fmt.Sprintf("%d at least", need), "ALTER ROLE there with a higher CONNECTION LIMIT")
		}
		r.judgeIdle(f, "idle_session_timeout", time.Duration(number(f.vars["idle_session_timeout"]))*time.Millisecond)
	}
	if len(told) > 0 {
		r.judgePrimaries(len(primaries), "their data part: find out which one the standbys follow, and take the other out and rebuild it")
	}
}

// judgeRights is about what the account may do, and what it may not see.
func (r *report) judgeRights(f *facts) {
	switch {
	case f.status["super"] == "true":
		r.add(isWarning, "rights", f.name, "a superuser", "rights on its database only", "it takes the connections that are kept for administrators: use another account in the dsn")
	case f.status["receiver"] == "hidden" && r.config.MaxLag > 0:
		r.add(isWarning, "rights", f.name, "no right to see whether the standby receives", "pg_read_all_stats", "max_lag needs it: GRANT pg_read_all_stats to the account of the dsn")
	default:
		r.add(isOK, "rights", f.name, "no superuser", "", "")
	}
}

// judgeStandby is about what a standby receives and replays.
func (r *report) judgeStandby(f *facts) {
	const check, want = "replication", "streams and replays"
	switch receiver := f.status["receiver"]; {
	case f.status["paused"] == "true":
		r.add(isFailed, check, f.name, "standby, replay is paused", want, "reads there get older and older: SELECT pg_wal_replay_resume() there")
	case receiver == "streaming":
		r.add(isOK, check, f.name, "standby, streams", "", "")
	case receiver == "none" && f.vars["restore_command"] != "":
		r.add(isWarning, check, f.name, "standby, gets the log from an archive", want, "it is as old as the last file there: set primary_conninfo on it, so that it streams")
	case receiver == "hidden" || receiver == "":
		r.add(isSkipped, check, f.name, "standby, not told", "", "the account may not see pg_stat_wal_receiver: GRANT pg_read_all_stats to the account of the dsn")
	default:
		r.add(isFailed, check, f.name, "standby, its receiver: "+receiver, want, "it gets no new data: see its log, and correct primary_conninfo there or the way to its primary")
	}
	limit, wanted := r.wantedLag()
	delay := time.Duration(number(f.vars["recovery_min_apply_delay"])) * time.Millisecond
	if delay > 0 && (limit == 0 || delay > limit) {
		r.add(isWarning, "lag", f.name, "applies all "+delay.String()+" late on purpose", wanted,
			"it is for mishaps, and no node to read from: take it out, or ALTER SYSTEM SET recovery_min_apply_delay = 0 there")
		return
	}
	for i := range r.states {
		switch s := &r.states[i]; {
		case s.Name != f.name || s.Role != clustersql.RoleReplica:
		case s.LagUnknown != "":
			r.add(isSkipped, "lag", f.name, "not known", wanted, "%s", s.LagUnknown)
		default:
			r.judgeBehind(f, s.Lag.Round(time.Millisecond))
		}
	}
}

// judgeSystem wants one system identifier: standbys have their primary's.
func (r *report) judgeSystem(told []*facts) {
	counts := make(map[string]int)
	most := ""
	for _, f := range told {
		if id := f.status["system"]; id != "" {
			if counts[id]++; counts[id] > counts[most] {
				most = id
			}
		}
	}
	for _, f := range told {
		id := f.status["system"]
		switch {
		case id == "":
			r.add(isSkipped, "group", f.name, "not told", "one system identifier", "the account may not call pg_control_system()")
		default:
			r.judge(id == most, isFailed, "group", f.name, "system "+id, most, "it is a cluster of its own, with other data: correct the dsn, or rebuild the node from the primary")
		}
	}
}

// judgeRole is about a node's role beside what the cluster requires.
func (r *report) judgeRole(f *facts, standby bool) {
	have := "primary"
	if standby {
		have = "standby"
	}
	readOnly := f.status["read_only"] == "on"
	switch require := r.config.Require; {
	case !standby && readOnly && (writes(require) || require == clustersql.RequirePrimary):
		r.add(isFailed, "read_only", f.name, "primary, default_transaction_read_only = on", "off", "require is %q, so the node is not used: ALTER SYSTEM SET default_transaction_read_only = off there", require)
	case require == clustersql.RequireAny && standby:
		r.add(isWarning, "read_only", f.name, have, "another require", "writes fail there with SQLSTATE 25006: set require = \"read-write\" for a cluster that writes, \"prefer-standby\" for one that reads")
	default:
		r.add(isOK, "read_only", f.name, have, "", "")
	}
}
