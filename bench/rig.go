package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/EnumApps/clustersql/internal/galera"
)

// rowsRead is how many rows clients read. The rows above these are for writing.
const (
	rowsRead  = 1000
	rowsWrite = 100 // for each client
)

// A rig is what every part is measured on: three real nodes, and the relays'
// process.
type rig struct {
	plan    plan
	cluster *galera.Cluster
	relays  *process
	checks  []*clustercheck // each asks its node directly
	ports   map[int]int     // from a node's port to its index
	first   int             // the node that contestants started from now on get first
	log     io.Writer
}

func newRig(ctx context.Context, p plan, log io.Writer) (_ *rig, err error) {
	r := &rig{plan: p, log: log, ports: make(map[int]int)}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	r.say("starting three MariaDB Galera nodes")
	if err := galera.Available(); err != nil {
		return nil, err
	}
	if r.cluster, err = galera.Start(ctx, galera.Options{FastFailure: true, Extra: []string{"--max-connections=2000"}}); err != nil {
		return nil, err
	}
	if err := r.cluster.Exec(ctx, schema()...); err != nil {
		return nil, err
	}
	for i, n := range r.cluster.Nodes {
		k, err := newClustercheck(n.Addr())
		if err != nil {
			return nil, err
		}
		r.checks = append(r.checks, k)
		var port int
		if _, err := fmt.Sscanf(n.Addr()[strings.LastIndexByte(n.Addr(), ':'):], ":%d", &port); err != nil {
			return nil, err
		}
		r.ports[port] = i
	}
	r.relays, err = startProcess("relay")
	return r, err
}

func schema() []string {
	var rows []string
	for id := 1; id <= rowsRead+rowsWrite*len(contestants); id++ {
		rows = append(rows, fmt.Sprintf("(%d,%d)", id, id))
	}
	return []string{
		"CREATE TABLE app.kv (id INT PRIMARY KEY, v INT NOT NULL) ENGINE=InnoDB",
		"INSERT INTO app.kv VALUES " + strings.Join(rows, ","),
		"CREATE FUNCTION app.node_port() RETURNS INT NO SQL RETURN @@port",
		"CREATE SQL SECURITY INVOKER VIEW app.node AS SELECT app.node_port() AS port", // a view may name no variable itself
		"CREATE USER " + proxyUser + "@'%'",
	}
}

func (r *rig) close() {
	for _, k := range r.checks {
		k.close()
	}
	if r.relays != nil {
		r.relays.end()
	}
	if r.cluster != nil {
		r.cluster.Stop()
	}
}

func (r *rig) say(format string, args ...any) {
	fmt.Fprintf(r.log, "%s %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

// addrs returns the addresses of the nodes themselves, and those of their
// checks.
func (r *rig) addrs() (nodes, checks []string) {
	for i := range r.cluster.Nodes {
		i = (i + r.first) % len(r.cluster.Nodes)
		nodes, checks = append(nodes, r.cluster.Nodes[i].Addr()), append(checks, r.checks[i].addr)
	}
	return nodes, checks
}

// setFault sets a fault at relays.
func (r *rig) setFault(f Fault, addrs ...string) error {
	return r.relays.call.Call("Role.Set", Setting{addrs, f}, &Nothing{})
}

// relayed opens a relay before each address.
func (r *rig) relayed(to []string) (addrs []string, err error) {
	err = r.relays.call.Call("Role.Open", to, &addrs)
	return addrs, err
}

// A team is the clients of one part of the benchmark, and the processes that
// they need.
type team struct {
	rig     *rig
	members []*member
}

// A member is the client of one contestant.
type member struct {
	contestant
	setup  Setup
	client *process
	proxy  *process // nil for contestants without a proxy
	info   ProxyInfo
	relays []string // before the nodes, and before their checks; nil if there are none
	index  int      // among all contestants
}

// field says how a team reaches its nodes.
type field struct {
	relays  bool
	weights []int
	conns   int
}

// newTeam starts the clients of the contestants for which want returns true.
// The caller must call end.
func (r *rig) newTeam(f field, want func(contestant) bool) (*team, error) {
	t := &team{rig: r}
	for i, c := range contestants {
		if !want(c) {
			continue
		}
		m := &member{contestant: c, index: i}
		t.members = append(t.members, m)
		if err := m.start(r, f); err != nil {
			t.end()
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return t, nil
}

// but returns a want for all contestants but those named.
func but(names ...string) func(contestant) bool {
	return func(c contestant) bool {
		for _, name := range names {
			if c.name == name {
				return false
			}
		}
		return true
	}
}

func (m *member) start(r *rig, f field) (err error) {
	addrs, checks := r.addrs()
	if f.relays {
		if addrs, err = r.relayed(addrs); err != nil {
			return err
		}
		if checks, err = r.relayed(checks); err != nil {
			return err
		}
		m.relays = append(append([]string{}, addrs...), checks...)
	}
	m.setup = Setup{Contestant: m.name, Addrs: addrs, Weights: f.weights, Conns: f.conns}
	if m.contestant.proxy != "" {
		if m.proxy, err = startProcess("proxy"); err != nil {
			return err
		}
		if err := m.proxy.call.Call("Role.Start", ProxySetup{m.contestant.proxy, addrs, checks, f.weights}, &m.info); err != nil {
			return err
		}
		m.setup.Proxy = m.info.Addr
	}
	if m.client, err = startProcess("client"); err != nil {
		return err
	}
	return m.client.call.Call("Role.Start", m.setup, &Nothing{})
}

// host returns the relays before a node: that of the node and that of its
// check.
func (m *member) host(node int) []string {
	return []string{m.relays[node], m.relays[node+len(m.setup.Addrs)]}
}

func (m *member) end() error {
	var errs []error
	for _, p := range []*process{m.client, m.proxy} {
		if p != nil {
			errs = append(errs, p.end())
		}
	}
	return errors.Join(errs...)
}

func (t *team) end() {
	for _, m := range t.members {
		if err := m.end(); err != nil {
			t.rig.say("%s: its process ended with %v", m.name, err)
		}
	}
}

// together makes a call for every member at the same time. It returns the first
// error.
func (t *team) together(call func(i int, m *member) error) error {
	errs := make([]error, len(t.members))
	var all sync.WaitGroup
	for i, m := range t.members {
		all.Go(func() {
			if err := call(i, m); err != nil {
				errs[i] = fmt.Errorf("%s: %w", m.name, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// connections returns how many connections were ever made to all servers.
func (r *rig) connections(ctx context.Context) (sum int, err error) {
	for _, n := range r.cluster.Nodes {
		text, err := n.Status(ctx, "Connections")
		if err != nil {
			return 0, err
		}
		var count int
		if _, err := fmt.Sscan(text, &count); err != nil {
			return 0, err
		}
		sum += count
	}
	return sum, nil
}
