package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/EnumApps/clustersql/internal/relay"
)

// The clients of a rehearsal: some that use a pool, and one that opens a connection
// for each statement.
const (
	pooledClients = 4
	clients       = pooledClients + 1
	clientPause   = 10 * time.Millisecond
	faultLasts    = time.Second // on, after the cluster has found it
)

// A rehearsal is the cluster again, over relays of this process: what clients see
// when the way to one of its nodes fails. Neither the nodes nor their settings are
// touched.
type rehearsal struct {
	driver  clustersql.Driver
	relays  map[string]*relay.Relay
	db, one *sql.DB // one has no pool
	ask     string

	mu    sync.Mutex // guards what follows; never held across a call
	calls []call
}

// A call is one statement of a client.
type call struct {
	ended time.Time
	took  time.Duration
	err   error
}

// rehearse rehearses the loss of each node.
func (r *report) rehearse(ctx context.Context) {
	const check = "failover"
	if len(r.facts) < 2 {
		r.add(isSkipped, check, "", "one node", "", "there is nothing to fail over to")
		return
	}
	h, err := r.newRehearsal()
	if err != nil {
		r.add(isFailed, check, "", err.Error(), "a rehearsal", "the relays could not be made")
		return
	}
	defer h.close()
	usable := r.usable()
	ready, cancel := context.WithTimeout(ctx, r.config.OpenTimeout)
	nodes := waitStatus(ready, h.driver, func(nodes []clustersql.NodeStatus) bool { return countUp(nodes) >= len(usable) })
	cancel()
	if len(usable) < 2 {
		r.add(isSkipped, check, "", fmt.Sprintf("%d usable nodes", len(usable)), "2 at least", "there is nothing to fail over to")
		return
	}
	if countUp(nodes) < len(usable) {
		r.add(isFailed, check, "", fmt.Sprintf("%d of %d nodes up through relays", countUp(nodes), len(usable)), "all", "the nodes do not work through a relay on this machine: --no-rehearsal leaves this out")
		return
	}
	work, end := context.WithCancel(ctx)
	var running sync.WaitGroup
	for i := range clients {
		db := h.db
		if i == pooledClients {
			db = h.one
		}
		running.Go(func() { h.client(work, db, r.config.OpenTimeout+r.config.HangLimit) })
	}
	for _, name := range usable {
		for _, fault := range []relay.State{relay.Refused, relay.Silent, relay.Slow} {
			if ctx.Err() == nil {
				r.lose(ctx, h, name, fault)
			}
		}
	}
	end()
	running.Wait()
}

// usable returns the names of the nodes that the cluster uses.
func (r *report) usable() (names []string) {
	for _, s := range r.states {
		if s.State == clustersql.StateUp {
			names = append(names, s.Name)
		}
	}
	return names
}

func countUp(nodes []clustersql.NodeStatus) (n int) {
	for _, s := range nodes {
		if s.State == clustersql.StateUp {
			n++
		}
	}
	return n
}

// newRehearsal makes the cluster over relays, with the settings of the real one.
func (r *report) newRehearsal() (*rehearsal, error) {
	config := r.config
	config.Logger = slog.New(slog.DiscardHandler)
	h := &rehearsal{relays: make(map[string]*relay.Relay), ask: "DO 1"}
	var backend driver.Driver = mysql.MySQLDriver{}
	if r.kind == kindPostgres {
		backend, h.ask = stdlib.GetDefaultDriver(), "SELECT 1"
	}
	h.driver = clustersql.NewDriver(backend, r.name+" (rehearsal)", func(c *clustersql.Config) { *c = config })
	for _, f := range r.facts {
		c, err := h.connector(r.kind, f, r.config.ProbeTimeout/3)
		if err == nil {
			err = h.driver.AddConnector(f.name, c, clustersql.WithPriority(f.priority), clustersql.WithWeight(f.weight))
		}
		if err != nil {
			h.close()
			return nil, fmt.Errorf("%s", f.text(err))
		}
	}
	h.db, h.one = sql.OpenDB(h.driver.Connector()), sql.OpenDB(h.driver.Connector())
	h.db.SetMaxOpenConns(pooledClients)
	h.db.SetMaxIdleConns(pooledClients)
	h.one.SetMaxIdleConns(-1)
	return h, nil
}

// connector returns a connector to a node that dials its relay. The names in the
// DSN stay, so that certificates are judged as without a relay.
func (h *rehearsal) connector(k kind, f *facts, delay time.Duration) (driver.Connector, error) {
	if k == kindPostgres {
		cfg, err := pgx.ParseConfig(f.dsn)
		if err != nil {
			return nil, err
		}
		network, address := pgconn.NetworkAddress(cfg.Host, cfg.Port)
		dial, err := h.relay(f.name, network, address, delay)
		cfg.DialFunc = dial
		cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
		return stdlib.GetConnector(*cfg), err
	}
	cfg, err := mysql.ParseDSN(f.dsn)
	if err != nil {
		return nil, err
	}
	dial, err := h.relay(f.name, cfg.Net, cfg.Addr, delay)
	if err != nil {
		return nil, err
	}
	cfg.DialFunc, cfg.Logger = dial, noLogger{}
	return mysql.NewConnector(cfg)
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// relay starts the relay of a node, and returns what dials it.
func (h *rehearsal) relay(node, network, address string, delay time.Duration) (dialFunc, error) {
	way, err := relay.New(network, address)
	if err != nil {
		return nil, err
	}
	way.Delay = delay
	h.relays[node] = way
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return clustersql.Dial(ctx, "tcp", way.Addr())
	}, nil
}

func (h *rehearsal) close() {
	for _, db := range []*sql.DB{h.db, h.one} {
		if db != nil {
			db.Close()
		}
	}
	h.driver.Close()
	for _, r := range h.relays {
		r.Close()
	}
}

// client sends one statement after the other until ctx is done.
func (h *rehearsal) client(ctx context.Context, db *sql.DB, limit time.Duration) {
	for ctx.Err() == nil {
		began := time.Now()
		bounded, cancel := context.WithTimeout(ctx, limit)
		_, err := db.ExecContext(bounded, h.ask)
		cancel()
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		h.mu.Lock()
		h.calls = append(h.calls, call{now, now.Sub(began), err})
		h.mu.Unlock()
		select {
		case <-time.After(clientPause):
		case <-ctx.Done():
		}
	}
}

// since takes the calls that have ended since the last time.
func (h *rehearsal) since() []call {
	h.mu.Lock()
	defer h.mu.Unlock()
	calls := h.calls
	h.calls = nil
	return calls
}

// gather has the clients use one node, by draining the others for a moment. It
// reports whether they do.
func (h *rehearsal) gather(ctx context.Context, name string, config clustersql.Config) bool {
	ctx, cancel := context.WithTimeout(ctx, config.AttemptTimeout+10*config.ProbeInterval)
	defer cancel()
	others := slices.DeleteFunc(h.driver.Nodes(), func(n string) bool { return n == name })
	was := make(map[string]bool)
	for _, s := range h.driver.Status().Nodes {
		was[s.Name] = s.State == clustersql.StateUp
	}
	for _, o := range others {
		_ = h.driver.Drain(o) // no error: the node is there
	}
	used := waitStatus(ctx, h.driver, func(nodes []clustersql.NodeStatus) bool {
		return !slices.ContainsFunc(nodes, func(s clustersql.NodeStatus) bool {
			return s.Name == name && s.OpenConns == 0 || s.Name != name && s.OpenConns > 0
		})
	})
	for _, o := range others {
		_ = h.driver.Undrain(o)
	}
	waitStatus(ctx, h.driver, func(nodes []clustersql.NodeStatus) bool {
		return !slices.ContainsFunc(nodes, func(s clustersql.NodeStatus) bool { return was[s.Name] && s.State != clustersql.StateUp })
	})
	return slices.ContainsFunc(used, func(s clustersql.NodeStatus) bool { return s.Name == name && s.OpenConns > 0 })
}

// lose breaks the way to one node, and mends it when the cluster has found out.
func (r *report) lose(ctx context.Context, h *rehearsal, name string, fault relay.State) {
	way := h.relays[name]
	if !h.gather(ctx, name, r.config) {
		r.add(isFailed, "failover: "+faultName(fault), name, "no statement ran on it", "the clients use it", "it refuses connections although it is up: see the rows of used above")
		return
	}
	h.since()
	began := time.Now()
	_ = way.Turn(fault)
	down := time.Duration(-1)
	if fault != relay.Slow {
		bound := time.Duration(1.2*float64(r.config.ProbeInterval)) + time.Duration(r.config.Fall)*r.config.ProbeTimeout + 2*time.Second
		limited, cancel := context.WithTimeout(ctx, bound)
		if stateOf(waitStatus(limited, h.driver, func(n []clustersql.NodeStatus) bool { return stateOf(n, name) == clustersql.StateDown }), name) == clustersql.StateDown {
			down = time.Since(began)
		}
		cancel()
	}
	// A call that hangs is cut just after the node is taken down.
	pause(ctx, faultLasts/4)
	calls := h.since()
	pause(ctx, faultLasts)
	later := h.since()
	mended := time.Now()
	err := way.Turn(relay.Open)
	limited, cancel := context.WithTimeout(ctx, r.config.SilenceHold+20*time.Second)
	back := stateOf(waitStatus(limited, h.driver, func(n []clustersql.NodeStatus) bool { return stateOf(n, name) == clustersql.StateUp }), name) == clustersql.StateUp
	cancel()
	returned := time.Since(mended)
	if ctx.Err() != nil {
		return
	}
	r.judgeLoss(name, loss{fault, calls, later, down, back, returned, way.Delay, err})
}

// A loss is what was seen while the way to a node was broken.
type loss struct {
	fault        relay.State
	calls, later []call        // that ended until the fault was found, and after that
	down         time.Duration // until the node was taken down; negative if it was not
	back         bool          // the node was used again
	returned     time.Duration // how long that took
	delay        time.Duration // of a slow relay
	err          error         // of the relay
}

// faultName is the name of a fault in the report.
func faultName(s relay.State) string {
	return map[relay.State]string{relay.Refused: "refuse", relay.Silent: "freeze", relay.Slow: "slow"}[s]
}

// judgeLoss adds the row about a loss.
func (r *report) judgeLoss(name string, l loss) {
	longest, failed, lost := time.Duration(0), 0, 0
	for _, c := range slices.Concat(l.calls, l.later) {
		longest = max(longest, c.took)
	}
	for _, c := range l.calls {
		if c.err != nil {
			failed++
		}
	}
	for _, c := range l.later {
		if c.err != nil {
			lost++
		}
	}
	have := fmt.Sprintf("%d statements, %d failed, longest %s", len(l.calls)+len(l.later), failed+lost, round(longest))
	if l.fault != relay.Slow {
		if l.down >= 0 {
			have += ", down after " + round(l.down)
		} else {
			have += ", not taken down"
		}
		if l.back {
			have += ", back after " + round(l.returned)
		} else {
			have += ", not back"
		}
	}
	check := "failover: " + faultName(l.fault)
	want := "only those under way fail"
	switch {
	case l.err != nil:
		r.add(isFailed, check, name, "the relay did not come back: "+l.err.Error(), want, "try again")
	case len(l.later) == 0:
		r.add(isFailed, check, name, have, want, "no statement ended while the way to the node was broken: another node must take its place: see the rows of used above")
	case lost > 0 || l.fault == relay.Slow && failed > 0:
		r.add(isFailed, check, name, have, want, "statements failed although other nodes work: see whether they have room (connections above)")
	case failed > clients:
		r.add(isFailed, check, name, have, fmt.Sprintf("at most %d fail", clients), "more failed than were under way: see whether the other nodes have room (connections above)")
	case l.fault != relay.Slow && l.down < 0:
		r.add(isFailed, check, name, have, "taken down", "lower probe_timeout, probe_interval or fall")
	case !l.back:
		r.add(isFailed, check, name, have, "used again", "raise probe_timeout, or lower rise")
	case longest > r.config.OpenTimeout:
		r.add(isWarning, check, name, have, "longest under "+round(r.config.OpenTimeout), "lower probe_interval, probe_timeout or attempt_timeout, or give statements a deadline")
	case l.fault == relay.Slow:
		r.add(isOK, check, name, have, fmt.Sprintf("%s late, none fails", round(l.delay)), "")
	default:
		r.add(isOK, check, name, have, want, "")
	}
}

// stateOf returns a node's state.
func stateOf(nodes []clustersql.NodeStatus, name string) clustersql.State {
	for i := range nodes {
		if nodes[i].Name == name {
			return nodes[i].State
		}
	}
	return clustersql.StateUnknown
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
