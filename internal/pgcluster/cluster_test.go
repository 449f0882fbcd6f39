package pgcluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// A journal keeps the log of a cluster.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// A bench is the cluster of the big test.
type bench struct {
	*testing.T
	*Cluster
	ctx  context.Context
	log  *journal
	rows int
}

// n1 is the primary at the beginning and at the end of each step.
func TestCluster(t *testing.T) {
	ctx := t.Context() // each step has a deadline of its own
	log := new(journal)
	c := StartT(t, Options{Synchronous: true, Log: log})
	t.Cleanup(func() {
		c.Stop()
		if left := throwaway.Below(c.dir); len(left) > 0 || exists(c.dir) {
			t.Errorf("left after Stop: processes %v, folder %t", left, exists(c.dir))
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	b := &bench{T: t, Cluster: c, ctx: ctx, log: log}
	b.must(c.Exec(ctx, "CREATE TABLE written (id SERIAL PRIMARY KEY)", "GRANT ALL ON ALL TABLES IN SCHEMA public TO "+User, "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO "+User))
	for _, step := range []struct {
		name string
		run  func(*bench)
	}{
		{"replication", (*bench).replication},
		{"roles and DSNs", (*bench).roles},
		{"freeze", (*bench).freeze},
		{"kill a standby", (*bench).killStandby},
		{"shutdown", (*bench).shutdown},
		{"replay", (*bench).replay},
		{"cut off", (*bench).cutOff},
		{"full", (*bench).full},
		{"settings", (*bench).settings},
		{"fail over", (*bench).failOver},
		{"split", (*bench).split},
		{"a rewind that is not possible", (*bench).noRewind},
		{"heal", (*bench).heal},
	} {
		began := time.Now()
		step.run(b)
		if t.Failed() {
			t.Fatalf("in step %s", step.name)
		}
		t.Logf("%s: %.1fs", step.name, time.Since(began).Seconds())
	}
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// query returns what a query gives on a node.
func (b *bench) query(n *Node, query string) string {
	b.Helper()
	out, err := n.Query(b.ctx, query)
	b.must(err)
	return out
}

const insert = "INSERT INTO written DEFAULT VALUES"

// write writes a row on the primary, as the user, whose commits wait for a
// standby.
func (b *bench) write() {
	b.Helper()
	_, err := b.Primary().Query(b.ctx, "SET SESSION AUTHORIZATION "+User, "SET synchronous_commit = on", insert)
	b.must(err)
	b.rows++
}

// whole checks that the cluster is whole: what is written on the primary is on
// all nodes.
func (b *bench) whole() {
	b.Helper()
	b.write()
	b.must(b.WaitReplayed(b.ctx))
	for _, n := range b.Nodes {
		if got := b.query(n, "SELECT count(*), pg_is_in_recovery() FROM written"); got != fmt.Sprintf("%d|%.1s", b.rows, strconv.FormatBool(n != b.Primary())) {
			b.Errorf("%s: %s with %d rows written on %s", n.Name, got, b.rows, b.Primary().Name)
		}
	}
}

// shortly returns a context for what is not going to happen.
func (b *bench) shortly() context.Context {
	ctx, cancel := context.WithTimeout(b.ctx, 300*time.Millisecond)
	b.Cleanup(cancel)
	return ctx
}

// home makes n1 the primary again.
func (b *bench) home() {
	b.Helper()
	first := b.Nodes[0]
	b.must(first.Rewind(b.ctx))
	was := b.Primary()
	b.must(was.Shutdown(b.ctx)) // everything is replicated then
	b.must(first.Promote(b.ctx))
	b.must(b.Heal(b.ctx))
	b.whole()
}

func (b *bench) replication() {
	b.whole()
	if got := b.query(b.Nodes[0], "SELECT string_agg(application_name || ' ' || sync_state, ', ' ORDER BY application_name) FROM pg_stat_replication"); got != "n2 quorum, n3 quorum" {
		b.Errorf("the primary's standbys: %s", got)
	}
	for _, n := range b.Standbys() {
		if _, err := n.Query(b.ctx, insert); err == nil || !strings.Contains(err.Error(), "read-only transaction") {
			b.Errorf("a write on %s: %v", n.Name, err)
		}
	}
}

// roles asks as the users of the DSNs would be asked.
func (b *bench) roles() {
	n := b.Nodes[1]
	for dsn, want := range map[string]string{
		n.DSN(""):               fmt.Sprintf("postgres://app@127.0.0.1:%d/app?sslmode=disable", n.Port()),
		n.DSNOf("guest", "x=y"): fmt.Sprintf("postgres://guest@127.0.0.1:%d/app?sslmode=disable&x=y", n.Port()),
	} {
		if dsn != want {
			b.Errorf("%s, want %s", dsn, want)
		}
	}
	out, err := b.sandbox.Output(b.ctx, b.clientDir(), "SELECT current_user, current_database(), (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)", b.tools.file("psql"), "-XAt", n.DSN(""))
	if err != nil || out != "app|app|f\n" {
		b.Errorf("%q, %v", out, err)
	}
}

func (b *bench) freeze() {
	for _, n := range b.Nodes[:2] {
		b.must(n.Freeze())
		for _, pid := range throwaway.Below(n.dir) {
			if !throwaway.Frozen(pid) {
				b.Errorf("%s: process %d is not frozen", n.Name, pid)
			}
		}
		if _, err := n.Query(b.shortly(), "SELECT 1"); err == nil || !n.Running() {
			b.Errorf("%s is frozen: %v, runs: %t", n.Name, err, n.Running())
		}
		b.must(n.Resume())
		b.whole()
	}
}

func (b *bench) killStandby() {
	n := b.Nodes[1]
	b.must(n.Kill())
	b.must(n.Kill())
	if left := throwaway.Below(n.dir); n.Running() || n.Pid() != 0 || len(left) > 0 {
		b.Errorf("the killed node runs: %v", left)
	}
	b.write()
	if _, err := n.Query(b.ctx, "SELECT 1"); err == nil {
		b.Error("a node that does not run answers")
	}
	if err := n.WaitReplayed(b.ctx); err == nil {
		b.Error("a node that does not run has replayed")
	}
	b.must(n.Start(b.ctx))
	if err := n.Start(b.ctx); err == nil {
		b.Error("a node that runs was started")
	}
	b.whole()
}

func (b *bench) shutdown() {
	for _, n := range b.Nodes[:2] {
		addr := n.Addr()
		b.must(n.Freeze())
		b.must(n.Shutdown(b.ctx))
		if n.Running() {
			b.Errorf("%s runs", n.Name)
		}
		b.must(n.Start(b.ctx))
		if n.Addr() != addr {
			b.Errorf("it came back on %s", n.Addr())
		}
		b.must(b.WaitReplayed(b.ctx))
		b.whole()
	}
}

func (b *bench) replay() {
	n := b.Nodes[2]
	count := func() string { return b.query(n, "SELECT count(*) FROM written") }
	before := count()
	b.must(n.PauseReplay(b.ctx))
	b.write()
	if err := n.WaitReplayed(b.shortly()); err == nil || count() != before {
		b.Errorf("a paused node replayed: %v", err)
	}
	b.must(n.ResumeReplay(b.ctx))
	b.whole()
	before = count()
	const lag = 3 * time.Second
	b.must(n.Delay(b.ctx, lag))
	b.write()
	written := time.Now()
	if got := count(); got != before && time.Since(written) < lag {
		b.Errorf("%s rows of %s at once, with a delay", got, before)
	}
	b.must(n.WaitReplayed(b.ctx))
	if took := time.Since(written); took < lag/2 {
		b.Errorf("replayed after %s", took)
	}
	b.must(n.Delay(b.ctx, 0))
	b.whole()
}

func (b *bench) cutOff() {
	n := b.Nodes[1]
	for _, fault := range []func() error{n.Disconnect, n.Blackhole} {
		b.must(fault())
		b.write() // with the other standby
		if err := n.WaitReplayed(b.shortly()); err == nil {
			b.Error("a node that is cut off has replayed")
		}
		b.query(n, "SELECT 1")
		b.must(n.Reconnect())
		b.whole()
	}
	if err := b.Nodes[0].Disconnect(); err == nil {
		b.Error("the primary was cut off from itself")
	}
}

func (b *bench) full() {
	n := b.Nodes[1]
	b.must(n.Fill(b.ctx))
	if conn, err := n.enter(b.ctx); err == nil {
		conn.Close()
		b.Error("a full node has room")
	}
	b.query(n, "SELECT 1")
	n.Empty()
	b.must(n.until(b.ctx, "the crowd to go", "NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = '"+crowdRole+"')"))
	b.must(b.ConnLimit(b.ctx, crowdRole, 2))
	b.must(n.Fill(b.ctx))
	if got := b.query(n, "SELECT count(*) FROM pg_stat_activity WHERE usename = '"+crowdRole+"'"); got != "2" {
		b.Errorf("%s connections with a limit of 2", got)
	}
	b.must(b.ConnLimit(b.ctx, crowdRole, -1))
	n.Empty()
	b.whole()
}

func (b *bench) settings() {
	n := b.Nodes[0]
	const name = "default_transaction_read_only"
	b.must(n.Set(b.ctx, name, "on"))
	out, err := b.sandbox.Output(b.ctx, b.clientDir(), "SHOW transaction_read_only", b.tools.file("psql"), "-XAt", n.DSN(""))
	if err != nil || out != "on\n" {
		b.Errorf("%q, %v", out, err)
	}
	b.must(b.Heal(b.ctx))
	if got := b.query(n, "SELECT reset_val FROM pg_settings WHERE name = '"+name+"'"); got != "off" && got != "" {
		b.Errorf("after Heal it is %q", got)
	}
	if err := n.Set(b.ctx, "no_such_setting", "1"); err == nil {
		b.Error("a setting that does not exist was set")
	}
	b.must(n.Reset(b.ctx, name))
	b.whole()
}

// failOver kills the primary. Nothing acknowledged is lost.
func (b *bench) failOver() {
	first, third := b.Nodes[0], b.Nodes[2]
	b.must(third.PauseReplay(b.ctx))
	b.must(third.Disconnect())
	b.write() // the third does not have it
	b.must(third.Reconnect())
	b.must(third.ResumeReplay(b.ctx))
	b.must(first.Kill())
	next, err := b.Failover(b.ctx)
	b.must(err)
	if b.Primary() != next || next == first || len(b.Standbys()) != 2 {
		b.Errorf("%s is the primary", next.Name)
	}
	b.write()
	if err := first.Start(b.ctx); err == nil {
		b.Error("the old primary was started as one")
	}
	b.must(first.Rewind(b.ctx))
	if !strings.Contains(b.log.String(), "n1: rewind to "+next.Name) || strings.Contains(b.log.String(), "gets a copy") {
		b.Error("the old primary was not rewound")
	}
	b.whole()
	if err := first.Promote(b.ctx); err != nil {
		b.Error(err)
	}
	if err := next.Rewind(b.ctx); err != nil {
		b.Error(err)
	}
	b.must(b.Heal(b.ctx))
	b.whole()
}

// split starts the old primary as it was. It takes writes, which are gone when
// it is a standby again.
func (b *bench) split() {
	first := b.Nodes[0]
	b.must(first.Kill())
	_, err := b.Failover(b.ctx)
	b.must(err)
	b.must(first.StartAlone(b.ctx))
	if _, err := first.Query(b.ctx, "SET SESSION AUTHORIZATION "+User, "SET synchronous_commit = on", insert); err != nil {
		b.Errorf("the old primary takes no writes: %v", err)
	}
	b.write()
	b.home()
}

// noRewind takes away what pg_rewind needs.
func (b *bench) noRewind() {
	first := b.Nodes[0]
	b.must(first.Kill())
	_, err := b.Failover(b.ctx)
	b.must(err)
	b.must(os.RemoveAll(first.Data() + "/pg_wal"))
	b.must(os.Mkdir(first.Data()+"/pg_wal", 0o700))
	b.must(first.cluster.user.Own(first.Data() + "/pg_wal"))
	b.home()
	if !strings.Contains(b.log.String(), "n1: gets a copy of all data") {
		b.Error("it was rewound all the same")
	}
}

// heal finds one node frozen, one cut off, with a delay, and one down; then all
// of them down; then an old primary and a standby that follows it.
func (b *bench) heal() {
	b.must(b.Nodes[1].Delay(b.ctx, time.Hour))
	b.must(b.Nodes[1].PauseReplay(b.ctx))
	b.must(b.Nodes[1].Disconnect())
	b.must(b.Nodes[2].Kill())
	b.must(b.Nodes[0].Fill(b.ctx))
	b.must(b.Nodes[0].Freeze())
	b.must(b.Heal(b.ctx))
	b.whole()
	for _, n := range b.Nodes {
		b.must(n.Kill())
	}
	b.must(b.Heal(b.ctx))
	b.whole()
	b.must(b.Nodes[1].Promote(b.ctx))
	b.must(b.Heal(b.ctx))
	b.whole()
}

func TestATakenPortIsNamedAsTheCause(t *testing.T) {
	throwaway.Demand(t, Available())
	tools, err := findTools()
	if err != nil {
		t.Fatal(err)
	}
	c, err := newCluster(Options{Nodes: 1}, tools)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	l, err := net.Listen("tcp", c.Nodes[0].Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = c.startAll(t.Context())
	if err == nil || !strings.Contains(err.Error(), throwaway.ErrPortTaken.Error()) || !strings.Contains(err.Error(), "the end of "+c.Nodes[0].errorLog()) {
		t.Errorf("startAll: %v", err)
	}
}
