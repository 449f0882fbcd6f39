package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/EnumApps/clustersql/internal/health"
)

// A Check judges whether a connection is fit for use: nil is fit. It runs on
// a fresh connection before database/sql gets it, within the rest of
// attempt_timeout, and on the probe connection. It has the backend's conn to
// itself and must not keep it or close it.
type Check func(ctx context.Context, backend driver.Conn) error

// CheckPing asks the backend's Ping. A backend without one passes, as it does
// with database/sql.
func CheckPing(ctx context.Context, backend driver.Conn) error {
	if p, ok := backend.(driver.Pinger); ok {
		return p.Ping(ctx)
	}
	return nil
}

// CheckDo1 runs DO 1, MariaDB's and MySQL's smallest statement: no table, no
// right, one packet. A Galera node that refuses work (not in a primary
// component, joining, wsrep_reject_queries) answers it with error 1047, while
// it goes on to answer Ping and SELECT 1.
func CheckDo1(ctx context.Context, backend driver.Conn) error {
	e, ok := backend.(driver.ExecerContext)
	if !ok {
		return fmt.Errorf("check \"do1\" needs a backend whose connections implement ExecerContext: use \"ping\"")
	}
	findingOf(ctx).Saw |= health.ScopeWork
	_, err := e.ExecContext(ctx, "DO 1", nil)
	if errors.Is(err, driver.ErrSkip) {
		return fmt.Errorf("check \"do1\": the backend does not run statements without preparing them: use \"ping\"")
	}
	return err
}

// UnmarshalText sets the check by its name in config.toml.
func (c *Check) UnmarshalText(text []byte) error {
	switch string(text) {
	case "ping":
		*c = CheckPing
	case "do1":
		*c = CheckDo1
	case "galera":
		*c = CheckGalera
	default:
		return fmt.Errorf("unknown check %q: use \"do1\" (mysql's default), \"galera\" or \"ping\"", text)
	}
	return nil
}

// defaultCheck is the check for nodes of a cluster that names none.
func defaultCheck(isMySQL bool) Check {
	if isMySQL {
		return CheckDo1
	}
	return CheckPing
}

// fitness is all that a cluster asks of a connection: its check, and what
// require and check_query add. Of a mysql node a probe also notes the view
// that it has of a Galera group, whatever the check: without that a node which
// was silent would be let in too early.
func (c *Config) fitness(isMySQL bool) Check {
	checks := []Check{c.Check}
	if c.Check == nil {
		checks[0] = defaultCheck(isMySQL)
	}
	if c.Require == RequireWritable {
		checks = append(checks, checkWritable)
	}
	if c.CheckQuery != "" {
		checks = append(checks, checkQuery(c.CheckQuery))
	}
	allowDonor := c.AllowDonor
	return func(ctx context.Context, backend driver.Conn) error {
		findingOf(ctx).AllowDonor = allowDonor
		for _, check := range checks {
			if err := check(ctx, backend); err != nil {
				return err
			}
		}
		if isMySQL {
			return lookAtView(ctx, backend)
		}
		return nil
	}
}
