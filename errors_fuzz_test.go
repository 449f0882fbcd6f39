package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/sqltext"
)

// Whatever a server says, in whatever place: a class there is, real traffic
// takes no more than its own share of it, and nothing that may have run moves
// unless the caller has said so.
func FuzzErrorClass(f *testing.F) {
	f.Add(uint16(1047), "08S01", "WSREP has not yet prepared node for application use", byte(1), "INSERT", byte(0))
	f.Add(uint16(1047), "08S01", "Unknown command", byte(2), "SELECT 1", byte(2))
	f.Add(uint16(1180), "HY000", "Got error 5 during COMMIT: Not connected to Primary Component", byte(6), "", byte(0))
	f.Add(uint16(1290), "HY000", "The MariaDB server is running with the --read-only option", byte(3), "CALL p()", byte(4))
	f.Add(uint16(0), "", "invalid connection", byte(4), "SELECT", byte(1))
	f.Fuzz(func(t *testing.T, number uint16, state, message string, op byte, query string, bits byte) {
		var err error = &mysql.MySQLError{Number: number, Message: message}
		if number == 0 {
			err = []error{mysql.ErrInvalidConn, driver.ErrBadConn, context.Canceled, errors.New(message)}[len(message)%4]
		} else {
			copy(err.(*mysql.MySQLError).SQLState[:], state)
		}
		if bits&1 != 0 {
			err = fmt.Errorf("around: %w", err)
		}
		c := health.Classify(err, mysqlClass)
		if c.String() == "" || number == 1047 && c == health.NotReady && !strings.Contains(strings.ToUpper(message), "WSREP") {
			t.Errorf("%v is %v", err, c)
		}
		writable := bits&2 != 0
		traffic := health.ClassifyTraffic(err, mysqlClass, writable)
		if !slices.Contains([]health.Class{health.Neutral, health.NotReady, health.Leaving, health.Lost, health.ReadOnly}, traffic) || traffic == health.ReadOnly && !writable {
			t.Errorf("%v is %v in real traffic", err, traffic)
		}
		fault := fault{err: err, class: traffic, op: operation(op % 7), query: query, ctx: t.Context(),
			traits: traits{single: bits&4 != 0}, inTx: bits&8 != 0, opened: bits&16 != 0, lost: bits&32 != 0}
		v := fault.verdict(false)
		mayHaveRun := fault.runs() && (traffic == health.Lost && !fault.lost || traffic == health.Leaving || !sqltext.Whole(query))
		switch {
		case v.moves && (fault.inTx || fault.opened || mayHaveRun):
			t.Errorf("%+v moves", fault)
		case v.moves && v.unknown:
			t.Errorf("%+v moves though it may have run", fault)
		case v.hides != (errors.Is(err, driver.ErrBadConn) && (fault.inTx || fault.op == opEnd || fault.op == opCommit)):
			t.Errorf("%+v: hides is %v", fault, v.hides)
		}
	})
}
