package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql"
)

// A following is one server that a node of MariaDB or MySQL follows, by the columns
// of its row. Their names are in lower case, and in the words source and replica.
type following map[string]string

// replicaStatements ask what a server follows: MariaDB's, MySQL's, and that of
// older servers.
var replicaStatements = []string{"SHOW ALL SLAVES STATUS", "SHOW REPLICA STATUS", "SHOW SLAVE STATUS"}

// askReplication asks what the server follows. An account without the right for
// that leaves it unknown.
func (f *facts) askReplication(ctx context.Context, conn *sql.Conn) {
	for _, query := range replicaStatements {
		all, err := followings(ctx, conn, query)
		var my *mysql.MySQLError
		switch {
		case err == nil:
			f.follows = all
			return
		case errors.As(err, &my) && my.Number == 1064:
			continue // the other database's words
		}
		f.untold["replication"] = err
		return
	}
}

func followings(ctx context.Context, conn *sql.Conn, query string) (all []following, err error) {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		row := make(following)
		for i, name := range columns {
			name = strings.NewReplacer("master", "source", "slave", "replica").Replace(strings.ToLower(name))
			row[name] = values[i].String
		}
		if !strings.HasPrefix(row["channel_name"], "group_replication_") {
			all = append(all, row)
		}
	}
	return all, rows.Err()
}

// runs reports whether the replica receives and applies.
func (s following) runs() bool {
	return s["replica_io_running"] == "Yes" && s["replica_sql_running"] == "Yes"
}

// fault returns what has stopped, in the server's words.
func (s following) fault() string {
	for _, key := range []string{"last_sql_error", "last_io_error"} {
		if s[key] != "" {
			return s[key]
		}
	}
	return ""
}

// longLag is the lag from which a replica without max_lag is worth a word.
const longLag = 10 * time.Second

// judgeReplication is about servers that follow each other asynchronously: each
// replica, and the one primary.
func (r *report) judgeReplication(told []*facts) {
	if r.galera || !slices.ContainsFunc(told, func(f *facts) bool { return len(f.follows) > 0 }) {
		return
	}
	servers := make(map[string]*facts) // by server_id
	primaries := make(map[string]bool) // by address
	for _, f := range told {
		id := f.vars["server_id"]
		if other := servers[id]; other != nil && other.address != f.address {
			r.add(isFailed, "server_id", f.name, id+", as "+other.name, "a number of its own",
				"a replica leaves out what a server with its own number has written: set another server_id in the option file, and restart the server")
		}
		servers[id] = f
		if len(f.follows) == 0 && f.untold["replication"] == nil && !f.readOnly() {
			primaries[f.address] = true
		}
	}
	for _, f := range told {
		switch err := f.untold["replication"]; {
		case err != nil:
			r.add(isSkipped, "replication", f.name, f.text(err), "", "the account may not ask what it follows: GRANT REPLICA MONITOR (MySQL: REPLICATION CLIENT) ON *.* to the account of the dsn")
		case len(f.follows) > 0:
			r.judgeReplica(f, servers, len(primaries) > 0)
		case f.readOnly():
			r.add(isWarning, "replication", f.name, "read-only, follows nobody", "a primary or a replica",
				"it gets no new data: have it follow the primary (CHANGE MASTER; MySQL: CHANGE REPLICATION SOURCE), or take the node out")
		default:
			r.add(isOK, "replication", f.name, "primary", "", "")
		}
	}
	r.judgePrimaries(len(primaries), "their data part: find out which one the replicas follow, and take the other out and rebuild it")
}

// judgePrimaries is about how many primaries there are. many says what to do about
// several. Where not all nodes have answered, nobody is told to promote one: a node
// that does not answer here may be the primary all the same.
func (r *report) judgePrimaries(primaries int, many string) {
	verdict, cure := isWarning, "nothing can be written through this file's nodes: add the primary, or promote one"
	readers := r.config.Require == clustersql.RequireReadOnly || r.config.Require == clustersql.RequireStandby
	switch {
	case primaries > 1:
		verdict, cure = isFailed, many
	case len(r.told()) < len(r.facts):
		cure = "a node that has not answered may be the primary: mend what its row of reached says"
	}
	r.judge(primaries == 1 || primaries == 0 && readers, verdict, "primary", "", fmt.Sprintf("%d primaries", primaries), "1", "%s", cure)
}

// readOnly reports whether the server takes no writes of ordinary accounts.
func (f *facts) readOnly() bool {
	v := f.vars["read_only"]
	return v != "OFF" && v != "0" && v != ""
}

// judgeReplica is about one replica, and each server that it follows. servers are
// the file's, by server_id.
func (r *report) judgeReplica(f *facts, servers map[string]*facts, primary bool) {
	for _, s := range f.follows {
		source, inFile := servers[s["source_server_id"]]
		name := "server " + s["source_server_id"]
		if inFile {
			name = source.name
		}
		if !s.runs() {
			cure := "it gets no new data: START SLAVE there (MySQL: START REPLICA)"
			if fault := s.fault(); fault != "" {
				cure += ", after mending what it says: " + shown(f.hide.Text(fault))
			}
			r.add(isFailed, "replication", f.name, fmt.Sprintf("replica of %s, receives: %s, applies: %s", name, s["replica_io_running"], s["replica_sql_running"]), "both run", "%s", cure)
			continue
		}
		r.judge(inFile || !primary, isWarning, "replication", f.name, "replica of "+name, "a replica of a node of the file",
			"its data may be another cluster's: have it follow the primary, or add the server that it follows as a node")
		r.judgeLag(f, s)
	}
}

// wantedLag returns max_lag, and how a row says it.
func (r *report) wantedLag() (limit time.Duration, want string) {
	if limit = r.config.MaxLag; limit > 0 {
		want = "max_lag = " + limit.String() + " at most"
	}
	return limit, want
}

func (r *report) judgeLag(f *facts, s following) {
	limit, want := r.wantedLag()
	if delay := time.Duration(number(s["sql_delay"])) * time.Second; delay > 0 && (limit == 0 || delay > limit) {
		r.add(isWarning, "lag", f.name, "applies all "+delay.String()+" late on purpose", want,
			"it is for mishaps, and no node to read from: take it out, or CHANGE MASTER TO MASTER_DELAY = 0 there")
		return
	}
	seconds, err := strconv.ParseFloat(s["seconds_behind_source"], 64)
	if err != nil {
		r.add(isSkipped, "lag", f.name, "not told", want, "")
		return
	}
	r.judgeBehind(f, time.Duration(seconds*float64(time.Second)))
}

// judgeBehind is about how far a replica is behind.
func (r *report) judgeBehind(f *facts, behind time.Duration) {
	limit, want := r.wantedLag()
	if limit > 0 {
		r.judge(behind <= limit, isWarning, "lag", f.name, behind.String(), want, "it is left out until it has caught up: see what it is busy with, or raise max_lag")
		return
	}
	r.judge(behind <= longLag, isWarning, "lag", f.name, behind.String(), want, "reads there are that old: see what it is busy with; max_lag leaves such a replica out")
}
