// Package galeratest makes nodes of fakedb answer as Galera nodes do: to DO 1,
// to the status queries and to read_only. It starts no server. Tests import it;
// it imports only package fakedb.
package galeratest

import (
	"context"
	"database/sql/driver"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A Script is a fake Galera node. A test changes its answers at any time.
type Script struct {
	Cluster, Ready, State, ReadOnly atomic.Value // string
	Group                           atomic.Value
	Server                          atomic.Value // server_uid; empty: it has none
	Provider                        atomic.Bool
	Reject                          atomic.Bool // DO 1 is answered with 1047
	Statuses, Works                 atomic.Int64
	Conf, Seqno                     atomic.Uint64
}

// Node makes n a Synced, writable Galera node and returns its Script.
func Node(n *fakedb.Node) *Script {
	g := new(Script)
	g.Cluster.Store("Primary")
	g.Ready.Store("ON")
	g.State.Store("4")
	g.ReadOnly.Store("0")
	g.Group.Store("11f1-a")
	g.Provider.Store(true)
	g.Conf.Store(3)
	n.OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error { return g.refusal(query) })
	n.OnQuery(g.answer)
	return g
}

// refusal returns the error of a statement, or nil.
func (g *Script) refusal(query string) error {
	switch {
	case strings.HasPrefix(query, "DO 1"):
		g.Works.Add(1)
		if g.Reject.Load() {
			return &mysql.MySQLError{Number: 1047, Message: "WSREP has not yet prepared node for application use"}
		}
	case strings.HasPrefix(query, "INSERT") && g.ReadOnly.Load() != "0":
		return &mysql.MySQLError{Number: 1290, Message: "running with the --read-only option"}
	}
	return nil
}

func (g *Script) answer(query string) ([][]driver.Value, bool) {
	if _, rest, ok := strings.Cut(query, "FOR */ "); ok && strings.HasPrefix(query, "/*M!") {
		query = rest
	}
	switch {
	case strings.HasPrefix(query, "SELECT @@GLOBAL.read_only"):
		return [][]driver.Value{{g.ReadOnly.Load()}}, true
	case strings.HasPrefix(query, "SHOW GLOBAL VARIABLES"):
		uid, _ := g.Server.Load().(string)
		return [][]driver.Value{
			{"port", "3306"}, {"server_id", "1"}, {"server_uid", uid}, {"read_only", g.ReadOnly.Load()},
			{"wsrep_on", map[bool]string{false: "OFF", true: "ON"}[g.Provider.Load()]},
		}, true
	case strings.HasPrefix(query, "SHOW GLOBAL STATUS"):
		g.Statuses.Add(1)
		if !g.Provider.Load() {
			return nil, true
		}
		text := func(v *atomic.Value) driver.Value { return []byte(v.Load().(string)) }
		return [][]driver.Value{
			{"wsrep_cluster_status", text(&g.Cluster)},
			{"wsrep_local_state", text(&g.State)},
			{"wsrep_provider_name", "Galera"},
			{"wsrep_ready", text(&g.Ready)},
			{"wsrep_cluster_state_uuid", text(&g.Group)},
			{"wsrep_last_committed", strconv.FormatUint(g.Seqno.Load(), 10)},
			{"wsrep_cluster_conf_id", strconv.FormatUint(g.Conf.Load(), 10)},
		}, true
	}
	return nil, false
}
