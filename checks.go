package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/EnumApps/clustersql/internal/health"
)

// CheckGalera is the check for Galera nodes. It runs DO 1, which a node that
// refuses work answers with error 1047; on every fifth probe, on those of a
// node that is not up, and when it is called from elsewhere it also asks for
// the node's status: fit is a node of the primary component that is ready and
// Synced. A donor, or a node that was desynced, is fit but used last; see
// [Config.AllowDonor]. A server without wsrep is an error that says so. A
// check of your own that calls it hands its own ctx on.
func CheckGalera(ctx context.Context, backend driver.Conn) error {
	if err := CheckDo1(ctx, backend); err != nil {
		return err
	}
	f := findingOf(ctx)
	if f.Want&health.ScopeStatus == 0 {
		return nil
	}
	s, err := askWsrep(ctx, backend, wsrepQuery)
	if err != nil {
		return fmt.Errorf("check \"galera\": the status query failed: %w", err)
	}
	f.Saw |= health.ScopeStatus | health.ScopeView
	f.View = s.view()
	f.Donor, err = s.verdict(f.AllowDonor)
	return err
}

// checkWritable wants read_only OFF. MySQL's super_read_only is never ON
// without it.
func checkWritable(ctx context.Context, backend driver.Conn) error {
	rows, err := queryRows(ctx, backend, "SELECT @@GLOBAL.read_only", 2)
	if err != nil {
		return fmt.Errorf("require \"writable\": the server does not tell read_only: %w", err)
	}
	if len(rows) == 1 && len(rows[0]) == 1 && (rows[0][0] == "0" || strings.EqualFold(rows[0][0], "OFF")) {
		return nil
	}
	return &health.Unfit{Class: health.ReadOnly, Text: "require \"writable\": read_only is not OFF"}
}

// checkQuery wants one row whose first column is true.
func checkQuery(query string) Check {
	return func(ctx context.Context, backend driver.Conn) error {
		rows, err := queryRows(ctx, backend, query, 2)
		switch {
		case err != nil:
			return fmt.Errorf("check_query: %w", err)
		case len(rows) != 1:
			return &health.Unfit{Class: health.NotReady, Text: "check_query: the answer is not one row"}
		case len(rows[0]) == 0 || !isTrue(rows[0][0]):
			return &health.Unfit{Class: health.NotReady, Text: "check_query: the first column is not true"}
		}
		return nil
	}
}

// isTrue reads a column as a truth: a number that is not 0, or one of true,
// t, on, yes and y in any case. All else, NULL too, is not.
func isTrue(text string) bool {
	text = strings.ToLower(strings.TrimSpace(text))
	switch text {
	case "true", "t", "on", "yes", "y":
		return true
	}
	n, err := strconv.ParseFloat(text, 64)
	return err == nil && n != 0 && n == n
}

// queryRows runs a query and returns its first rows, at most limit, as texts;
// NULL is empty. The backend's rows are closed.
func queryRows(ctx context.Context, backend driver.Conn, query string, limit int) (table [][]string, err error) {
	rows, done, err := runQuery(ctx, backend, query)
	if err != nil {
		return nil, err
	}
	defer func() {
		// go-sql-driver tells a row's error again, and no other, in Close.
		if closed := errors.Join(rows.Close(), done()); err == nil {
			err = closed
		}
	}()
	values := make([]driver.Value, len(rows.Columns()))
	for len(table) < limit {
		err := rows.Next(values)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		texts := make([]string, len(values))
		for i, v := range values {
			texts[i] = asText(v)
		}
		table = append(table, texts)
	}
	return table, nil
}

// runQuery queries directly, or by a prepared statement where the backend
// cannot; done is to be called after the rows' Close.
func runQuery(ctx context.Context, backend driver.Conn, query string) (rows driver.Rows, done func() error, err error) {
	if q, ok := backend.(driver.QueryerContext); ok {
		rows, err = q.QueryContext(ctx, query, nil)
		if !errors.Is(err, driver.ErrSkip) {
			return rows, func() error { return nil }, err
		}
	}
	var stmt driver.Stmt
	if p, ok := backend.(driver.ConnPrepareContext); ok {
		stmt, err = p.PrepareContext(ctx, query)
	} else {
		stmt, err = backend.Prepare(query)
	}
	if err != nil {
		return nil, nil, err
	}
	if q, ok := stmt.(driver.StmtQueryContext); ok {
		rows, err = q.QueryContext(ctx, nil)
	} else {
		rows, err = stmt.Query(nil) //lint:ignore SA1019 older backends have nothing else
	}
	if err != nil {
		return nil, nil, errors.Join(err, stmt.Close())
	}
	return rows, stmt.Close, nil
}

func asText(v driver.Value) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []byte:
		return string(v)
	}
	return fmt.Sprint(v)
}
