package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/health"
)

// A pgError is what pgx's and lib/pq's errors have in common.
type pgError string

func (e pgError) Error() string    { return "ERROR: (SQLSTATE " + string(e) + ")" }
func (e pgError) SQLState() string { return string(e) }

func TestClasses(t *testing.T) {
	for state, want := range map[string]health.Class{
		"08001": health.Failed, "08P01": health.Failed,
		"0A000": health.Misconfigured, "28000": health.Misconfigured, "28P01": health.Misconfigured,
		"3D000": health.Misconfigured, "42501": health.Misconfigured, "57P04": health.Misconfigured,
		"25006": health.ReadOnly,
		"25P03": health.Lost, "25P04": health.Lost, "57P01": health.Lost, "57P02": health.Lost, "57P05": health.Lost,
		"53300": health.Saturated, "53200": health.Saturated,
		"57P03": health.NotReady,
		// A statement's own.
		"00000": health.Neutral, "23505": health.Neutral, "22012": health.Neutral, "25P02": health.Neutral, "40001": health.Neutral,
		"40P01": health.Neutral, "55P03": health.Neutral, "57014": health.Neutral, "P0001": health.Neutral, "XX000": health.Neutral,
	} {
		err := fmt.Errorf("open: %w", pgError(state))
		if got, ok := (Dialect{}).Classify(err); !ok || got != want {
			t.Errorf("%s is %v, want %v", state, got, want)
		}
	}
	for _, err := range []error{io.EOF, errors.New("boom"), pgError(""), pgError("no state")} {
		if got, ok := (Dialect{}).Classify(err); ok || got != health.Neutral {
			t.Errorf("%v is %v", err, got)
		}
	}
}

// What a statement meets says less than what an open meets: rights and names are
// its own business.
func TestClassesOfTraffic(t *testing.T) {
	for state, want := range map[string]health.Class{
		"28P01": health.Neutral, "3D000": health.Neutral, "42501": health.Neutral, "42P01": health.Neutral, "0A000": health.Neutral,
		"08006": health.Neutral, "53300": health.Neutral, "53100": health.Neutral, "57P01": health.Lost, "57P03": health.NotReady, "25006": health.ReadOnly,
	} {
		if got := health.ClassifyTraffic(pgError(state), Dialect{}.Classify, true); got != want {
			t.Errorf("%s is %v, want %v", state, got, want)
		}
	}
	if got := health.ClassifyTraffic(pgError("25006"), Dialect{}.Classify, false); got != health.Neutral {
		t.Errorf("read-only, where nobody requires writable: %v", got)
	}
}

func TestMayHaveRun(t *testing.T) {
	for state, want := range map[string]bool{"08007": true, "40003": true, "57P01": false, "25006": false, "": false} {
		if got := (Dialect{}).MayHaveRun(pgError(state)); got != want {
			t.Errorf("%s: %v", state, got)
		}
	}
	for state, want := range map[string]bool{"25P03": true, "57P05": true, "57P01": false, "25P04": false} {
		if got := (Dialect{}).Unread(pgError(state)); got != want {
			t.Errorf("%s was not read: %v", state, got)
		}
	}
	for state, want := range map[string]bool{"25006": true, "57P03": false} {
		if got := (Dialect{}).MayBeOwn(pgError(state), true); got != want || (Dialect{}).MayBeOwn(pgError(state), false) {
			t.Errorf("%s may be the session's own: %v", state, got)
		}
	}
}

func TestVersionsOfADriverAreOne(t *testing.T) {
	for path, want := range map[string]string{
		"github.com/jackc/pgx/v5/stdlib": "github.com/jackc/pgx/stdlib", "github.com/jackc/pgx/stdlib": "github.com/jackc/pgx/stdlib",
		"github.com/jackc/pgx/v10/stdlib": "github.com/jackc/pgx/stdlib", "github.com/lib/pq": "github.com/lib/pq",
		"example.com/v5x/stdlib": "example.com/v5x/stdlib", "example.com/v/stdlib": "example.com/v/stdlib",
	} {
		if got := withoutMajor(path); got != want {
			t.Errorf("%s is %s", path, got)
		}
	}
	for _, d := range []driver.Driver{nil, fakedb.New().Driver()} {
		if (Dialect{}).Speaks(d) {
			t.Errorf("a %T", d)
		}
	}
}

// What a server says of its part in replication. One that does not know the whole
// question is asked a shorter one.
func TestReplication(t *testing.T) {
	primary := []driver.Value{false, "off", "77", "x00000002", "50334496", nil, nil, false, nil, nil}
	standby := []driver.Value{true, "on", "77", "1", "100", "120", "0.5", true, "streaming", int64(3)}
	with := func(row []driver.Value, at int, v driver.Value) []driver.Value {
		row = slices.Clone(row)
		row[at] = v
		return row
	}
	follows := health.Replication{
		Role: health.RoleReplica, Access: health.AccessRead, System: "77", Timeline: 3, Stream: health.StreamRuns,
		Position: health.Position{{At: 100}}, Received: health.Position{{At: 120}}, Age: 500 * time.Millisecond,
	}
	varied := func(change func(r *health.Replication)) health.Replication {
		r := follows
		change(&r)
		return r
	}
	leads := health.Replication{Role: health.RolePrimary, Access: health.AccessWrite, System: "77", Timeline: 2, Position: health.Position{{At: 50334496}}}
	short := health.Replication{Role: health.RoleReplica, Access: health.AccessRead}
	for name, tc := range map[string]struct {
		depth dialect.Depth
		all   []driver.Value
		fails error
		want  health.Replication
		class health.Class
	}{
		"primary":             {depth: dialect.DepthAll, all: primary, want: leads},
		"as bytes":            {depth: dialect.DepthAll, all: with(primary, 1, []byte("off")), want: leads},
		"standby":             {depth: dialect.DepthAll, all: standby, want: follows},
		"no right":            {depth: dialect.DepthAll, all: with(with(standby, 8, nil), 9, nil), want: varied(func(r *health.Replication) { r.Timeline, r.Stream, r.Hidden = 1, health.StreamUnknown, hiddenReceiver })},
		"no receiver":         {depth: dialect.DepthAll, all: with(standby, 7, false), want: varied(func(r *health.Replication) { r.Stream = health.StreamBroken })},
		"waits for its peer":  {depth: dialect.DepthAll, all: with(standby, 8, "waiting"), want: varied(func(r *health.Replication) { r.Stream = health.StreamBroken })},
		"idle for ages":       {depth: dialect.DepthAll, all: with(standby, 6, "1e300"), want: varied(func(r *health.Replication) { r.Age = maxAge * time.Second })},
		"access":              {depth: dialect.DepthAccess, want: short},
		"role":                {depth: dialect.DepthRole, want: short},
		"no such function":    {depth: dialect.DepthAll, fails: pgError("42883"), want: health.Replication{Role: short.Role, Access: short.Access, Hidden: hiddenPlace}},
		"not on this service": {depth: dialect.DepthAll, fails: pgError("0A000"), want: health.Replication{Role: short.Role, Access: short.Access, Hidden: hiddenPlace}},
		"lost":                {depth: dialect.DepthAll, fails: pgError("57P01"), class: health.Lost},
	} {
		t.Run(name, func(t *testing.T) {
			b := fakedb.New()
			n := b.Node("n")
			n.OnQuery(func(query string) ([][]driver.Value, bool) {
				if query == allQuery {
					return [][]driver.Value{tc.all}, true
				}
				return [][]driver.Value{{true, "on"}}, query == accessQuery
			})
			n.OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
				if query == allQuery {
					return tc.fails
				}
				return nil
			})
			conn, err := b.Driver().Open("n")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, report := dialect.WithReport(t.Context(), 0)
			err = Dialect{}.Replication(ctx, conn, tc.depth)
			if got := health.Classify(err, Dialect{}.Classify); got != tc.class {
				t.Errorf("%v is %v, want %v", err, got, tc.class)
			}
			if err == nil && !reflect.DeepEqual(*report.Replication, tc.want) {
				t.Errorf("%+v, want %+v", *report.Replication, tc.want)
			}
		})
	}
}

// A statement that began before the end of a promotion says that the server is no
// standby and takes no writes. The server is asked again. One that is read-only by its
// settings says so twice.
func TestPromotionBetweenTwoLooks(t *testing.T) {
	for name, tc := range map[string]struct {
		depth  dialect.Depth
		access []string // of each answer
		want   health.Access
		asked  int
	}{
		"all, just promoted":    {dialect.DepthAll, []string{"on", "off"}, health.AccessWrite, 2},
		"access, just promoted": {dialect.DepthAccess, []string{"on", "off"}, health.AccessWrite, 2},
		"read-only by settings": {dialect.DepthAll, []string{"on", "on", "off"}, health.AccessRead, 2},
		"it takes writes":       {dialect.DepthAll, []string{"off", "on"}, health.AccessWrite, 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := fakedb.New()
			asked := 0
			b.Node("n").OnQuery(func(query string) ([][]driver.Value, bool) {
				access := tc.access[asked]
				asked++
				if query == accessQuery {
					return [][]driver.Value{{false, access}}, true
				}
				return [][]driver.Value{{false, access, "77", "x00000002", "100", nil, nil, false, nil, nil}}, query == allQuery
			})
			conn, err := b.Driver().Open("n")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, report := dialect.WithReport(t.Context(), 0)
			if err := (Dialect{}).Replication(ctx, conn, tc.depth); err != nil {
				t.Fatal(err)
			}
			if r := report.Replication; r.Role != health.RolePrimary || r.Access != tc.want || asked != tc.asked {
				t.Errorf("%v, %v after %d questions, want %v after %d", r.Role, r.Access, asked, tc.want, tc.asked)
			}
		})
	}
}

// The check looks at whether the node does work.
func TestCheckSeesWork(t *testing.T) {
	b := fakedb.New()
	conn, err := b.Driver().Open("n")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, report := dialect.WithReport(t.Context(), health.ScopeWork)
	if err := (Dialect{}).Check()(ctx, conn); err != nil || report.Saw&health.ScopeWork == 0 {
		t.Errorf("saw %b, %v", report.Saw, err)
	}
}
