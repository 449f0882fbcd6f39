package postgres

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/EnumApps/clustersql/internal/causal"
	"github.com/EnumApps/clustersql/internal/dialect"
)

// A position is a place in the log: on a standby what it has replayed, which is what
// its queries see, and on a primary what it has written. What is written there may
// not be flushed yet, where synchronous_commit is off, and is seen all the same.

// placeQuery asks for the place. The log of one cluster is known by its
// system_identifier, which the probes know.
const (
	placeColumns = "SELECT r.standby, CASE WHEN r.standby THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END - '0/0'::pg_lsn," +
		" CASE WHEN NOT r.standby THEN pg_current_wal_flush_lsn() - '0/0'::pg_lsn END"
	placeFrom   = " FROM (SELECT pg_is_in_recovery() AS standby) r"
	placeQuery  = placeColumns + placeFrom
	systemQuery = placeColumns + ", (SELECT system_identifier FROM pg_control_system())" + placeFrom
)

// Position asks for a place in the log. A primary has all that there is.
func (Dialect) Position(ctx context.Context, conn driver.Conn, at dialect.Site) (p causal.Position, all bool, err error) {
	query := placeQuery
	if at.System == "" {
		query = systemQuery
	}
	rows, err := dialect.QueryRows(ctx, conn, query, 2)
	switch {
	case err != nil && refusedQuery(err) && !interrupted(err) && ctx.Err() == nil:
		return p, false, dialect.ErrNoPosition
	case err != nil:
		return p, false, err
	case len(rows) != 1 || len(rows[0]) < 3:
		return p, false, dialect.ErrNoPosition
	}
	row, system := rows[0], at.System
	if system == "" && len(row) > 3 {
		system = row[3]
	}
	place, ok := number(row[1])
	if !ok || system == "" {
		return p, false, dialect.ErrNoPosition
	}
	flushed, _ := number(row[2])
	return causal.At("pg/"+system, recordEnd(place, flushed)), !isTrue(row[0]), nil
}

// The log has pages, each of which begins with a header: a long one in the first page
// of a file.
const (
	logPage     = 8192
	shortHeader = 24
	longHeader  = 40
	leastFile   = 1 << 20
)

// recordEnd returns the end of the last record. A primary tells where the next one
// begins. Where the last one has filled its page, that is behind the header of the
// next page, and a standby that has it all does not get there before the next record.
func recordEnd(next, flushed uint64) uint64 {
	switch {
	case flushed%logPage == 0 && (next == flushed+shortHeader || next == flushed+longHeader):
		return flushed
	case next%logPage == shortHeader && (next-shortHeader)%leastFile != 0:
		return next - shortHeader
	}
	return next
}

// number reads a difference of two places, which is a numeric.
func number(text string) (uint64, bool) {
	for _, m := range position(text) {
		return m.At, true
	}
	return 0, false
}

// interrupted reports whether a statement was ended before its answer: by a cancel, or
// because it stood in the way of what a standby replays.
func interrupted(err error) bool {
	state, ok := stateOf(err)
	return ok && (state == "57014" || state == "40001")
}

// CatchUp asks whether the server is a primary.
func (d Dialect) CatchUp(ctx context.Context, conn driver.Conn, at dialect.Site) (p causal.Position, ok bool, err error) {
	p, ok, err = d.Position(ctx, conn, at)
	if errors.Is(err, dialect.ErrNoPosition) {
		err = nil
	}
	return p, ok, err
}
