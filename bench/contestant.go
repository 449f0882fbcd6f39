package main

import (
	"context"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/go-sql-driver/mysql"
)

// A contestant is one way to open connections to the cluster.
type contestant struct {
	name  string
	proxy string // the set-up of HAProxy that it needs; empty for none
	ours  bool
	make  func(Setup) (driver.Connector, error)
}

// A Setup is what the process of a contestant gets.
type Setup struct {
	Contestant string
	Addrs      []string // of the nodes, or of the relays before them
	Weights    []int    // of the nodes; nil: all equal
	Proxy      string   // address of the proxy, for contestants that need one
	Conns      int      // limit of the pool; 0: no pool, every use opens a connection
}

// These names are of contestants with which others are compared.
const (
	plain      = "plain driver"
	plainAgain = "plain driver, again"
	plainDo1   = "plain driver + DO 1"
	onThree    = "random node, then next" // a plain driver on all nodes
	proxyMySQL = "HAProxy, mysql-check"
	proxyWsrep = "HAProxy, wsrep check"
	race       = "clustersql race"
	hedged     = "clustersql hedged"
	balanced   = "clustersql balanced"
	ordered    = "clustersql ordered"
	idempotent = "clustersql balanced, idempotent"
	lateOff    = "clustersql ordered, late_after off"
	hedgeReads = "clustersql ordered, hedge_reads"
)

// settingsOnly are contestants that differ from another one in a setting that matters
// for connections in use. They take part where these meet faults.
var settingsOnly = []string{idempotent, lateOff, hedgeReads}

var contestants = []contestant{
	{name: plain, make: onFirst},
	{name: plainAgain, make: onFirst},
	{name: plainDo1, make: checkedFirst},
	{name: onThree, make: newShuffle},
	{name: "the original (race)", make: newOriginal},
	{name: proxyMySQL, proxy: checkMySQL, make: throughProxy},
	{name: proxyWsrep, proxy: checkWsrep, make: throughProxy},
	{name: race, ours: true, make: cluster(clustersql.Race)},
	{name: hedged, ours: true, make: cluster(clustersql.Hedged)},
	{name: balanced, ours: true, make: cluster(clustersql.Balanced)},
	{name: ordered, ours: true, make: cluster(clustersql.Ordered)},
	{name: idempotent, ours: true, make: cluster(clustersql.Balanced, clustersql.WithIdempotent(true))},
	{name: lateOff, ours: true, make: cluster(clustersql.Ordered, clustersql.WithLateAfter(0))},
	{name: hedgeReads, ours: true, make: cluster(clustersql.Ordered, clustersql.WithHedgedReads(true, 20*time.Millisecond))},
}

func contestantNamed(name string) (contestant, error) {
	for _, c := range contestants {
		if c.name == name {
			return c, nil
		}
	}
	return contestant{}, fmt.Errorf("there is no contestant %q", name)
}

// peerTimeouts are what a careful user of the plain driver sets. Without them a
// silent server blocks it for ever. clustersql runs with its defaults and a DSN
// without timeouts.
const peerTimeouts = "?timeout=1s&readTimeout=2s"

func dsn(addr, params string) string { return "app:app@tcp(" + addr + ")/app" + params }

func peer(addr string) (driver.Connector, error) {
	return mysql.MySQLDriver{}.OpenConnector(dsn(addr, peerTimeouts))
}

func onFirst(s Setup) (driver.Connector, error)      { return peer(s.Addrs[0]) }
func throughProxy(s Setup) (driver.Connector, error) { return peer(s.Proxy) }

// checked runs DO 1 on every fresh connection, as clustersql does.
type checked struct{ driver.Connector }

func checkedFirst(s Setup) (driver.Connector, error) {
	c, err := onFirst(s)
	return checked{c}, err
}

func (c checked) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.(driver.ExecerContext).ExecContext(ctx, "DO 1", nil); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// cluster returns clustersql with its defaults and a strategy.
func cluster(s clustersql.Strategy, opts ...clustersql.Option) func(Setup) (driver.Connector, error) {
	return func(set Setup) (driver.Connector, error) {
		opts := append(opts, clustersql.WithStrategy(s), clustersql.WithLogger(silence))
		d := clustersql.NewDriver(mysql.MySQLDriver{}, "bench", opts...)
		for i, addr := range set.Addrs {
			var node []clustersql.NodeOption
			if set.Weights != nil {
				node = append(node, clustersql.WithWeight(set.Weights[i]))
			}
			if err := d.AddNode(nodeName(i), dsn(addr, ""), node...); err != nil {
				return nil, err
			}
		}
		return d.Connector(), nil
	}
}

// silence is a log whose lines are dropped.
var silence = slog.New(slog.DiscardHandler)

func nodeName(i int) string { return fmt.Sprintf("n%d", i+1) }
