package galera

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/relay"
	"github.com/EnumApps/clustersql/internal/throwaway"
)

// User, Password and Database are what DSN uses. The user has all rights on the
// database, and no other rights.
const (
	User     = "app"
	Password = "app"
	Database = "app"
)

// ports are those of a node.
type ports struct{ throwaway.Ports }

func (p ports) mysql() int { return p.At(0) }
func (p ports) group() int { return p.At(1) }
func (p ports) ist() int   { return p.At(2) }
func (p ports) sst() int   { return p.At(3) }

// A Node is one server of a cluster. Its methods may be called from any
// goroutine, but those that start or end the server by one goroutine at a time.
type Node struct {
	// Name is n1, n2, …
	Name string

	// immutable after start
	cluster *Cluster
	id      int // 1, 2, …
	dir     string
	ports   ports
	admin   *sql.DB

	// shared (atomic)
	connLimit atomic.Int64 // max_connections before its first change; 0 before that
	apart     atomic.Bool  // it was started alone, and not wiped since
	demoted   atomic.Bool  // it was made a replica, and not promoted since
	wipes     atomic.Int64 // how often it was wiped

	// mu guards the fields below; it is held only while they are read or
	// written
	mu      sync.Mutex
	process *throwaway.Process // the one that was started last; nil before the first
	relay   *relay.Relay       // the way to the server that it follows; nil if it follows none
}

func newNode(c *Cluster, id int, p throwaway.Ports) *Node {
	name := fmt.Sprintf("n%d", id)
	n := &Node{Name: name, cluster: c, id: id, dir: filepath.Join(c.dir, name), ports: ports{p}}
	n.admin = openAdmin(n.Socket(), c.user.Self)
	return n
}

// Addr returns the host:port on which the node speaks MySQL.
func (n *Node) Addr() string { return throwaway.Addr(n.ports.mysql()) }

// Socket returns the path of the node's unix socket.
func (n *Node) Socket() string { return filepath.Join(n.dir, "sock") }

// DSN returns a DSN of go-sql-driver/mysql for the user app. params are its
// parameters, such as "timeout=1s&readTimeout=2s", and may be "". With
// "tls=skip-verify" the connection is encrypted.
func (n *Node) DSN(params string) string {
	dsn := User + ":" + Password + "@tcp(" + n.Addr() + ")/" + Database
	if params != "" {
		dsn += "?" + params
	}
	return dsn
}

// AdminDB returns a pool for the administrator, over the unix socket, with at
// most two connections, one of them idle. The pool connects at its first use,
// and answers on a non-primary node too. The cluster closes it; the caller must
// not. Its connections count among those of the server: see AppConns.
func (n *Node) AdminDB() *sql.DB { return n.admin }

// openAdmin connects to nothing yet. The server recognises the administrator by
// the user id at the other end of the socket.
func openAdmin(socket, name string) *sql.DB {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr = "unix", socket
	cfg.User = name
	cfg.InterpolateParams = true
	cfg.Params = map[string]string{"wsrep_dirty_reads": "1"}
	cfg.Logger = &mysql.NopLogger{} // nodes die under it all the time
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		panic("galera: administrator's configuration: " + err.Error())
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(2)
	db.SetMaxIdleConns(1)
	return db
}

// Pid returns the server's process id, or 0 if it does not run.
func (n *Node) Pid() int {
	if p := n.live(); p != nil {
		return p.Pid()
	}
	return 0
}

// Running reports whether the server's process exists. A frozen one does.
func (n *Node) Running() bool { return n.live() != nil }

// Status returns a global status variable, such as Aborted_connects.
func (n *Node) Status(ctx context.Context, name string) (string, error) {
	values, err := n.status(ctx, name)
	if err != nil {
		return "", err
	}
	value, ok := values[strings.ToLower(name)]
	if !ok {
		return "", fmt.Errorf("galera: %s: no status variable %s", n.Name, name)
	}
	return value, nil
}

// AppConns counts the server's connections of the user app.
func (n *Node) AppConns(ctx context.Context) (int, error) {
	ctx, cancel := throwaway.WithTimeout(ctx, sqlTimeout)
	defer cancel()
	var count int
	err := n.admin.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = ?", User).Scan(&count)
	return count, n.wrap("counting connections", err)
}

// WaitSynced waits until the node is Synced, ready and in a primary component. A
// replica is waited for until it has all that the primary has. It fails if the
// server does not run or ends, and if ctx is done. Without a deadline it waits
// for at most 3 minutes.
func (n *Node) WaitSynced(ctx context.Context) error {
	ctx, cancel := throwaway.WithTimeout(ctx, startTimeout)
	defer cancel()
	return n.waitView(ctx, 0)
}

// waitView is WaitSynced for a component of size nodes; 0 is any size.
func (n *Node) waitView(ctx context.Context, size int) error {
	if n.cluster.opts.replicas {
		return n.catchUp(ctx)
	}
	p := n.live()
	if p == nil {
		return n.fail("waiting until synced", throwaway.ErrEnded)
	}
	last := "no answer"
	err := throwaway.Poll(ctx, p.Done(), func() bool {
		v, err := n.view(ctx)
		if err != nil {
			return false
		}
		last = fmt.Sprintf("%+v", v)
		return v.synced() && (size == 0 || v.size == fmt.Sprint(size))
	})
	if err != nil {
		return n.fail("waiting until synced, last seen: "+last, err)
	}
	return nil
}

// waitMember waits until n is in the group and other sees a group of size
// nodes. n may still be catching up then.
func (n *Node) waitMember(ctx context.Context, other *Node, size int) error {
	p := n.live()
	if p == nil {
		return n.fail("joining the group", throwaway.ErrEnded)
	}
	err := throwaway.Poll(ctx, p.Done(), func() bool {
		v, err := other.view(ctx)
		return err == nil && v.primary() && v.size == fmt.Sprint(size)
	})
	if err != nil {
		return n.fail("joining the group", err)
	}
	return nil
}

// A view is what a node says about itself and its group.
type view struct{ state, ready, status, size string }

func (v view) primary() bool { return v.status == "Primary" }
func (v view) synced() bool  { return v.primary() && v.state == "4" && v.ready == "ON" }

func (n *Node) view(ctx context.Context) (view, error) {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	s, err := n.status(ctx, "wsrep_local_state", "wsrep_ready", "wsrep_cluster_status", "wsrep_cluster_size")
	return view{s["wsrep_local_state"], s["wsrep_ready"], s["wsrep_cluster_status"], s["wsrep_cluster_size"]}, err
}

// status returns the variables that exist, with their names in lower case.
func (n *Node) status(ctx context.Context, names ...string) (map[string]string, error) {
	ctx, cancel := throwaway.WithTimeout(ctx, sqlTimeout)
	defer cancel()
	list := "?" + strings.Repeat(", ?", len(names)-1)
	args := make([]any, len(names))
	for i, name := range names {
		args[i] = name
	}
	rows, err := n.admin.QueryContext(ctx, "SHOW GLOBAL STATUS WHERE Variable_name IN ("+list+")", args...)
	if err != nil {
		return nil, n.wrap("reading the status", err)
	}
	defer rows.Close()
	values := make(map[string]string)
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, n.wrap("reading the status", err)
		}
		values[strings.ToLower(name)] = value
	}
	return values, n.wrap("reading the status", rows.Err())
}

// exec runs statements as the administrator, one after the other.
func (n *Node) exec(ctx context.Context, statements ...string) error {
	ctx, cancel := throwaway.WithTimeout(ctx, sqlTimeout)
	defer cancel()
	for _, s := range statements {
		if _, err := n.admin.ExecContext(ctx, s); err != nil {
			return n.fail(s, err)
		}
	}
	return nil
}

// catchUp waits until the node has applied all that any node had committed.
func (n *Node) catchUp(ctx context.Context) error {
	if n.cluster.opts.replicas {
		return n.WaitApplied(ctx, n.cluster.Primary())
	}
	ctx, cancel := throwaway.WithTimeout(ctx, sqlTimeout)
	defer cancel()
	conn, err := n.admin.Conn(ctx)
	if err != nil {
		return n.wrap("catching up", err)
	}
	defer conn.Close()
	// The administrator's sessions have wsrep_dirty_reads on. With it nothing
	// would wait.
	const patient, usual = "SET SESSION wsrep_sync_wait=1, wsrep_dirty_reads=0", "SET SESSION wsrep_sync_wait=DEFAULT, wsrep_dirty_reads=1"
	for _, s := range []string{patient, "SELECT 1", usual} {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			// Nobody else is to get the connection as it is now.
			_ = conn.Raw(func(any) error { return driver.ErrBadConn })
			return n.fail(s, err)
		}
	}
	return nil
}

// createApp makes the database and its user. The password is no secret.
func (n *Node) createApp(ctx context.Context) error {
	statements := []string{
		"CREATE DATABASE " + Database,
		"CREATE USER " + User + "@'%' IDENTIFIED BY '" + Password + "'",
		"GRANT ALL ON " + Database + ".* TO " + User + "@'%'",
	}
	if n.cluster.opts.Monitor {
		statements = append(statements, "GRANT REPLICA MONITOR ON *.* TO "+User+"@'%'")
	}
	return n.exec(ctx, statements...)
}

// live returns the server's process while it runs, and else nil.
func (n *Node) live() *throwaway.Process {
	n.mu.Lock()
	p := n.process
	n.mu.Unlock()
	if p == nil || p.HasEnded() {
		return nil
	}
	return p
}

// close releases what the node holds. Its process must have ended.
func (n *Node) close() {
	n.admin.Close()
	n.lay(nil)
	n.ports.Release()
}

func (n *Node) data() string     { return filepath.Join(n.dir, "data") }
func (n *Node) errorLog() string { return filepath.Join(n.dir, "error.log") }

// wrap adds the node and what was done to an error, if there is one.
func (n *Node) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("galera: %s: %s: %w", n.Name, what, err)
}

// fail is wrap with the last lines of the server's error log. If the server has
// ended, it also finds out whether a port was the reason, because not every
// server's log says so.
func (n *Node) fail(what string, err error) error {
	lines := throwaway.Tail(n.errorLog())
	if errors.Is(err, throwaway.ErrEnded) && (strings.Contains(lines, "ddress already in use") || !n.ports.Free()) {
		err = fmt.Errorf("%w: %w", err, throwaway.ErrPortTaken)
	}
	return fmt.Errorf("galera: %s: %s: %w%s", n.Name, what, err, lines)
}
