package session

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"runtime"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/race"
)

// quietDB returns a database of one quiet node, and its conn as database/sql
// has it: bare, wrapped, or wrapped with calls that are late.
func quietDB(t testing.TB, kind int) (*sql.DB, driver.Conn) {
	t.Helper()
	b := fakedb.New()
	b.Quiet()
	connector, err := b.Driver().(driver.DriverContext).OpenConnector("n")
	if err != nil {
		t.Fatal(err)
	}
	switch kind {
	case kindWrapped:
		connector = &wrapping{Connector: connector}
	case kindArmed:
		connector = &wrapping{Connector: connector, lateness: hour}
	case kindHedged:
		connector = &wrapping{Connector: connector, lateness: hour, hedging: hours{}}
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	conn, err := connector.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return db, conn
}

// A connWork is some work, done through database/sql and on its conn directly.
type connWork struct {
	name   string
	more   float64 // the allocations that the wrapper may add
	sql    func(context.Context, *sql.DB) error
	driver func(context.Context, driver.Conn) error
}

var connWorks = []connWork{
	{"Exec", 0, func(ctx context.Context, db *sql.DB) error {
		_, err := db.ExecContext(ctx, "INSERT")
		return err
	}, func(ctx context.Context, c driver.Conn) error {
		_, err := c.(driver.ExecerContext).ExecContext(ctx, "INSERT", nil)
		return err
	}},
	{"Query", 0, func(ctx context.Context, db *sql.DB) error {
		rows, err := db.QueryContext(ctx, "SELECT")
		if err != nil {
			return err
		}
		return rows.Close()
	}, func(ctx context.Context, c driver.Conn) error {
		_, err := c.(driver.QueryerContext).QueryContext(ctx, "SELECT", nil)
		return err
	}},
	{"ExecArgs", 0, func(ctx context.Context, db *sql.DB) error {
		_, err := db.ExecContext(ctx, "INSERT", 1, "two")
		return err
	}, func(ctx context.Context, c driver.Conn) error {
		_, err := c.(driver.ExecerContext).ExecContext(ctx, "INSERT", benchArgs)
		return err
	}},
	{"Prepare", 1, func(ctx context.Context, db *sql.DB) error {
		s, err := db.PrepareContext(ctx, "INSERT")
		if err != nil {
			return err
		}
		return s.Close()
	}, func(ctx context.Context, c driver.Conn) error {
		s, err := c.(driver.ConnPrepareContext).PrepareContext(ctx, "INSERT")
		if err != nil {
			return err
		}
		return s.Close()
	}},
	{"BeginTx", 1, func(ctx context.Context, db *sql.DB) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		return tx.Commit()
	}, func(ctx context.Context, c driver.Conn) error {
		tx, err := c.(driver.ConnBeginTx).BeginTx(ctx, driver.TxOptions{})
		if err != nil {
			return err
		}
		return tx.Commit()
	}},
}

var benchArgs = []driver.NamedValue{{Ordinal: 1, Value: int64(1)}, {Ordinal: 2, Value: "two"}}

const (
	kindBare = iota
	kindWrapped
	kindArmed  // and a call that takes an hour is late
	kindHedged // and a read that takes an hour is hedged
)

var kinds = []string{"bare", "wrapped", "armed", "hedged"}

// hour is a Lateness of an hour.
var hour Lateness = lateness{after: time.Hour}

type lateness struct {
	after time.Duration
	late  func()
}

// hours is a Hedging after an hour.
type hours struct{}

func (hours) HedgeAfter() time.Duration { return time.Hour }
func (hours) Answered()                 {}
func (hours) Hedge(*Read)               {}
func (hours) Cut()                      {}
func (hours) Later(f func())            { go f() }
func (hours) Panicked(any)              {}

func (l lateness) LateAfter() time.Duration { return l.after }
func (l lateness) Late()                    { l.late() }

// BenchmarkConn compares the bare backend with the wrapped one, through
// database/sql and with calls of the conn alone. The difference is what the
// wrapper costs, without and with the timer of late calls.
func BenchmarkConn(b *testing.B) {
	for _, work := range connWorks {
		for kind, name := range kinds {
			b.Run("sql/"+work.name+"/"+name, func(b *testing.B) {
				db, _ := quietDB(b, kind)
				ctx := context.Background() // with a context that can be cancelled, database/sql starts goroutines
				b.ReportAllocs()
				for b.Loop() {
					if err := work.sql(ctx, db); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		for kind, name := range kinds {
			b.Run("driver/"+work.name+"/"+name, func(b *testing.B) {
				_, conn := quietDB(b, kind)
				ctx := context.Background() // with a context that can be cancelled, database/sql starts goroutines
				b.ReportAllocs()
				for b.Loop() {
					if err := work.driver(ctx, conn); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// A statement allocates as much with the wrapper as without, also where its timer
// runs. A prepared
// statement and a transaction allocate one small object more.
func TestWrapperAllocatesNextToNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates too; ./test.sh runs this test without it")
	}
	ctx := context.Background() // with a context that can be cancelled, database/sql starts goroutines
	for _, work := range connWorks {
		var viaSQL, onConn [4]float64
		for kind := range kinds {
			db, conn := quietDB(t, kind)
			viaSQL[kind] = allocations(t, func() error { return work.sql(ctx, db) })
			onConn[kind] = allocations(t, func() error { return work.driver(ctx, conn) })
		}
		for how, got := range map[string][4]float64{"through database/sql": viaSQL, "on the conn": onConn} {
			for kind, allocs := range got {
				if added := allocs - got[kindBare]; added > work.more+0.2 {
					t.Errorf("%s %s, %s: %.2f allocations, bare %.2f; at most %v more are allowed", work.name, how, kinds[kind], allocs, got[kindBare], work.more)
				}
			}
		}
	}
}

// allocations returns the average number of allocations per call, with the
// fraction that testing.AllocsPerRun drops. database/sql has a goroutine for
// each transaction. After each call it gets time to end, because goroutines
// left over would add to the count.
func allocations(t *testing.T, call func() error) float64 {
	const calls = 100
	return testing.AllocsPerRun(20, func() {
		for range calls {
			if err := call(); err != nil {
				t.Fatal(err)
			}
			runtime.Gosched()
		}
	}) / calls
}
