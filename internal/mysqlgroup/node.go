package mysqlgroup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/EnumApps/clustersql/internal/throwaway"
	"github.com/go-sql-driver/mysql"
)

// User, Password and Database are what DSN uses. The user has all rights on the
// database, and may see the members of the group and what a server follows. Blind is a
// user with the same password, who may not.
const (
	User     = "app"
	Blind    = "blind"
	Password = "app"
	Database = "app"
)

const (
	adminUser    = "root"
	recoveryUser = "recovery"
)

// A Node is one server of a group. Its methods may be called from any goroutine,
// but those that start or end the server by one goroutine at a time.
type Node struct {
	// Name is n1, n2, …
	Name string

	// immutable after start
	group  *Group
	number int
	dir    string
	ports  throwaway.Ports
	admin  *sql.DB

	demoted atomic.Bool // it starts read-only

	// mu guards the field below; it is held only while it is read or written
	mu      sync.Mutex
	process *throwaway.Process // the one that was started last; nil before the first
}

func newNode(g *Group, number int, p throwaway.Ports) *Node {
	name := fmt.Sprintf("n%d", number)
	n := &Node{Name: name, group: g, number: number, dir: filepath.Join(g.dir, name), ports: p}
	n.admin = openAdmin(n.socket())
	return n
}

// Addr returns the host:port on which the node speaks MySQL.
func (n *Node) Addr() string { return throwaway.Addr(n.ports.At(0)) }

// DSN returns a DSN of go-sql-driver/mysql for the user app. params are its
// parameters, such as "timeout=1s&readTimeout=2s", and may be "".
func (n *Node) DSN(params string) string { return n.DSNOf(User, params) }

// DSNOf is DSN for another user with the same password.
func (n *Node) DSNOf(user, params string) string {
	dsn := user + ":" + Password + "@tcp(" + n.Addr() + ")/" + Database
	if params != "" {
		dsn += "?" + params
	}
	return dsn
}

// openAdmin connects to nothing yet. The administrator has no password, and may
// come by the unix socket only, which is in a folder of the servers' user.
func openAdmin(socket string) *sql.DB {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr = "unix", socket
	cfg.User = adminUser
	cfg.InterpolateParams = true
	cfg.Logger = &mysql.NopLogger{} // nodes die under it all the time
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		panic("mysqlgroup: administrator's configuration: " + err.Error())
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(2)
	db.SetMaxIdleConns(1)
	return db
}

// Exec runs statements as the administrator, one after the other. Without a
// deadline there are 30 s.
func (n *Node) Exec(ctx context.Context, statements ...string) error {
	ctx, cancel := throwaway.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, s := range statements {
		if _, err := n.admin.ExecContext(ctx, s); err != nil {
			return n.fail(s, err)
		}
	}
	return nil
}

// Ask asks for one value as the administrator. Without a deadline there are
// 30 s.
func (n *Node) Ask(ctx context.Context, query string, args ...any) (string, error) {
	var value sql.NullString
	err := n.Scan(ctx, &value, query, args...)
	return value.String, err
}

// Scan asks for one value as the administrator, and puts it where to says.
// Without a deadline there are 30 s.
func (n *Node) Scan(ctx context.Context, to any, query string, args ...any) error {
	ctx, cancel := throwaway.WithTimeout(ctx, callTimeout)
	defer cancel()
	return n.wrap(query, n.admin.QueryRowContext(ctx, query, args...).Scan(to))
}

// Column asks for one column as the administrator. Without a deadline there are
// 30 s.
func (n *Node) Column(ctx context.Context, query string, args ...any) (values []string, err error) {
	ctx, cancel := throwaway.WithTimeout(ctx, callTimeout)
	defer cancel()
	rows, err := n.admin.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, n.wrap(query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			return nil, n.wrap(query, err)
		}
		values = append(values, value)
	}
	return values, n.wrap(query, rows.Err())
}

// A view is what a node says of itself and its group.
type view struct {
	state, role  string
	online, size int
}

const viewQuery = `SELECT COALESCE(MAX(IF(MEMBER_ID = @@GLOBAL.server_uuid, MEMBER_STATE, NULL)), 'OFFLINE'),
COALESCE(MAX(IF(MEMBER_ID = @@GLOBAL.server_uuid, MEMBER_ROLE, NULL)), ''), COALESCE(SUM(MEMBER_STATE = 'ONLINE'), 0), COUNT(*)
FROM performance_schema.replication_group_members`

func (n *Node) view(ctx context.Context) (v view, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	err = n.admin.QueryRowContext(ctx, viewQuery).Scan(&v.state, &v.role, &v.online, &v.size)
	return v, err
}

// wait waits until the node's view is as it should be. It fails if the server
// does not run or ends, and if ctx is done.
func (n *Node) wait(ctx context.Context, what string, done func(view) bool) error {
	p := n.live()
	if p == nil {
		return n.fail("waiting until "+what, throwaway.ErrEnded)
	}
	last := "no answer"
	err := throwaway.Poll(ctx, p.Done(), func() bool {
		v, err := n.view(ctx)
		if err != nil {
			last = err.Error()
			return false
		}
		last = fmt.Sprintf("%+v", v)
		return done(v)
	})
	if err != nil {
		return n.fail("waiting until "+what+", last seen: "+last, err)
	}
	return nil
}

// Running reports whether the server's process exists. A frozen one does.
func (n *Node) Running() bool { return n.live() != nil }

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
	n.ports.Release()
}

func (n *Node) data() string     { return filepath.Join(n.dir, "data") }
func (n *Node) socket() string   { return filepath.Join(n.dir, "sock") }
func (n *Node) errorLog() string { return filepath.Join(n.dir, "error.log") }

func (n *Node) log(format string, args ...any) {
	n.group.log.Printf("%s: "+format, append([]any{n.Name}, args...)...)
}

// wrap adds the node and what was done to an error, if there is one.
func (n *Node) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("mysqlgroup: %s: %s: %w", n.Name, what, err)
}

// fail is wrap with the last lines of the server's error log. It also finds out
// whether a port was the reason.
func (n *Node) fail(what string, err error) error {
	lines := throwaway.Tail(n.errorLog())
	if strings.Contains(lines, "ddress already in use") || errors.Is(err, throwaway.ErrEnded) && !n.ports.Free() {
		err = fmt.Errorf("%w: %w", err, throwaway.ErrPortTaken)
	}
	return fmt.Errorf("mysqlgroup: %s: %s: %w%s", n.Name, what, err, lines)
}
