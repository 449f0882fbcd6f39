package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
)

// Do1 runs DO 1, the smallest statement of MariaDB and MySQL: it needs no table
// and no right, and is one packet. A Galera node that refuses work (not in a
// primary component, joining, wsrep_reject_queries) answers it with error 1047.
// Such a node still answers Ping and SELECT 1.
func Do1(ctx context.Context, conn driver.Conn) error {
	e, ok := conn.(driver.ExecerContext)
	if !ok {
		return noDo1("the backend's connections do not implement ExecerContext")
	}
	f := dialect.ReportOf(ctx)
	f.Saw |= health.ScopeWork
	_, err := e.ExecContext(ctx, "DO 1", nil)
	switch {
	case err == nil:
		f.Worked()
	case errors.Is(err, driver.ErrSkip):
		return noDo1("the backend does not run statements without preparing them")
	}
	return err
}

// Default is the check of clusters that name none. It is [Do1], and [Galera] on
// a server that runs a wsrep provider. A server that does not show its status,
// such as a proxy, is not judged for that.
func Default(ctx context.Context, conn driver.Conn) error {
	if err := Do1(ctx, conn); err != nil {
		return err
	}
	f := dialect.ReportOf(ctx)
	if f.Want&health.ScopeView == 0 {
		return nil
	}
	s, err := askWsrep(ctx, conn, wsrepQuery)
	switch {
	case interrupted(err) && ctx.Err() == nil:
		return nil // not looked at: the next probe asks again
	case err != nil && (!ownFault(err) || ctx.Err() != nil):
		return err
	}
	f.Saw |= health.ScopeStatus | health.ScopeView
	if !s.provided() {
		return nil
	}
	f.View = s.view()
	f.Donor, err = s.verdict(f.AllowDonor)
	return err
}

// noDo1 says that the check cannot work on a backend.
func noDo1(why string) error {
	return &health.Unfit{Class: health.Misconfigured, Text: "check \"do1\": " + why + ": use check = \"ping\""}
}

// Galera is the check for Galera nodes. It runs DO 1, to which a node that
// refuses work answers with error 1047. It also asks for the node's status, but
// not each time: on every fifth probe, on each probe of a node that is not up,
// and when a program calls it.
//
// A node is fit if it is in the primary component, ready and Synced. A donor, a
// node that was desynced, and one that catches up after that (Joined) are fit but
// used last, unless allow_donor is set. A server without wsrep is an error that
// says so. A program's own check that calls Galera must pass on the ctx that it
// got.
func Galera(ctx context.Context, conn driver.Conn) error {
	if err := Do1(ctx, conn); err != nil {
		return err
	}
	f := dialect.ReportOf(ctx)
	if f.Want&health.ScopeStatus == 0 {
		return nil
	}
	s, err := askWsrep(ctx, conn, wsrepQuery)
	if err != nil {
		return fmt.Errorf("check \"galera\": the status query failed: %w", err)
	}
	f.Saw |= health.ScopeStatus | health.ScopeView
	f.View = s.view()
	f.Donor, err = s.verdict(f.AllowDonor)
	return err
}

// observe notes a node's view of its group if the Report wants it and no check
// has looked. A server without wsrep has no view. A server that does not tell
// is not judged for it.
func observe(ctx context.Context, conn driver.Conn) error {
	f := dialect.ReportOf(ctx)
	if f.Want&^f.Saw&health.ScopeView == 0 {
		return nil
	}
	s, err := askWsrep(ctx, conn, viewQuery)
	switch {
	case interrupted(err) && ctx.Err() == nil:
		return nil // not looked at: the next probe asks again
	case err != nil && (!ownFault(err) || ctx.Err() != nil):
		return err
	}
	f.Saw |= health.ScopeView
	f.View = s.view()
	return nil
}

// ownFault reports whether an error of a statement is the statement's own, and
// says nothing about the node: a server may not know SHOW STATUS, or allow it.
func ownFault(err error) bool {
	var e *mysql.MySQLError
	if errors.As(err, &e) && strings.HasPrefix(string(e.SQLState[:]), "42") {
		return true
	}
	return hasNumber(err, unknownVariable) || health.Classify(err, classify) == health.Neutral
}

// interrupted reports whether a statement was ended before its answer: by KILL
// QUERY, by a limit of its time, or while it waited for a lock. Another one of
// its kind may be answered.
func interrupted(err error) bool {
	return hasNumber(err, lockWaitTimeout, deadlock, queryInterrupted, statementTimeout, queryTimeout)
}

// Error numbers of a statement that was interrupted.
const (
	lockWaitTimeout  = 1205
	deadlock         = 1213
	queryInterrupted = 1317
	statementTimeout = 1969 // MariaDB's max_statement_time
	queryTimeout     = 3024 // MySQL's max_execution_time
)
