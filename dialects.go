package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/dialects"
	"github.com/EnumApps/clustersql/internal/drivers"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/logline"
	"github.com/EnumApps/clustersql/internal/mysql"
	"github.com/EnumApps/clustersql/internal/postgres"
	"github.com/EnumApps/clustersql/internal/redact"
	"github.com/EnumApps/clustersql/internal/roles"
	"github.com/EnumApps/clustersql/internal/socket"
)

// Dialect names the database that a cluster's backend speaks to; see
// [Config.Dialect].
type Dialect string

const (
	// DialectByBackend takes the dialect of the backend: go-sql-driver/mysql, pgx
	// and lib/pq have one. For other backends it is the generic dialect.
	DialectByBackend Dialect = ""
	// DialectMySQL is the dialect of MariaDB, MySQL and Galera.
	DialectMySQL Dialect = "mysql"
	// DialectPostgres is the dialect of PostgreSQL, for pgx and lib/pq. It imports
	// no driver: the backend is the program's.
	DialectPostgres Dialect = "postgres"
	// DialectGeneric is for any backend. It uses Ping as the check. It knows the
	// errors of sockets, and by their types those of the drivers above: the backend
	// may wrap one of them.
	DialectGeneric Dialect = "generic"
)

// UnmarshalText sets the value from its text in config.toml.
func (d *Dialect) UnmarshalText(text []byte) error { return setChoice(d, text, Dialect.problem) }

func (d Dialect) problem() error {
	switch d {
	case DialectByBackend, DialectMySQL, DialectPostgres, DialectGeneric:
		return nil
	}
	return fmt.Errorf("there is no dialect %s: use \"mysql\", \"postgres\" or \"generic\", or leave it out", conffile.Quote(string(d)))
}

// dialectOf returns the dialect for a backend: the one that the configuration
// names, else the one whose database the backend speaks to, else generic.
func (c *Config) dialectOf(backend driver.Driver) dialect.Dialect {
	switch c.Dialect {
	case DialectMySQL:
		return mysql.Dialect{}
	case DialectPostgres:
		return postgres.Dialect{}
	case DialectGeneric:
		return dialects.Generic{}
	}
	return dialects.Speaking(backend)
}

// tellUnknown writes one line if nothing is known of the backend's database,
// and the program has not said that this is meant. A driver that wraps the mysql
// driver looks like that.
func (m *manager) tellUnknown(d dialect.Dialect) {
	if dialects.Unknown(d) && m.cfg().Dialect == DialectByBackend && m.cfg().Check == nil && m.cfg().CheckQuery == "" && !m.told.Swap(true) {
		m.log.Print(logline.Unknown, fmt.Sprintf("set dialect = %q or %q if it wraps a driver of these, else check_query or dialect = %q", string(DialectMySQL), string(DialectPostgres), string(DialectGeneric)))
	}
}

// validateFor returns a *SettingError for a setting that cannot work with the
// backend. A cluster without a backend has that of each node's connector.
func (c *Config) validateFor(backend driver.Driver) error {
	if backend == nil {
		return nil
	}
	return c.suits(c.dialectOf(backend))
}

// suits returns a *SettingError for a setting that cannot work with the dialect.
// A generic backend may wrap the mysql driver. A program that also names a check
// says that it does.
func (c *Config) suits(d dialect.Dialect) error {
	if !dialects.Unknown(d) || c.RoleQuery != "" && (c.LagQuery != "" || c.MaxLag == 0) {
		return nil
	}
	const cure = "set dialect = \"mysql\" or \"postgres\" if it wraps a driver of these, or use %s"
	switch {
	case c.MaxLag > 0 && c.LagQuery == "":
		return &SettingError{"max_lag", "nobody can tell the lag of a node, because the backend's database is not known: " + fmt.Sprintf(cure, "lag_query")}
	case c.Require != RequireAny && c.RoleQuery == "" && c.Check == nil:
		return &SettingError{"require", fmt.Sprintf("%q needs to know what a node is, and the backend's database is not known: %s", string(c.Require), fmt.Sprintf(cure, "role_query"))}
	}
	return nil
}

// namedChecks are the checks by their names in config.toml.
var namedChecks = map[string]Check{"ping": CheckPing, "do1": CheckDo1, "galera": CheckGalera}

// CheckPing calls the backend's Ping. A backend without Ping passes, as with
// database/sql.
func CheckPing(ctx context.Context, backend driver.Conn) error { return dialect.Ping(ctx, backend) }

// CheckDo1 runs DO 1, the smallest statement of MariaDB and MySQL: it needs no
// table, no right and one packet. A Galera node that refuses work (not in a
// primary component, joining, wsrep_reject_queries) answers it with error 1047.
// The same node still answers Ping and SELECT 1.
func CheckDo1(ctx context.Context, backend driver.Conn) error { return mysql.Do1(ctx, backend) }

// CheckGalera is the check for Galera nodes. It runs DO 1, which a node that
// refuses work answers with error 1047. It also asks for the node's status on
// every fifth probe, on every probe of a node that is not up or is a donor, and
// when it is called outside of a cluster's check. By its status a node is fit
// if it is in the primary component, ready and Synced. A donor, a node that was
// desynced, and one that catches up after that (Joined) are fit but used last;
// see [Config.AllowDonor]. On a server without wsrep CheckGalera returns an error
// that says so. A check of your own that calls CheckGalera must pass it the ctx
// that it was given.
func CheckGalera(ctx context.Context, backend driver.Conn) error { return mysql.Galera(ctx, backend) }

// defaultDriver is the backend of a cluster whose file names none.
const defaultDriver = "mysql"

// dsnOf returns the DSN of a node in a file.
func dsnOf(n *conffile.Node) (string, error) {
	if n.Account != nil {
		return mysql.Account(*n.Account).DSN()
	}
	return n.DSN, nil
}

// A Check judges whether a connection is fit for use; nil means fit. It runs on
// a fresh connection before database/sql gets it, within what is left of
// attempt_timeout, and on the probe connection. Nobody else uses the backend's
// conn meanwhile. The check must not keep the conn or close it.
type Check func(ctx context.Context, backend driver.Conn) error

// QueryRow runs a query on a backend's connection, for a [Check] of a program's
// own. It returns the columns of the first row as texts; NULL is "". Without a
// row the error is [database/sql.ErrNoRows]. It uses the backend's fast path
// where there is one, else a prepared statement, and closes what it opens. ctx
// bounds it as far as the backend heeds ctx.
func QueryRow(ctx context.Context, backend driver.Conn, query string) ([]string, error) {
	dialect.ReportOf(ctx).Asked = true
	rows, err := dialect.QueryRows(ctx, backend, query, 1)
	switch {
	case err != nil:
		return nil, err
	case len(rows) == 0:
		return nil, sql.ErrNoRows
	}
	return rows[0], nil
}

// UnmarshalText sets the check from its name in config.toml.
func (c *Check) UnmarshalText(text []byte) error {
	check, ok := namedChecks[string(text)]
	if !ok {
		return fmt.Errorf("unknown check %s: use \"do1\" (mysql's default), \"galera\" or \"ping\"", conffile.Quote(string(text)))
	}
	*c = check
	return nil
}

// A question is what is asked of a conn.
type question struct {
	want    health.Scope  // what the check has to look at
	lasting *socket.Slot  // takes note of the first answer on the lasting connection; nil on a new one
	settle  bool          // it is a new conn of a probe: give it settings of ours first
	causal  bool          // it is not, and queries on it may wait for the node's Galera group
	by      time.Time     // when a probe is past its deadline
	brief   bool          // nothing is asked without whose answer the node is used all the same
	member  bool          // but for its state in the group for which it is set up
	site    *dialect.Site // what is known of the node's database, where the node is to be asked for its position; else nil
}

// extra returns the context for a question without whose answer the node is used all
// the same. It ends before the probe is past its deadline: then the node would count
// as silent.
func (q question) extra(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, time.Until(q.by)*3/4)
}

// fitness returns all that a cluster asks of a connection: its check, then what
// a probe wants to know and that has not looked at, then what check_query and require
// add. The connection may be spent by the last of these. manual says that autocommit
// is off: a check of the program may then leave a transaction open.
func (c *Config) fitness(d dialect.Dialect, manual bool) Check {
	checks := []dialect.Check{c.Check}
	if c.Check == nil {
		checks[0] = d.Check()
	}
	checks = append(checks, d.Observe)
	if c.CheckQuery != "" {
		checks = append(checks, dialect.QueryCheck(c.CheckQuery, d.Ask))
	}
	wanted := c.wanted(d)
	checks = append(checks, func(ctx context.Context, backend driver.Conn) error { return wanted.Examine(ctx, d, backend) })
	allowDonor := c.AllowDonor
	manual = manual && c.Check != nil
	return func(ctx context.Context, backend driver.Conn) error {
		f := dialect.ReportOf(ctx)
		f.AllowDonor = allowDonor
		for _, check := range checks {
			if err := check(ctx, backend); err != nil {
				return err
			}
		}
		if (f.Asked || manual) && !f.Spent {
			return d.Tidy(ctx, backend)
		}
		return nil
	}
}

// A recipe is how connections to a node are made and checked. It is never
// changed. A new password or new settings replace the recipe of a node, and the
// connections that there are stay as they are.
type recipe struct {
	dsn, addr string // as in a members.Node
	connector driver.Connector
	owned     *drivers.Owned // nil if the cluster need not close the connector
	check     Check
	redact    redact.Redactor
	former    *formerly // of the recipes before, the latest first: errors of older connections may come late
}

// formerRedactors is how many recipes back secrets are taken out of texts.
const formerRedactors = 8

// recipe returns the node's recipe as it is now.
func (d *dialer) recipe() *recipe {
	if d.recipes == nil {
		return &recipe{}
	}
	return d.recipes.Load()
}

// recipeInUse returns the node's recipe, whose connector stays open until the
// caller says that it is done.
func (d *dialer) recipeInUse() *recipe {
	for {
		if r := d.recipe(); r.owned.Use() {
			return r
		}
	}
}

// newRecipes returns the place of a node's recipe.
func newRecipes(r recipe) *atomic.Pointer[recipe] {
	p := new(atomic.Pointer[recipe])
	p.Store(&r)
	return p
}

// hide returns a text without the recipe's secrets and those of the recipes before.
func (r *recipe) hide(text string) string {
	text = r.redact.Text(text)
	for f := r.former; f != nil; f = f.before {
		text = f.redact.Text(text)
	}
	return text
}

// A formerly is what was secret in a recipe that was replaced.
type formerly struct {
	redact redact.Redactor
	before *formerly
}

// after returns the recipe as the successor of another one of the same node.
func (r recipe) after(old *recipe) *recipe {
	r.former = old.former
	if r.dsn == old.dsn {
		return &r
	}
	r.former = &formerly{redact: old.redact}
	last := r.former
	for i, f := 1, old.former; f != nil && i < formerRedactors; i, f = i+1, f.before {
		last.before = &formerly{redact: f.redact}
		last = last.before
	}
	return &r
}

// Require is what a node must be, besides working, for a cluster to use it; see
// [Config.Require]. The words are those of libpq's target_session_attrs, and
// prefer-primary.
type Require string

const (
	// RequireAny accepts every node that works. In a file it may be written as
	// "any".
	RequireAny Require = ""
	// RequireReadWrite accepts only nodes on which transactions may write.
	RequireReadWrite Require = "read-write"
	// RequireReadOnly accepts only nodes on which transactions may not write.
	RequireReadOnly Require = "read-only"
	// RequirePrimary accepts only nodes that follow no other server.
	RequirePrimary Require = "primary"
	// RequireStandby accepts only nodes that follow another server.
	RequireStandby Require = "standby"
	// RequirePreferStandby accepts every node, and uses the others only while no
	// standby is up.
	RequirePreferStandby Require = "prefer-standby"
	// RequirePreferPrimary accepts every node, and uses the others only while no
	// primary is up.
	RequirePreferPrimary Require = "prefer-primary"
	// RequireWritable is the older name of RequireReadWrite.
	RequireWritable Require = "writable"
)

// UnmarshalText sets the value from its text in config.toml.
func (r *Require) UnmarshalText(text []byte) error {
	if string(text) == "any" {
		text = nil
	}
	return setChoice(r, text, Require.problem)
}

func (r Require) problem() error {
	switch r {
	case RequireAny, RequireReadWrite, RequireReadOnly, RequirePrimary, RequireStandby, RequirePreferStandby, RequirePreferPrimary, RequireWritable:
		return nil
	}
	return fmt.Errorf("there is no %s to require: use \"read-write\", \"read-only\", \"primary\", \"standby\", \"prefer-standby\" or \"prefer-primary\", or leave it out", conffile.Quote(string(r)))
}

// is returns the requirement in the form in which it can be judged.
func (r Require) is() roles.Require { return roles.Require(r) }

// wanted returns what the cluster wants of a node's part in replication.
func (c *Config) wanted(d dialect.Dialect) *roles.Wanted {
	return &roles.Wanted{Require: c.Require.is(), MaxLag: c.MaxLag, RoleQuery: c.RoleQuery, LagQuery: c.LagQuery, Unknown: dialects.Unknown(d), Mixed: c.Groups == GroupsAny}
}

// looksAtRoles reports whether every probe looks at the node's part in
// replication.
func (c *Config) looksAtRoles() bool { return c.wanted(nil).Looks() }

// Role is the part that a node has in replication, as it says itself.
type Role uint8

const (
	// RoleUnknown is a node that does not say, or was not asked.
	RoleUnknown Role = iota
	// RolePrimary is a node that follows no other server. All nodes of a Galera
	// group are such nodes.
	RolePrimary
	// RoleReplica is a node that follows another server: a standby.
	RoleReplica
)

// String returns the role's name in lower case.
func (r Role) String() string {
	if r > RoleReplica {
		return fmt.Sprintf("Role(%d)", uint8(r))
	}
	return health.Role(r).String()
}

// Access says whether transactions on a node may write, as it says itself.
type Access uint8

const (
	// AccessUnknown is a node that does not say, or was not asked.
	AccessUnknown Access = iota
	// AccessReadWrite is a node that takes writes.
	AccessReadWrite
	// AccessReadOnly is a node that refuses writes.
	AccessReadOnly
)

// String returns libpq's word for it.
func (a Access) String() string {
	if a > AccessReadOnly {
		return fmt.Sprintf("Access(%d)", uint8(a))
	}
	return health.Access(a).String()
}
