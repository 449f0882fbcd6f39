package integration

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"

	"github.com/EnumApps/clustersql/internal/dnstest"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/EnumApps/clustersql/internal/relay"
)

// membersNodes is how many nodes TestMembers has. Five start on a quiet machine only.
var membersNodes = flag.Int("members.nodes", 3, "how many nodes TestMembers has: 3, or 5")

// podName is the name whose addresses are the pods.
const podName = "galera.pods.test."

// pods are nodes behind addresses that change, as those of pods do. All have one
// port, and a real name service knows them by one name.
type pods struct {
	*testing.T
	names *dnstest.Server
	port  string
	next  int                     // the last part of the next address
	at    map[*galera.Node]string // addresses that are in the name service
	ways  map[string]*relay.Relay // by address
}

// up gives a node a new address, and tells the name service.
func (p *pods) up(n *galera.Node) {
	p.Helper()
	addr := fmt.Sprintf("127.0.0.%d", p.next)
	p.next++
	way, err := relay.NewAt(net.JoinHostPort(addr, p.port), "tcp", n.Addr())
	if err != nil {
		p.Fatal(err)
	}
	p.at[n], p.ways[addr] = addr, way
	p.tell()
}

// leave takes a node out of the name service. Its address is there until gone.
func (p *pods) leave(n *galera.Node) (gone func()) {
	addr := p.at[n]
	delete(p.at, n)
	p.tell()
	return func() {
		p.ways[addr].Close()
		delete(p.ways, addr)
	}
}

func (p *pods) tell() {
	var all []string
	for _, addr := range p.at {
		all = append(all, addr)
	}
	p.names.Set(podName, all...)
}

// A membersLoad reads and writes, and keeps a ledger of what was acknowledged.
type membersLoad struct {
	reads, failed, writes, unwritten atomic.Int64
	mu                               sync.Mutex
	acked                            []int64
	first                            error // of a read
	stop                             context.CancelFunc
	wg                               sync.WaitGroup
}

func (l *membersLoad) run(db *sql.DB) {
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	for w := range 8 {
		l.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				var v int
				if err := db.QueryRow("SELECT ?", i+w).Scan(&v); err != nil || v != i+w {
					l.failed.Add(1)
					l.mu.Lock()
					if l.first == nil {
						l.first = err
					}
					l.mu.Unlock()
				}
				l.reads.Add(1)
				time.Sleep(5 * time.Millisecond) // the pace of the load; nobody waits for it
			}
		})
	}
	for w := range 3 {
		l.wg.Go(func() {
			for i := int64(0); ctx.Err() == nil; i++ {
				id := i*3 + int64(w)
				if _, err := db.Exec("INSERT INTO members_ledger VALUES (?)", id); err != nil {
					l.unwritten.Add(1)
				} else {
					l.mu.Lock()
					l.acked = append(l.acked, id)
					l.mu.Unlock()
				}
				l.writes.Add(1)
				time.Sleep(10 * time.Millisecond) // likewise
			}
		})
	}
}

// sessionIDs returns the ids of the user's connections at a server.
func sessionIDs(t *testing.T, n *galera.Node) []int64 {
	t.Helper()
	rows, err := n.AdminDB().QueryContext(t.Context(), "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = '"+galera.User+"'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		all = append(all, id)
	}
	return all
}

// untouched fails where a server has lost one of the connections that it had, those of
// probes among them.
func untouched(t *testing.T, what string, n *galera.Node, before []int64) {
	t.Helper()
	after := sessionIDs(t, n)
	missing := slices.DeleteFunc(slices.Clone(before), func(id int64) bool { return slices.Contains(after, id) })
	if len(missing) > 0 {
		t.Errorf("%s: %d of %d connections of %s were closed", what, len(missing), len(before), n.Name)
	}
}

// Nodes come back under new addresses, as pods do: a rolling restart of three Galera
// nodes, a scale-out and a scale-in, and a password that rotates, each under load.
// No read fails, no acknowledged write is lost, and connections of nodes that have not
// changed stay, as the servers count them.
func TestMembers(t *testing.T) {
	c := galera.StartT(t, galera.Options{Nodes: *membersNodes})
	run(t, c, "CREATE TABLE app.members_ledger (id BIGINT PRIMARY KEY)")
	names, err := dnstest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer names.Close()
	free, err := relay.New("tcp", c.Nodes[0].Addr())
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	p := &pods{T: t, names: names, port: fmt.Sprint(free.Port()), next: 11, at: map[*galera.Node]string{}, ways: map[string]*relay.Relay{}}
	defer func() {
		for _, way := range p.ways {
			way.Close()
		}
	}()
	for _, n := range c.Nodes[:3] {
		p.up(n)
	}
	dsn := func(password string) string {
		return galera.User + ":" + password + "@tcp(" + podName + ":" + p.port + ")/" + galera.Database
	}
	db, err := sql.Open("clustersql", dsn(galera.Password)+"?clustersql.discover=dns&clustersql.discover_every=500ms&clustersql.name_server="+names.Addr()+
		"&clustersql.idempotent=true&clustersql.strategy=balanced&clustersql.rebalance=off&clustersql.name=members_conn")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxIdleConns(64)
	d := db.Driver().(clustersql.Driver)
	p.settled(d, 3)
	var load membersLoad
	load.run(db)
	defer func() { load.stop(); load.wg.Wait() }()
	p.wait("the load runs", func() bool { return load.reads.Load() >= 400 && load.writes.Load() >= 100 })

	for _, n := range c.Nodes[:3] { // a rolling restart
		before := map[*galera.Node][]int64{}
		for _, other := range c.Nodes[:3] {
			if other != n {
				before[other] = sessionIDs(t, other)
			}
		}
		gone := p.leave(n)
		if err := n.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		gone()
		if err := n.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.up(n)
		p.settled(d, 3)
		for other, ids := range before {
			untouched(t, "restart of "+n.Name, other, ids)
		}
		load.sum(t, "restart of "+n.Name+" under a new address")
	}

	before := map[*galera.Node][]int64{} // out, and in again
	for _, n := range c.Nodes[:3] {
		before[n] = sessionIDs(t, n)
	}
	for _, n := range c.Nodes[3:] {
		p.up(n)
	}
	p.settled(d, len(c.Nodes))
	load.sum(t, fmt.Sprintf("scale-out to %d", len(c.Nodes)))
	small := max(len(c.Nodes)-2, 2)
	for _, n := range c.Nodes[small:] {
		delete(before, n)
		gone := p.leave(n)
		p.settled(d, len(p.at))
		p.wait("connections to "+n.Name+" end", func() bool { return len(sessionIDs(t, n)) == 0 })
		gone()
	}
	for n, ids := range before {
		untouched(t, "scale-in", n, ids)
	}
	load.sum(t, fmt.Sprintf("back to %d", small))

	for n := range before { // a password that rotates
		before[n] = sessionIDs(t, n)
	}
	const next = "another-password-77"
	run(t, c, "ALTER USER "+galera.User+"@'%' IDENTIFIED BY '"+next+"'")
	diff, err := d.Apply([]clustersql.Node{{Name: podName + ":" + p.port, DSN: dsn(next)}})
	if err != nil || len(diff.Changes) != small || strings.Contains(diff.String(), next) || diff.Moves() != 0 {
		t.Errorf("%v, %s", err, diff)
	}
	var held []*sql.Conn
	for range 40 { // more than there are: new ones with the new password
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Error(err)
			continue
		}
		held = append(held, conn)
	}
	for _, conn := range held {
		conn.Close()
	}
	p.settled(d, small)
	for n, ids := range before {
		untouched(t, "the password rotates", n, ids)
	}
	load.sum(t, "the password rotates")

	load.stop()
	load.wg.Wait()
	load.audit(t, c)
}

// settled waits until the cluster has the nodes that the name service has, and all of
// them are up.
func (p *pods) settled(d clustersql.Driver, count int) {
	p.Helper()
	p.wait(fmt.Sprintf("%d nodes are up", count), func() bool {
		nodes := d.Status().Nodes
		for _, n := range nodes {
			host, _, _ := net.SplitHostPort(n.Name)
			known := false
			for _, addr := range p.at {
				known = known || addr == host
			}
			if n.State != clustersql.StateUp || !known {
				return false
			}
		}
		return len(nodes) == count
	})
}

func (p *pods) wait(what string, ok func() bool) {
	p.Helper()
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	p.Fatalf("never: %s", what)
}

// sum writes a line of the table.
func (l *membersLoad) sum(t *testing.T, what string) {
	t.Helper()
	t.Logf("%-40s reads %6d failed %d   writes %5d not acknowledged %d", what, l.reads.Load(), l.failed.Load(), l.writes.Load(), l.unwritten.Load())
}

// audit compares the ledger with what every node has.
func (l *membersLoad) audit(t *testing.T, c *galera.Cluster) {
	t.Helper()
	if l.failed.Load() != 0 || l.reads.Load() < 500 {
		t.Errorf("%d of %d reads failed, the first: %v", l.failed.Load(), l.reads.Load(), l.first)
	}
	if len(l.acked) < 100 {
		t.Errorf("only %d writes", len(l.acked))
	}
	for _, n := range c.Nodes[:3] {
		rows, err := n.AdminDB().QueryContext(t.Context(), "SELECT id FROM app.members_ledger")
		if err != nil {
			t.Fatal(err)
		}
		there := map[int64]bool{}
		for rows.Next() {
			var id int64
			if err := rows.Scan(&id); err != nil {
				t.Fatal(err)
			}
			there[id] = true
		}
		rows.Close()
		lost := 0
		for _, id := range l.acked {
			if !there[id] {
				lost++
			}
		}
		if lost > 0 {
			t.Errorf("%s has lost %d of %d acknowledged writes", n.Name, lost, len(l.acked))
		}
	}
}
