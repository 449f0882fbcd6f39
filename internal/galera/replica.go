package galera

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/EnumApps/clustersql/internal/relay"
	"github.com/EnumApps/clustersql/internal/throwaway"
)

// replicaArgs are the arguments with which a node starts, as its part was last.
func (n *Node) replicaArgs() []string {
	args := []string{fmt.Sprintf("--server-id=%d", n.serverID())}
	if n.demoted.Load() {
		args = append(args, "--read-only")
	}
	return args
}

// serverID returns the node's number among the servers. It is a new one after
// each Wipe, because a replica leaves out what a server with its own number has
// written.
func (n *Node) serverID() int { return n.id + 100*int(n.wipes.Load()) }

// startReplica starts a plain server and waits until it answers.
func (n *Node) startReplica(ctx context.Context) error {
	err := n.startServer(n.replicaArgs())
	if err == nil {
		err = n.waitAnswer(ctx)
	}
	if err != nil {
		return errors.Join(err, n.Kill())
	}
	return nil
}

// waitAnswer waits until the server answers.
func (n *Node) waitAnswer(ctx context.Context) error {
	p := n.live()
	if p == nil {
		return n.fail("waiting for an answer", throwaway.ErrEnded)
	}
	err := throwaway.Poll(ctx, p.Done(), func() bool {
		ctx, cancel := context.WithTimeout(ctx, probePatience)
		defer cancel()
		return n.admin.PingContext(ctx) == nil
	})
	if err != nil {
		return n.fail("waiting for an answer", err)
	}
	return nil
}

// Follow makes the node a replica of another one, and read-only. What the node
// has and the other one has not is lost: it then begins anew, and gets all data
// from the other's log. Follow does not wait until the node has all.
func (n *Node) Follow(ctx context.Context, primary *Node) error {
	ctx, cancel := throwaway.WithTimeout(ctx, startTimeout)
	defer cancel()
	n.log("follow " + primary.Name)
	n.demoted.Store(true)
	apart, err := n.differs(ctx, primary)
	if err == nil && apart {
		n.log("it has what " + primary.Name + " has not")
		if err = n.Wipe(); err == nil {
			err = n.startReplica(ctx)
		}
	}
	if err != nil {
		return err
	}
	way, err := relay.New("tcp", primary.Addr())
	if err != nil {
		return n.wrap("making a way to "+primary.Name, err)
	}
	n.lay(way)
	return n.exec(ctx,
		"SET GLOBAL read_only=ON",
		"STOP ALL SLAVES",
		"SET GLOBAL gtid_slave_pos=@@GLOBAL.gtid_binlog_pos",
		fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%d, MASTER_USER='%s', MASTER_PASSWORD='%s', "+
			"MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, MASTER_DELAY=0", throwaway.Host, way.Port(), replicator, replicatorPassword),
		"START SLAVE")
}

// differs reports whether the node has written or applied what another one has
// not.
func (n *Node) differs(ctx context.Context, other *Node) (bool, error) {
	own, err := n.variable(ctx, "gtid_binlog_pos")
	if err != nil {
		return false, err
	}
	theirs, err := other.variable(ctx, "gtid_binlog_state")
	if err != nil {
		return false, err
	}
	server, sequence := parseGTID(own)
	for gtid := range strings.SplitSeq(theirs, ",") {
		if s, q := parseGTID(gtid); s == server && q >= sequence {
			return false, nil
		}
	}
	return own != "", nil
}

// parseGTID reads the server and the number of a GTID. All GTIDs are of one
// domain.
func parseGTID(gtid string) (server, sequence int64) {
	parts := strings.Split(strings.TrimSpace(gtid), "-")
	if len(parts) != 3 {
		return 0, 0
	}
	server, _ = strconv.ParseInt(parts[1], 10, 64)
	sequence, _ = strconv.ParseInt(parts[2], 10, 64)
	return server, sequence
}

// sequence returns the number of the last transaction that a replica has applied.
func (n *Node) sequence(ctx context.Context) (int64, error) {
	gtid, err := n.variable(ctx, "gtid_slave_pos")
	_, sequence := parseGTID(gtid)
	return sequence, err
}

func (n *Node) variable(ctx context.Context, name string) (value string, err error) {
	ctx, cancel := throwaway.WithTimeout(ctx, sqlTimeout)
	defer cancel()
	if err := n.admin.QueryRowContext(ctx, "SELECT @@GLOBAL."+name).Scan(&value); err != nil {
		return "", n.fail(name, err)
	}
	return value, nil
}

// Promote makes a replica the primary: it follows nobody from then on, and takes
// writes. What it has received and not applied is lost, and it may lack what the
// old primary has: see [Cluster.Best] and [Cluster.Switchover]. The other
// replicas go on to follow the old primary: see [Cluster.FollowPrimary].
func (n *Node) Promote(ctx context.Context) error {
	n.log("promote")
	if err := n.FollowNobody(ctx); err != nil {
		return err
	}
	n.lay(nil)
	n.demoted.Store(false)
	n.cluster.primary.Store(n)
	return n.ReadOnly(ctx, false)
}

// FollowNobody is the first half of Promote: the node has no source any more, and takes
// no writes yet.
func (n *Node) FollowNobody(ctx context.Context) error {
	n.log("follow nobody")
	return n.exec(ctx, "STOP ALL SLAVES", "RESET SLAVE ALL")
}

// StopApplying stops the SQL thread of a replica. It receives all the same.
func (n *Node) StopApplying(ctx context.Context) error {
	return n.replicate(ctx, "STOP SLAVE SQL_THREAD")
}

// StartApplying starts the SQL thread of a replica again.
func (n *Node) StartApplying(ctx context.Context) error {
	return n.replicate(ctx, "START SLAVE SQL_THREAD")
}

// StopReceiving stops the IO thread of a replica.
func (n *Node) StopReceiving(ctx context.Context) error {
	return n.replicate(ctx, "STOP SLAVE IO_THREAD")
}

// StartReceiving starts the IO thread of a replica again.
func (n *Node) StartReceiving(ctx context.Context) error {
	return n.replicate(ctx, "START SLAVE IO_THREAD")
}

// Delay makes a replica apply each transaction so long after it was written; 0
// ends that. Parts of a second do not count.
func (n *Node) Delay(ctx context.Context, d time.Duration) error {
	return n.replicate(ctx, "STOP ALL SLAVES", fmt.Sprintf("CHANGE MASTER TO MASTER_DELAY=%d", int(d.Seconds())), "START SLAVE")
}

func (n *Node) replicate(ctx context.Context, statements ...string) error {
	n.log(strings.Join(statements, "; "))
	return n.exec(ctx, statements...)
}

// Disconnect cuts a replica off the server that it follows: its connections end,
// and new ones are closed at once. Both servers are well, and all others reach
// them. Follow undoes it too.
func (n *Node) Disconnect() { n.turn("disconnect", relay.Cut) }

// Blackhole cuts a replica off without a word: its connections stay, and nothing
// goes through them.
func (n *Node) Blackhole() { n.turn("blackhole", relay.Silent) }

// Reconnect undoes Disconnect and Blackhole. It does not wait until the replica
// has caught up.
func (n *Node) Reconnect() { n.turn("reconnect", relay.Open) }

func (n *Node) turn(what string, to relay.State) {
	n.mu.Lock()
	way := n.relay
	n.mu.Unlock()
	if way != nil {
		n.log(what)
		_ = way.Turn(to) // no error: it was never Refused
	}
}

// lay gives the node a way to the server that it follows, in place of the one it
// has. A nil way leaves it without.
func (n *Node) lay(way *relay.Relay) {
	n.mu.Lock()
	was := n.relay
	n.relay = way
	n.mu.Unlock()
	if was != nil {
		was.Close()
	}
}

// WaitApplied waits until a replica has applied all that another node has written
// or applied by now. Without a deadline it waits for at most 10 s.
func (n *Node) WaitApplied(ctx context.Context, of *Node) error {
	if n == of {
		return nil
	}
	gtid, err := of.variable(ctx, "gtid_binlog_pos")
	if err != nil {
		return err
	}
	return n.waitGTID(ctx, gtid)
}

// applyReceived waits until a replica has applied all that it has received. It
// starts the SQL thread for that.
func (n *Node) applyReceived(ctx context.Context) error {
	if err := n.StartApplying(ctx); err != nil {
		return err
	}
	f, err := n.following(ctx)
	if err != nil || f == nil {
		return err
	}
	return n.waitGTID(ctx, f.received)
}

// waitGTID waits until a replica has applied a transaction, and all before it. It
// fails if a thread of the replica has stopped with an error.
func (n *Node) waitGTID(ctx context.Context, gtid string) error {
	if gtid == "" {
		return nil // nothing was written
	}
	ctx, cancel := throwaway.WithTimeout(ctx, sqlTimeout)
	defer cancel()
	for {
		var code sql.NullInt64
		if err := n.admin.QueryRowContext(ctx, "SELECT MASTER_GTID_WAIT(?, 0.5)", gtid).Scan(&code); err != nil {
			return n.fail("applying up to "+gtid, err)
		}
		if code.Valid && code.Int64 == 0 {
			return nil
		}
		if f, err := n.following(ctx); err != nil {
			return err
		} else if f != nil && f.fault != "" {
			return n.fail("applying up to "+gtid, errors.New(f.fault))
		}
	}
}

// A following is what a replica says of the server that it follows.
type following struct {
	source   int // its number
	io, sql  string
	received string
	delay    int    // seconds
	fault    string // why a thread has stopped, if the server says so
}

// runs reports whether a node is a replica that receives and applies.
func (f *following) runs() bool { return f != nil && f.io == "Yes" && f.sql == "Yes" }

// following returns nil for a node that follows nobody.
func (n *Node) following(ctx context.Context) (*following, error) {
	ctx, cancel := throwaway.WithTimeout(ctx, sqlTimeout)
	defer cancel()
	rows, err := n.admin.QueryContext(ctx, "SHOW ALL SLAVES STATUS")
	if err != nil {
		return nil, n.fail("asking what it follows", err)
	}
	defer rows.Close()
	if !rows.Next() {
		return nil, n.wrap("asking what it follows", rows.Err())
	}
	names, err := rows.Columns()
	if err != nil {
		return nil, n.wrap("asking what it follows", err)
	}
	values, into := make([]sql.NullString, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	if err := rows.Scan(into...); err != nil {
		return nil, n.wrap("asking what it follows", err)
	}
	row := make(map[string]string)
	for i, name := range names {
		row[name] = values[i].String
	}
	f := &following{io: row["Slave_IO_Running"], sql: row["Slave_SQL_Running"], received: row["Gtid_IO_Pos"], fault: row["Last_SQL_Error"]}
	if f.io == "No" {
		f.fault += row["Last_IO_Error"] // else it tries again
	}
	f.source, _ = strconv.Atoi(row["Master_Server_Id"])
	f.delay, _ = strconv.Atoi(row["SQL_Delay"])
	return f, nil
}
