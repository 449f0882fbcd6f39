package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// auditPause is the time between two looks at a node that does not have
// everything yet.
const auditPause = 20 * time.Millisecond

// audit waits until each node by itself has exactly the given number of rows.
// If ctx is done first, it returns an error. It dials the nodes with the plain
// driver.
func (c *cluster) audit(ctx context.Context, rows int) error {
	for _, n := range c.nodes {
		if err := auditNode(ctx, c.dialect.driver, c.dialect.dsn(c, n), rows); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	return nil
}

func auditNode(ctx context.Context, driver, dsn string, rows int) error {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	tick := time.NewTicker(auditPause)
	defer tick.Stop()
	found, last := 0, error(nil)
	for {
		last = db.QueryRowContext(ctx, "SELECT COUNT(*) FROM event").Scan(&found)
		if last == nil && found == rows {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d rows were found, and %d were written (%v): %w", found, rows, last, ctx.Err())
		}
	}
}
