package galera

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/throwaway"
	"github.com/go-sql-driver/mysql"
)

// A bench is the cluster of the big test, with a client of each node.
type bench struct {
	*testing.T
	cluster *Cluster
	ctx     context.Context
	clients map[*Node]*sql.DB
	rows    int
}

func TestCluster(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var log strings.Builder
	c := StartT(t, Options{FastFailure: true, Log: &log})
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
		db, err := sql.Open("mysql", n.DSN("timeout=1s&readTimeout=10s&wsrep_sync_wait=1"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		db.SetMaxIdleConns(0) // each statement sees the node as it is now
		b.clients[n] = db
	}
	b.exec(c.Nodes[0], "CREATE TABLE rows_written (id BIGINT AUTO_INCREMENT PRIMARY KEY, node VARCHAR(9))")
	for _, step := range []struct {
		name string
		run  func(b *bench, n *Node)
	}{
		{"replication", (*bench).replication},
		{"catching up", (*bench).catchingUp},
		{"reject queries", (*bench).rejectQueries},
		{"desync", (*bench).desync},
		{"read-only", (*bench).readOnly},
		{"max connections", (*bench).maxConnections},
		{"freeze", (*bench).freeze},
		{"isolate", (*bench).isolate},
		{"kill", (*bench).kill},
		{"shutdown", (*bench).shutdown},
		{"wipe", (*bench).wipe},
		{"alone", (*bench).alone},
		{"heal", (*bench).heal},
	} {
		began := time.Now()
		step.run(b, c.Nodes[0])
		if t.Failed() {
			t.Fatalf("in step %s", step.name)
		}
		t.Logf("%s: %.1fs", step.name, time.Since(began).Seconds())
	}
}

func (b *bench) try(n *Node, statement string) error {
	_, err := b.clients[n].ExecContext(b.ctx, statement)
	return err
}

func (b *bench) exec(n *Node, statement string) {
	b.Helper()
	b.must(b.try(n, statement))
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

const insert = "INSERT INTO rows_written (node) VALUES ('x')"

// whole checks that the cluster is whole: a row that is written on any node can
// be read on all.
func (b *bench) whole() {
	b.Helper()
	b.must(b.cluster.WaitSynced(b.ctx))
	for _, n := range b.cluster.Nodes {
		b.exec(n, insert)
		b.rows++
		for _, other := range b.cluster.Nodes {
			var count int
			b.must(b.clients[other].QueryRowContext(b.ctx, "SELECT COUNT(*) FROM rows_written").Scan(&count))
			if count != b.rows {
				b.Errorf("%s has %d rows after %d were written, the last on %s", other.Name, count, b.rows, n.Name)
			}
		}
	}
}

// refused waits until the statement is answered with this MySQL error number.
func (b *bench) refused(n *Node, statement string, number uint16) {
	b.Helper()
	var last error
	err := throwaway.Poll(b.ctx, nil, func() bool {
		last = b.try(n, statement)
		var refusal *mysql.MySQLError
		return errors.As(last, &refusal) && refusal.Number == number
	})
	if err != nil {
		b.Fatalf("%s never got error %d, last %v: %v", n.Name, number, last, err)
	}
}

func (b *bench) status(n *Node, name, want string) {
	b.Helper()
	if got, err := n.Status(b.ctx, name); err != nil || got != want {
		b.Errorf("%s: %s is %q (%v), want %q", n.Name, name, got, err, want)
	}
}

func (b *bench) replication(n *Node) {
	b.whole()
	b.status(n, "wsrep_cluster_size", "3")
	if _, err := n.Status(b.ctx, "no_such_thing"); err == nil {
		b.Error("a status variable that does not exist has a value")
	}
	conn, err := b.clients[n].Conn(b.ctx)
	b.must(err)
	defer conn.Close()
	if count, err := n.AppConns(b.ctx); err != nil || count < 1 {
		b.Errorf("AppConns = %d, %v with a connection open", count, err)
	}
}

// catchingUp holds back a node's appliers, and checks that whoever waits until
// the node has everything does wait.
func (b *bench) catchingUp(n *Node) {
	held := b.cluster.Nodes[1]
	conn, err := held.AdminDB().Conn(b.ctx)
	b.must(err)
	defer conn.Close()
	_, err = conn.ExecContext(b.ctx, "FLUSH TABLES WITH READ LOCK")
	b.must(err)
	b.exec(n, insert)
	b.rows++
	short, cancel := context.WithTimeout(b.ctx, 500*time.Millisecond)
	defer cancel()
	if err := held.catchUp(short); err == nil {
		b.Error("a node that applies nothing has caught up")
	}
	_, err = conn.ExecContext(b.ctx, "UNLOCK TABLES")
	b.must(err)
	b.must(held.catchUp(b.ctx))
	var count int
	b.must(held.AdminDB().QueryRowContext(b.ctx, "SELECT COUNT(*) FROM app.rows_written").Scan(&count))
	if count != b.rows {
		b.Errorf("%d rows of %d on a node that has caught up", count, b.rows)
	}
}

func (b *bench) rejectQueries(n *Node) {
	b.must(n.RejectQueries(b.ctx, "ALL"))
	b.refused(n, "DO 1", 1047)
	b.must(n.RejectQueries(b.ctx, "ALL_KILL"))
	b.refused(n, "DO 1", 1047)
	b.must(n.RejectQueries(b.ctx, "NONE"))
	b.exec(n, "DO 1")
	if err := n.RejectQueries(b.ctx, "SOME"); err == nil {
		b.Error("a mode that does not exist was taken")
	}
}

func (b *bench) desync(n *Node) {
	b.must(n.Desync(b.ctx, true))
	b.must(n.Desync(b.ctx, true))
	b.status(n, "wsrep_local_state", "2")
	b.must(n.Desync(b.ctx, false))
	b.must(n.WaitSynced(b.ctx))
}

func (b *bench) readOnly(n *Node) {
	b.must(n.ReadOnly(b.ctx, true))
	b.refused(n, insert, 1290)
	b.must(n.ReadOnly(b.ctx, false))
	b.whole()
}

func (b *bench) maxConnections(n *Node) {
	b.must(n.MaxConnections(b.ctx, 10))
	var conns []*sql.Conn
	var err error
	for range 12 {
		var conn *sql.Conn
		if conn, err = b.clients[n].Conn(b.ctx); err != nil {
			break
		}
		conns = append(conns, conn)
	}
	var refusal *mysql.MySQLError
	if !errors.As(err, &refusal) || refusal.Number != 1040 {
		b.Errorf("after %d connections: %v, want error 1040", len(conns), err)
	}
	for _, conn := range conns {
		b.must(conn.Close())
	}
	b.must(n.MaxConnections(b.ctx, 0))
	b.exec(n, "DO 1")
}

func (b *bench) freeze(n *Node) {
	b.must(n.Freeze())
	if !n.Running() || !throwaway.Frozen(n.Pid()) {
		b.Error("the frozen node does not run, or is not frozen")
	}
	short, cancel := context.WithTimeout(b.ctx, 300*time.Millisecond)
	defer cancel()
	if err := b.clients[n].PingContext(short); err == nil {
		b.Error("a frozen node answered")
	}
	b.must(n.Resume())
	b.whole()
}

func (b *bench) isolate(n *Node) {
	b.must(n.Isolate(b.ctx))
	b.refused(n, "DO 1", 1047)
	b.status(n, "wsrep_cluster_status", "non-Primary")
	b.must(n.Rejoin(b.ctx))
	b.must(n.WaitSynced(b.ctx))
	b.whole()
}

// kill checks that a restart after a kill needs no full state transfer.
func (b *bench) kill(n *Node) {
	b.must(n.Kill())
	b.must(n.Kill())
	if n.Running() || n.Pid() != 0 {
		b.Error("the killed node runs")
	}
	if err := n.WaitSynced(b.ctx); err == nil {
		b.Error("a node that does not run got synced")
	}
	b.must(b.cluster.WaitSynced(b.ctx))
	b.must(n.Start(b.ctx))
	if err := n.Start(b.ctx); err == nil {
		b.Error("a node that runs was started")
	}
	if b.fullTransfers(n) != 0 {
		b.Errorf("%s did not come back by IST:%s", n.Name, throwaway.Tail(n.errorLog()))
	}
	b.whole()
}

func (b *bench) shutdown(n *Node) {
	b.must(n.restart(b.ctx))
	b.whole()
}

// wipe ends a second node too, so that the third one has no majority when the
// first of the two starts.
func (b *bench) wipe(n *Node) {
	b.must(n.Wipe())
	b.must(b.cluster.WaitSynced(b.ctx))
	// The third node has no majority when the second one dies.
	b.must(b.cluster.Nodes[1].Kill())
	b.must(b.cluster.WaitSynced(b.ctx))
	b.must(b.cluster.Nodes[1].Start(b.ctx))
	b.must(b.cluster.WaitSynced(b.ctx))
	b.must(b.cluster.Nodes[1].Kill())
	b.must(b.cluster.Nodes[1].Start(b.ctx))
	b.must(n.Start(b.ctx))
	if b.fullTransfers(n) != 1 {
		b.Errorf("%s came back without a full state transfer", n.Name)
	}
	b.whole()
}

// alone checks that a node in a group of its own takes writes that the others do
// not have, and has theirs again after a Heal.
func (b *bench) alone(n *Node) {
	b.must(n.Kill())
	b.must(b.cluster.WaitSynced(b.ctx))
	b.must(n.StartAlone(b.ctx))
	b.exec(n, insert)
	b.status(n, "wsrep_cluster_size", "1")
	b.status(b.cluster.Nodes[1], "wsrep_cluster_size", "2")
	b.must(b.cluster.Heal(b.ctx))
	b.whole()
}

// heal finds one node frozen, two down and the last one without a majority. A
// second time it finds all of them down.
func (b *bench) heal(n *Node) {
	nodes := b.cluster.Nodes
	b.must(nodes[0].ReadOnly(b.ctx, true))
	b.must(nodes[0].RejectQueries(b.ctx, "ALL"))
	b.must(nodes[0].Freeze())
	b.must(nodes[1].Kill())
	b.must(nodes[2].Kill())
	b.must(b.cluster.Heal(b.ctx))
	b.whole()
	for _, n := range nodes {
		b.must(n.Kill())
	}
	b.must(b.cluster.Heal(b.ctx))
	b.whole()
}

// fullTransfers returns how often the node got all its data from another one.
func (b *bench) fullTransfers(n *Node) int {
	b.Helper()
	text, err := os.ReadFile(n.errorLog())
	b.must(err)
	return strings.Count(string(text), "rsync SST completed on joiner")
}
