package clustersql

import (
	"context"
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
// to know and no check has looked at.
func (c *Config) fitness(d dialect.Dialect) Check {
	checks := []dialect.Check{c.Check}
	if c.Check == nil {
		checks[0] = d.Check()
	}
	if c.Require == RequireWritable {
		checks = append(checks, d.Writable())
	}
	if c.CheckQuery != "" {
		checks = append(checks, dialect.QueryCheck(c.CheckQuery))
	}
	allowDonor := c.AllowDonor
	return func(ctx context.Context, backend driver.Conn) error {
		dialect.ReportOf(ctx).AllowDonor = allowDonor
		for _, check := range checks {
			if err := check(ctx, backend); err != nil {
				return err
			}
		}
		return d.Observe(ctx, backend)
	}
}
