package galera

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

func TestReplication(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var log strings.Builder
	c := StartReplicationT(t, Options{Monitor: true, Log: &log})
	t.Cleanup(func() {
		c.Stop()
		if left := throwaway.Below(c.dir); len(left) > 0 || !gone(c.dir) {
			t.Errorf("left after Stop: processes %v, folder %t", left, !gone(c.dir))
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	b := &bench{T: t, cluster: c, ctx: ctx, clients: make(map[*Node]*sql.DB)}
	for _, n := range c.Nodes {
		db, err := sql.Open("mysql", n.DSN("timeout=1s&readTimeout=10s"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		db.SetMaxIdleConns(0) // each statement sees the node as it is now
		b.clients[n] = db
	}
	b.must(c.Exec(ctx, "CREATE TABLE app.rows_written (id BIGINT AUTO_INCREMENT PRIMARY KEY, node VARCHAR(9))"))
	for _, step := range []struct {
		name string
		run  func(b *bench)
	}{
		{"roles", (*bench).roles},
		{"threads", (*bench).threads},
		{"delay", (*bench).delay},
		{"cut off", (*bench).cutOff},
		{"a replica's faults", (*bench).replicaFaults},
		{"switchover", (*bench).switchover},
		{"promotion", (*bench).promotion},
		{"heal", (*bench).healReplication},
	} {
		began := time.Now()
		step.run(b)
		if t.Failed() {
			t.Fatalf("in step %s", step.name)
		}
		t.Logf("%s: %.1fs", step.name, time.Since(began).Seconds())
	}
}

// replicated checks that what is written on the primary can be read on all, and
// that the others refuse it.
func (b *bench) replicated() {
	b.Helper()
	primary := b.cluster.Primary()
	b.exec(primary, insert)
	b.rows++
	b.must(b.cluster.WaitSynced(b.ctx))
	for _, n := range b.cluster.Nodes {
		if n != primary {
			b.refused(n, insert, 1290)
		}
		if count := b.count(n); count != b.rows {
			b.Errorf("%s has %d rows after %d were written", n.Name, count, b.rows)
		}
	}
}

func (b *bench) count(n *Node) (count int) {
	b.Helper()
	b.must(b.clients[n].QueryRowContext(b.ctx, "SELECT COUNT(*) FROM rows_written").Scan(&count))
	return count
}

// behind writes, and checks that a replica does not get it.
func (b *bench) behind(n *Node) {
	b.Helper()
	b.exec(b.cluster.Primary(), insert)
	b.rows++
	short, cancel := context.WithTimeout(b.ctx, 300*time.Millisecond)
	defer cancel()
	if err := n.WaitApplied(short, b.cluster.Primary()); err == nil || b.count(n) != b.rows-1 {
		b.Errorf("%s has %d rows of %d, %v", n.Name, b.count(n), b.rows, err)
	}
}

// threadsOf waits until the threads of a replica are as they should be.
func (b *bench) threadsOf(n *Node, io, sql string) {
	b.Helper()
	err := throwaway.Poll(b.ctx, nil, func() bool {
		f, err := n.following(b.ctx)
		return err == nil && f != nil && f.io == io && f.sql == sql
	})
	b.must(err)
}

func (b *bench) roles() {
	b.replicated()
	for i, want := range []int{0, 1, 1} {
		var rows int
		found, err := b.clients[b.cluster.Nodes[i]].QueryContext(b.ctx, "SHOW ALL REPLICAS STATUS")
		b.must(err)
		for found.Next() {
			rows++
		}
		b.must(errors.Join(found.Err(), found.Close()))
		if rows != want {
			b.Errorf("n%d follows %d servers, want %d", i+1, rows, want)
		}
	}
}

func (b *bench) threads() {
	n := b.cluster.Nodes[1]
	b.must(n.StopApplying(b.ctx))
	b.threadsOf(n, "Yes", "No")
	b.behind(n)
	b.must(n.StartApplying(b.ctx))
	b.replicated()
	b.must(n.StopReceiving(b.ctx))
	b.threadsOf(n, "No", "Yes")
	b.behind(n)
	b.must(n.StartReceiving(b.ctx))
	b.replicated()
}

func (b *bench) delay() {
	n := b.cluster.Nodes[2]
	b.must(n.Delay(b.ctx, time.Hour))
	b.threadsOf(n, "Yes", "Yes")
	b.behind(n)
	b.must(n.Delay(b.ctx, 0))
	b.replicated()
}

func (b *bench) cutOff() {
	n := b.cluster.Nodes[1]
	n.Disconnect()
	b.threadsOf(n, "Connecting", "Yes")
	b.behind(n)
	n.Reconnect()
	b.replicated()
	n.Blackhole()
	b.behind(n)
	b.threadsOf(n, "Yes", "Yes") // it does not notice
	n.Reconnect()
	b.replicated()
}

func (b *bench) replicaFaults() {
	n := b.cluster.Nodes[1]
	b.must(n.Freeze())
	b.must(n.Resume())
	b.replicated()
	b.must(n.Kill())
	b.must(n.Start(b.ctx))
	b.replicated()
	b.must(n.Shutdown(b.ctx))
	b.must(n.Start(b.ctx))
	b.replicated()
}

func (b *bench) switchover() {
	for _, n := range []*Node{b.cluster.Nodes[1], b.cluster.Nodes[0]} {
		b.must(b.cluster.Switchover(b.ctx, n))
		if b.cluster.Primary() != n {
			b.Errorf("the primary is %s", b.cluster.Primary().Name)
		}
		b.replicated()
	}
	b.must(b.cluster.Primary().Shutdown(b.ctx))
	b.must(b.cluster.Primary().Start(b.ctx))
	b.replicated()
}

// promotion promotes the replica that has more. The old primary comes back as
// one, and takes a write that no other node gets.
func (b *bench) promotion() {
	old, second, third := b.cluster.Nodes[0], b.cluster.Nodes[1], b.cluster.Nodes[2]
	second.Disconnect()
	b.behind(second)
	b.must(third.WaitApplied(b.ctx, old))
	b.must(third.StopApplying(b.ctx))
	b.exec(old, insert)
	b.rows++
	received := func() bool {
		f, err := third.following(b.ctx)
		pos, err2 := old.variable(b.ctx, "gtid_binlog_pos")
		return err == nil && err2 == nil && f.received == pos
	}
	b.must(throwaway.Poll(b.ctx, nil, received))
	b.must(old.Kill())
	elected, err := b.cluster.Best(b.ctx)
	b.must(err)
	if elected != third || b.count(third) != b.rows {
		b.Fatalf("%s was elected, n3 has %d rows of %d", elected.Name, b.count(third), b.rows)
	}
	b.must(third.Promote(b.ctx))
	second.Reconnect()
	b.must(b.cluster.FollowPrimary(b.ctx))
	b.must(old.Start(b.ctx))
	b.exec(old, insert) // lost
	b.exec(third, insert)
	b.rows++
	b.must(old.Follow(b.ctx, third))
	b.replicated()
}

// heal finds the old primary frozen, another node down and cut off, and the new
// primary full and read-only.
func (b *bench) healReplication() {
	primary := b.cluster.Primary()
	b.must(primary.MaxConnections(b.ctx, 10))
	b.must(primary.ReadOnly(b.ctx, true))
	b.must(b.cluster.Nodes[0].Freeze())
	b.cluster.Nodes[1].Blackhole()
	b.must(b.cluster.Nodes[1].Kill())
	b.must(b.cluster.Heal(b.ctx))
	b.replicated()
}

// Without the right an account does not learn what a server follows.
func TestReplicationWithoutTheRight(t *testing.T) {
	c := StartReplicationT(t, Options{Nodes: 1})
	db, err := sql.Open("mysql", c.Nodes[0].DSN(""))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SHOW ALL REPLICAS STATUS")
	if err == nil {
		rows.Close()
	}
	var denied *mysql.MySQLError
	if !errors.As(err, &denied) || denied.Number != 1227 {
		t.Errorf("%v, want error 1227", err)
	}
}
