package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"

	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/dialect"
)

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

// fitness returns all that a cluster asks of a connection: its check, then what
// require and check_query add. After these the dialect notes what a probe wants
// to know and no check has looked at. manual says that autocommit is off: a
// check of the program may then leave a transaction open.
func (c *Config) fitness(d dialect.Dialect, manual bool) Check {
	checks := []dialect.Check{c.Check}
	if c.Check == nil {
		checks[0] = d.Check()
	}
	if c.Require == RequireWritable {
		checks = append(checks, d.Writable())
	}
	if c.CheckQuery != "" {
		checks = append(checks, d.Query(c.CheckQuery))
	}
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
		if f.Asked || manual {
			if err := d.Tidy(ctx, backend); err != nil {
				return err
			}
		}
		return d.Observe(ctx, backend)
	}
}
