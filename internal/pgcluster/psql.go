package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// clientDir is where psql runs. It is beside the nodes' folders, because what
// runs in these is frozen and killed with the node.
func (c *Cluster) clientDir() string { return filepath.Join(c.dir, "client") }

// Query runs statements, each in a transaction of its own, in the database app
// as the administrator, whose statements wait for no standby and may always
// write. It returns the rows, one a line, with | between columns. Without a
// deadline it takes at most 30 s.
func (n *Node) Query(ctx context.Context, statements ...string) (string, error) {
	return n.ask(ctx, Database, statements...)
}

func (n *Node) ask(ctx context.Context, database string, statements ...string) (string, error) {
	out, err := n.psql(ctx, database, strings.Join(statements, ";\n")+";\n")
	if err != nil {
		return "", n.wrap(strings.Join(statements, "; "), err)
	}
	return out, nil
}

// psql runs a script of psql. It stops at the first error.
func (n *Node) psql(ctx context.Context, database, script string) (string, error) {
	if !n.Running() {
		return "", errDown
	}
	ctx, cancel := throwaway.WithTimeout(ctx, callTimeout)
	defer cancel()
	c := n.cluster
	target := fmt.Sprintf("host=%s port=%d user=%s dbname=%s options='-c synchronous_commit=local -c default_transaction_read_only=off'",
		n.dir, n.Port(), Admin, database)
	out, err := c.sandbox.Output(ctx, c.clientDir(), script, c.tools.file("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-", target)
	return strings.TrimSpace(out), err
}

// pollScript asks for a condition every 10 ms, for about 2 s, without holding a
// snapshot in between, and says so when the condition holds.
var pollScript = strings.Repeat(`SELECT coalesce((CONDITION), false) AS holds \gset
\if :holds
\echo holds
\q
\endif
SELECT pg_sleep(0.01) AS nothing \gset
`, 200)

// until runs statements, which are SELECTs of one column, and waits until a
// condition of SQL holds. It fails if the server ends, and if ctx is done.
func (n *Node) until(ctx context.Context, what, condition string, statements ...string) error {
	ctx, cancel := throwaway.WithTimeout(ctx, callTimeout)
	defer cancel()
	first := ""
	for _, s := range statements {
		first += s + " AS done \\gset\n"
	}
	polls := strings.ReplaceAll(pollScript, "CONDITION", condition)
	for {
		out, err := n.psql(ctx, "postgres", first+polls)
		if err != nil {
			return n.fail(what, errors.Join(err, ctx.Err()))
		}
		if out == "holds" {
			return nil
		}
		first = ""
	}
}
