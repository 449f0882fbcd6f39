package pgcluster

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// User and Database are what DSN uses. The user owns the database and has no
// other rights. Admin is the superuser. Nobody needs a password.
const (
	User     = "app"
	Database = "app"
	Admin    = "postgres"
)

// A Node is one server of a cluster. Its methods may be called from any
// goroutine, but those that start or end the server, or change whom it follows,
// by one goroutine at a time.
type Node struct {
	// Name is n1, n2, …
	Name string

	// immutable after start
	cluster *Cluster
	dir     string
	ports   throwaway.Ports

	// mu guards the fields below; it is held only while they are read or
	// written
	mu      sync.Mutex
	process *throwaway.Process // the one that was started last; nil before the first
	link    *link              // the way to the node that it follows; nil if it follows none
	changed map[string]bool    // the names of the settings that Set has changed
	crowd   []net.Conn
}

func newNode(c *Cluster, name string, p throwaway.Ports) *Node {
	return &Node{Name: name, cluster: c, dir: filepath.Join(c.dir, name), ports: p, changed: make(map[string]bool)}
}

// Port returns the port on which the node speaks PostgreSQL.
func (n *Node) Port() int { return n.ports.At(0) }

// Addr returns the host:port on which the node speaks PostgreSQL.
func (n *Node) Addr() string { return throwaway.Addr(n.Port()) }

// Data returns the folder of the node's data. pg_hba.conf is there too.
func (n *Node) Data() string { return filepath.Join(n.dir, "data") }

// DSN returns a URL for the user app that pgx and lib/pq take. params are
// further parameters, such as "connect_timeout=2", and may be "".
func (n *Node) DSN(params string) string { return n.DSNOf(User, params) }

// DSNOf is DSN for another role.
func (n *Node) DSNOf(role, params string) string {
	u := url.URL{Scheme: "postgres", User: url.User(role), Host: n.Addr(), Path: Database, RawQuery: "sslmode=disable"}
	if params != "" {
		u.RawQuery += "&" + params
	}
	return u.String()
}

// Pid returns the postmaster's process id, or 0 if it does not run.
func (n *Node) Pid() int {
	if p := n.live(); p != nil {
		return p.Pid()
	}
	return 0
}

// Running reports whether the postmaster exists. A frozen one does.
func (n *Node) Running() bool { return n.live() != nil }

// live returns the postmaster's process while it runs, and else nil.
func (n *Node) live() *throwaway.Process {
	n.mu.Lock()
	p := n.process
	n.mu.Unlock()
	if p == nil || p.HasEnded() {
		return nil
	}
	return p
}

// isStandby reports whether the node is a standby by its data: it is one, or
// will be when it starts.
func (n *Node) isStandby() bool {
	_, err := os.Stat(n.standbySignal())
	return err == nil
}

// Upstream returns the node that this one follows, or will follow when it is
// started; nil if it follows none.
func (n *Node) Upstream() *Node {
	if l := n.way(); l != nil {
		return l.to
	}
	return nil
}

// way returns the link, or nil.
func (n *Node) way() *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.link
}

// lay gives the node a way to another one, in place of the one it has. A nil to
// leaves it without.
func (n *Node) lay(to *Node) error {
	var l *link
	if to != nil {
		var err error
		if l, err = newLink(to); err != nil {
			return n.wrap("making a way to "+to.Name, err)
		}
	}
	n.mu.Lock()
	was := n.link
	n.link = l
	n.mu.Unlock()
	if was != nil {
		was.Close()
	}
	return nil
}

// close releases what the node holds. Its processes must have ended.
func (n *Node) close() {
	_ = n.lay(nil)
	n.ports.Release()
}

func (n *Node) errorLog() string      { return filepath.Join(n.dir, "log") }
func (n *Node) standbySignal() string { return filepath.Join(n.Data(), "standby.signal") }

func (n *Node) log(format string, args ...any) {
	n.cluster.log.Printf("%s: "+format, append([]any{n.Name}, args...)...)
}

// wrap adds the node and what was done to an error, if there is one.
func (n *Node) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("pgcluster: %s: %s: %w", n.Name, what, err)
}

// fail is wrap with the last lines of the server's log. If the server has ended,
// it also finds out whether a port was the reason.
func (n *Node) fail(what string, err error) error {
	lines := throwaway.Tail(n.errorLog())
	if errors.Is(err, throwaway.ErrEnded) && (strings.Contains(lines, "ddress already in use") || !n.ports.Free()) {
		err = fmt.Errorf("%w: %w", err, throwaway.ErrPortTaken)
	}
	return fmt.Errorf("pgcluster: %s: %s: %w%s", n.Name, what, err, lines)
}
