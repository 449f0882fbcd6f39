package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/EnumApps/clustersql/internal/causal"
	"github.com/EnumApps/clustersql/internal/dialect"
)

// Positions of a Galera group are those of MariaDB's server: domain, server and
// number, of which the number is the same on all nodes. All that has a smaller number
// is visible on the node. Nothing in them says which group it is; that is known from
// the probes. Other servers have GTIDs if they keep a log: MariaDB's are domain,
// server and number, and MySQL's are sets.

// seenQuery asks a Galera node what it has committed last. Servers without a
// provider answer it too, so it is for Galera nodes alone.
const seenQuery = causeless + "SELECT WSREP_LAST_SEEN_GTID()"

// gtidQueries ask MariaDB and MySQL: each takes the other's part for a comment. The
// first one is for MariaDB with wsrep in it, whether it is used or not.
var gtidQueries = []string{
	"SELECT /*M!100101 IF(@@GLOBAL.wsrep_on, 'galera', 'mariadb'), @@GLOBAL.gtid_current_pos */ /*!50700 'mysql', @@GLOBAL.gtid_executed */",
	"SELECT /*M!100002 'mariadb', @@GLOBAL.gtid_current_pos */ /*!50700 'mysql', @@GLOBAL.gtid_executed */",
}

// Position asks for what the server has. Its texts have one form for each kind of
// server: galera/UUID/DOMAIN, mariadb/DOMAIN, mysql/UUID.
func (Dialect) Position(ctx context.Context, conn driver.Conn, at dialect.Site) (p causal.Position, all bool, err error) {
	if at.Group != "" {
		return seen(ctx, conn, at.Group)
	}
	rows, err := dialect.QueryRows(ctx, conn, gtidQueries[0], 2)
	if hasNumber(err, unknownVariable) {
		rows, err = dialect.QueryRows(ctx, conn, gtidQueries[1], 2)
	}
	switch {
	case err != nil && ownFault(err) && ctx.Err() == nil && !interrupted(err):
		return p, false, dialect.ErrNoPosition
	case err != nil:
		return p, false, err
	}
	switch {
	case len(rows) != 1:
	case len(rows[0]) == 2 && rows[0][0] == "galera": // no probe has seen its group yet
		s, err := askWsrep(ctx, conn, viewQuery)
		switch {
		case err != nil:
			return p, false, err
		case s.view() == nil || s.group == "":
			return p, false, dialect.ErrNoPosition
		}
		return seen(ctx, conn, s.group)
	case len(rows[0]) == 2 && rows[0][0] == "mariadb":
		p = domains("mariadb", rows[0][1])
	case len(rows[0]) == 2 && rows[0][0] == "mysql":
		p = sets(rows[0][1])
	}
	if p.IsZero() {
		return p, false, dialect.ErrNoPosition
	}
	return p, at.Primary, nil
}

// seen asks a node of a Galera group for what it has committed last.
func seen(ctx context.Context, conn driver.Conn, group string) (p causal.Position, all bool, err error) {
	rows, err := dialect.QueryRows(ctx, conn, seenQuery, 2)
	switch {
	case err != nil && ownFault(err) && ctx.Err() == nil && !interrupted(err):
		return p, false, dialect.ErrNoPosition
	case err != nil:
		return p, false, err
	case len(rows) == 1 && len(rows[0]) == 1:
		p = committed(group, rows[0][0])
	}
	if p.IsZero() {
		return p, false, dialect.ErrNoPosition
	}
	return p, false, nil
}

// committed reads what a Galera node has committed last: domain, server and number in
// MariaDB, and elsewhere, as in MariaDB 10.4, the group and a number.
func committed(group, text string) causal.Position {
	origin := "galera/" + strings.ToLower(group)
	if uuid, number, ok := strings.Cut(text, ":"); ok {
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil || !strings.EqualFold(uuid, group) {
			return causal.Position{}
		}
		return causal.At(origin, n)
	}
	return domains(origin, text)
}

// domains reads GTIDs of MariaDB.
func domains(kind, text string) (p causal.Position) {
	for _, m := range gtids(text) {
		p = p.Union(causal.At(kind+"/"+m.Origin, m.At))
	}
	return p
}

// sets reads a set of MySQL. An origin may have a tag, which comes before its
// numbers.
func sets(text string) (p causal.Position) {
	for part := range strings.SplitSeq(text, ",") {
		uuid, rest, _ := strings.Cut(strings.TrimSpace(part), ":")
		origin, spans := "mysql/"+strings.ToLower(uuid), []causal.Span(nil)
		for item := range strings.SplitSeq(rest, ":") {
			item = strings.TrimSpace(item)
			first, last, ranged := strings.Cut(item, "-")
			if !ranged {
				last = first
			}
			from, errFrom := strconv.ParseUint(first, 10, 64)
			to, errTo := strconv.ParseUint(last, 10, 64)
			if errFrom == nil && errTo == nil {
				spans = append(spans, causal.Span{From: from, To: to})
				continue
			}
			if len(spans) > 0 {
				p = p.Union(causal.Of(origin, spans...))
			}
			origin, spans = "mysql/"+strings.ToLower(uuid)+"/"+strings.ToLower(item), nil
		}
		if uuid != "" && len(spans) > 0 {
			p = p.Union(causal.Of(origin, spans...))
		}
	}
	return p
}

// Await waits on the server. A Galera node is not asked: its
// WSREP_SYNC_WAIT_UPTO_GTID counts in whole seconds, and is behind by less than that.
func (Dialect) Await(ctx context.Context, conn driver.Conn, at dialect.Site, want causal.Position, limit time.Duration) (bool, error) {
	query := waitQuery(want, limit)
	if query == "" {
		return false, nil
	}
	_, err := dialect.QueryRows(ctx, conn, query, 2)
	if err != nil && ownFault(err) && ctx.Err() == nil { // its time is over, or it follows nobody
		return false, nil
	}
	return err == nil, err
}

// waitQuery returns the query that waits for a position, or "".
func waitQuery(want causal.Position, limit time.Duration) string {
	var maria, my []string
	want.Origins(func(origin string, spans []causal.Span) bool {
		kind, rest, _ := strings.Cut(origin, "/")
		if len(spans) == 0 {
			return true
		}
		switch last := spans[len(spans)-1].To; kind {
		case "mariadb":
			maria = append(maria, fmt.Sprintf("%s-1-%d", rest, last))
		case "mysql":
			_, set, _ := strings.Cut(causal.Of(origin, spans...).String(), "/")
			my = append(my, strings.ReplaceAll(set, "/", ":"))
		}
		return true
	})
	seconds := limit.Seconds()
	switch {
	case len(maria) > 0:
		return fmt.Sprintf("SELECT MASTER_GTID_WAIT('%s', %.3f)", strings.Join(maria, ","), seconds)
	case len(my) > 0:
		return fmt.Sprintf("SELECT WAIT_FOR_EXECUTED_GTID_SET('%s', %.3f)", strings.Join(my, ","), seconds)
	}
	return ""
}

// CatchUp waits for the group on a Galera node. Of the others one that follows
// nobody and takes writes has all.
func (d Dialect) CatchUp(ctx context.Context, conn driver.Conn, at dialect.Site) (p causal.Position, ok bool, err error) {
	if at.Group != "" {
		rows, err := dialect.QueryRows(ctx, conn, "/*M!100101 SET STATEMENT wsrep_sync_wait=1 FOR */ SELECT WSREP_LAST_SEEN_GTID()", 2)
		switch {
		case err != nil && ownFault(err) && ctx.Err() == nil:
			return p, false, nil
		case err != nil:
			return p, false, err
		case len(rows) == 1 && len(rows[0]) == 1:
			p = committed(at.Group, rows[0][0])
		}
		return p, !p.IsZero(), nil
	}
	p, ok, err = d.Position(ctx, conn, at)
	if errors.Is(err, dialect.ErrNoPosition) {
		return p, at.Primary, nil
	}
	return p, ok, err
}
