package dialect

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

var errNoDriver = errors.New("the dialect has no driver of its own")

// Ping calls the backend's Ping. A conn without one passes, as with
// database/sql.
func Ping(ctx context.Context, conn driver.Conn) error {
	p, ok := conn.(driver.Pinger)
	if !ok {
		return nil
	}
	err := p.Ping(ctx)
	if err == nil {
		ReportOf(ctx).Worked()
	}
	return err
}

// Extra returns the context for a statement without whose answer a node is used all
// the same. The caller must call done after the statement.
func Extra(ctx context.Context) (extra context.Context, done context.CancelFunc) {
	if f := ReportOf(ctx); f.Extra != nil {
		return f.Extra(ctx)
	}
	return ctx, func() {}
}

// An Ask runs a query and returns its first rows, as [QueryRows] does.
type Ask = func(ctx context.Context, conn driver.Conn, query string, limit int) ([][]string, error)

// QueryCheck returns a check that runs query with ask. The node is fit if the
// answer is one row whose first column is true.
func QueryCheck(query string, ask Ask) Check {
	return func(ctx context.Context, conn driver.Conn) error {
		ReportOf(ctx).Asked = true
		rows, err := ask(ctx, conn, query, 2)
		switch {
		case err != nil:
			return fmt.Errorf("check_query: %w", err)
		case len(rows) != 1:
			return &health.Unfit{Class: health.NotReady, Text: "check_query: the answer is not one row"}
		case len(rows[0]) == 0 || !IsTrue(rows[0][0]):
			return &health.Unfit{Class: health.NotReady, Text: "check_query: the first column is not true"}
		}
		return nil
	}
}

// IsTrue reports whether a column's text is true: a number other than 0, or one
// of true, t, on, yes and y in upper or lower case. All else is false, also
// NULL.
func IsTrue(text string) bool {
	text = strings.ToLower(strings.TrimSpace(text))
	switch text {
	case "true", "t", "on", "yes", "y":
		return true
	}
	n, err := strconv.ParseFloat(text, 64)
	return err == nil && n != 0 && n == n
}

// QueryRows runs a query and returns its first rows, at most limit, as texts.
// NULL is an empty text. It closes the backend's rows.
func QueryRows(ctx context.Context, conn driver.Conn, query string, limit int) (table [][]string, err error) {
	_, table, err = QueryTable(ctx, conn, query, limit)
	return table, err
}

// QueryTable is QueryRows, with the names of the columns.
func QueryTable(ctx context.Context, conn driver.Conn, query string, limit int) (columns []string, table [][]string, err error) {
	rows, done, err := runQuery(ctx, conn, query)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		// go-sql-driver returns a row's error again from Close, and no other
		// error. It is therefore not joined to err.
		if closed := errors.Join(rows.Close(), done()); err == nil {
			err = closed
		}
	}()
	columns = rows.Columns()
	values := make([]driver.Value, len(columns))
	for len(table) < limit {
		err := rows.Next(values)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		texts := make([]string, len(values))
		for i, v := range values {
			texts[i] = asText(v)
		}
		table = append(table, texts)
	}
	return columns, table, nil
}

// runQuery runs a query on the conn, or by a prepared statement if the conn
// cannot query. The caller must call done after it has closed the rows.
func runQuery(ctx context.Context, conn driver.Conn, query string) (rows driver.Rows, done func() error, err error) {
	if q, ok := conn.(driver.QueryerContext); ok {
		rows, err = q.QueryContext(ctx, query, nil)
		if !errors.Is(err, driver.ErrSkip) {
			return rows, func() error { return nil }, err
		}
	}
	var stmt driver.Stmt
	if p, ok := conn.(driver.ConnPrepareContext); ok {
		stmt, err = p.PrepareContext(ctx, query)
	} else {
		stmt, err = conn.Prepare(query)
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
