package clustersql

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A tellingNode is a fake node of a database that nobody knows. It answers
// role_query and lag_query, and no other statement.
type tellingNode struct{ role, lag atomic.Value } // the answers: [][]driver.Value, an error, or a string: no answer

func newTellingNode(n *fakedb.Node, role, lag any) *tellingNode {
	q := new(tellingNode)
	q.role.Store([]any{role})
	q.lag.Store([]any{lag})
	answer := func(query string) any {
		switch query {
		case "ROLE":
			return q.role.Load().([]any)[0]
		case "LAG":
			return q.lag.Load().([]any)[0]
		}
		return errors.New("no such statement")
	}
	n.OnStatement(func(ctx context.Context, query string, _ []driver.NamedValue) error {
		switch a := answer(query).(type) {
		case error:
			return a
		case string:
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	n.OnQuery(func(query string) ([][]driver.Value, bool) {
		table, ok := answer(query).([][]driver.Value)
		return table, ok
	})
	return q
}

func row(values ...driver.Value) [][]driver.Value { return [][]driver.Value{values} }

// Either of the two queries is enough for what it is about, of any database.
func TestOneQueryIsEnough(t *testing.T) {
	for name, opts := range map[string][]Option{
		"role_query": {WithRoleQueries("ROLE", ""), WithRequire(RequirePreferStandby)},
		"lag_query":  {WithRoleQueries("", "LAG"), WithMaxLag(2 * time.Second)},
		"for status": {WithRoleQueries("ROLE", "")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				newTellingNode(b.Node("n1"), row("primary"), row(0))
				newTellingNode(b.Node("n2"), row("standby"), row(9))
				d := fakeCluster(t, b, 2, opts...)
				openDB(t, d)
				time.Sleep(5 * time.Second)
				for i, s := range d.Status().Nodes {
					lags := name == "lag_query" && i == 1
					if s.State == StateUp == lags || lags != strings.HasPrefix(s.Reason, "lagging: ") {
						t.Errorf("%s is %s: %s", s.Name, s.State, s.Reason)
					}
					if want := []Role{RolePrimary, RoleReplica}[i]; name != "lag_query" && s.Role != want {
						t.Errorf("%s is a %s", s.Name, s.Role)
					}
				}
			})
		})
	}
}

// What lag_query and role_query may answer.
func TestAnswersToTheQueries(t *testing.T) {
	for name, tc := range map[string]struct {
		lag, role any
		reason    string // empty: it is used
	}{
		"a number":                {row(1.5), row("standby"), ""},
		"a clock that is ahead":   {row(-0.2), row("standby"), ""},
		"a large number":          {row(1e300), row("standby"), "lagging: further behind its primary than max_lag (2s)"},
		"NaN":                     {row("NaN"), row("standby"), "lagging: the lag is not known, and max_lag is set: lag_query: the answer is not one row with a number of seconds"},
		"NULL":                    {row(nil), row("standby"), "lagging: the lag is not known, and max_lag is set: lag_query: the answer is not one row with a number of seconds"},
		"two rows":                {[][]driver.Value{{1}, {1}}, row("standby"), "lagging: the lag is not known, and max_lag is set: lag_query: the answer is not one row with a number of seconds"},
		"no row":                  {[][]driver.Value{}, row("standby"), "lagging: the lag is not known, and max_lag is set: lag_query: the answer is not one row with a number of seconds"},
		"access is told":          {row(1), row("standby", "t"), `role: require "read-only": the server takes writes`},
		"access is NULL":          {row(1), row("standby", nil), ""},
		"a primary without lag":   {row("x"), row("primary", false), ""},
		"another word":            {row(1), row("leader"), `configuration: require "read-only": the server does not say what it is`},
		"an error":                {row(1), errors.New("nonsense"), `not ready: require "read-only": role_query: nonsense`},
		"an error of the lag":     {errors.New("nonsense"), row("standby"), `not ready: require "read-only": lag_query: nonsense`},
		"no answer":               {row(1), "", "no answer"},
		"no answer about the lag": {"", row("standby"), "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				newTellingNode(b.Node("n1"), tc.role, tc.lag)
				d := fakeCluster(t, b, 1, WithRoleQueries("ROLE", "LAG"), WithRequire(RequireReadOnly), WithMaxLag(2*time.Second))
				openDB(t, d)
				time.Sleep(10 * time.Second)
				switch s, reason := stateOf(d, 0); {
				case tc.reason == "":
					always(t, d, 0, 3*time.Second)
				case s != StateDown || !strings.Contains(reason, tc.reason):
					t.Errorf("%s: %s", s, reason)
				}
			})
		})
	}
}

// A query that gets no answer, as while somebody has locked its table, takes the
// node out of use for as long, and cuts nothing. Where max_lag is set, the pool gives
// the node's connections up when the lag has not been told for longer.
func TestQueryWithoutAnAnswerCutsNothing(t *testing.T) {
	for _, lag := range []time.Duration{0, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			b, told := fakedb.New(), new(diary)
			nodes := make([]*tellingNode, 2)
			for i := range nodes {
				nodes[i] = newTellingNode(b.Node(nodeName(i)), row("standby"), row(0))
			}
			d := fakeCluster(t, b, 2, WithRoleQueries("ROLE", "LAG"), WithMaxLag(lag), WithOnEvent(told.write))
			openDB(t, d)
			time.Sleep(5 * time.Second)
			for _, n := range nodes {
				n.lag.Store([]any{""})
			}
			before := b.Stats().Connects
			time.Sleep(time.Minute)
			for i, n := range nodes {
				s := d.Status().Nodes[i]
				if e := told.of(nodeName(i), EventCut); len(e) > 0 || s.Generation > 0 != (lag > 0) || s.State != StateDown {
					t.Errorf("max_lag %s: %+v, generation %d, %s: %s", lag, e, s.Generation, s.State, s.Reason)
				}
				n.lag.Store([]any{row(0)})
			}
			if n := b.Stats().Connects - before; n > 2*20 { // a dial has 3 s, and a backoff is 5 s at most
				t.Errorf("max_lag %s: %d connects in a minute", lag, n)
			}
			time.Sleep(10 * time.Second)
			for i := range nodes {
				always(t, d, i, time.Second)
			}
		})
	}
}

// A server of PostgreSQL that does not answer the long question is asked the short
// one. What is neither yes nor no is not taken for a primary.
func TestPostgresIsAskedTheShortQuestion(t *testing.T) {
	for name, tc := range map[string]struct {
		long  error
		short [][]driver.Value
		state State
	}{
		"not known":   {pgState("42883"), row(false, "off"), StateUp},
		"a bug":       {pgState("XX000"), row(false, "off"), StateUp},
		"no file":     {pgState("58P01"), row("f", "off"), StateUp},
		"cancelled":   {pgState("57014"), row(false, "off"), StateUp},
		"a standby":   {pgState("42883"), row(true, "on"), StateDown},
		"nobody says": {pgState("42883"), row(nil, nil), StateDown},
		"a number":    {pgState("42883"), row(int64(7), "x"), StateDown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				b.Node("n1").OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
					if strings.HasPrefix(query, "SELECT r.standby") {
						return tc.long
					}
					return nil
				})
				b.Node("n1").OnQuery(func(string) ([][]driver.Value, bool) { return tc.short, true })
				d := fakeCluster(t, b, 1, WithDialect(DialectPostgres), WithRequire(RequireReadWrite))
				openDB(t, d)
				time.Sleep(5 * time.Second)
				if s, reason := stateOf(d, 0); s != tc.state {
					t.Errorf("%s: %s", s, reason)
				}
				if role := d.Status().Nodes[0].Role; tc.short[0][0] == nil && role != RoleUnknown {
					t.Errorf("a %s", role)
				}
			})
		})
	}
}

// A standby whose lag is about max_lag is not taken in and out all the time.
func TestLagAboutTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, told := fakedb.New(), new(diary)
		newTellingNode(b.Node("n1"), row("primary"), row(0))
		n := newTellingNode(b.Node("n2"), row("standby"), row(0))
		d := fakeCluster(t, b, 2, WithRoleQueries("ROLE", "LAG"), WithRequire(RequirePreferStandby), WithMaxLag(2*time.Second), WithOnEvent(told.write))
		openDB(t, d)
		for i := range 300 {
			n.lag.Store([]any{row([]float64{1.7, 2.1}[i/3%2])})
			time.Sleep(time.Second)
		}
		if e := told.of("n2", EventState); len(e) != 2 { // it came up, and went down
			t.Errorf("%d changes", len(e))
		}
		n.lag.Store([]any{row(1.6)})
		time.Sleep(4 * time.Second)
		always(t, d, 1, time.Second)
	})
}

// A backend that panics when it is asked for what nobody needs takes no node down.
// Its connection is not used any more, and it is asked again a minute later.
func TestPanicInTheOptionalQuestion(t *testing.T) {
	panics := func(prefix string) func(context.Context, string, []driver.NamedValue) error {
		return func(_ context.Context, query string, _ []driver.NamedValue) error {
			if strings.HasPrefix(query, prefix) {
				panic("a nil map")
			}
			return nil
		}
	}
	for name, tc := range map[string]struct {
		asks, answers string
		opts          []Option
		state         State
	}{
		"PostgreSQL":                {"SELECT r.standby", "t", []Option{WithDialect(DialectPostgres)}, StateUp},
		"MySQL's variables":         {"SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only'", "0", []Option{WithDialect(DialectMySQL)}, StateUp},
		"MySQL's sources":           {"SHOW REPLICA STATUS", "0", []Option{WithDialect(DialectMySQL), WithRequire(RequireReadWrite)}, StateUp},
		"a preference":              {"SHOW REPLICA STATUS", "0", []Option{WithDialect(DialectMySQL), WithRequire(RequirePreferStandby)}, StateUp},
		"role_query":                {"ROLE", "", []Option{WithRoleQueries("ROLE", "")}, StateDown},
		"what require depends on":   {"SHOW REPLICA STATUS", "0", []Option{WithDialect(DialectMySQL), WithRequire(RequirePrimary)}, StateDown},
		"what max_lag depends on":   {"SELECT r.standby", "t", []Option{WithDialect(DialectPostgres), WithMaxLag(time.Second)}, StateDown},
		"whether it can be written": {"SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only'", "0", []Option{WithDialect(DialectMySQL), WithRequire(RequireReadWrite)}, StateDown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, told := fakedb.New(), new(diary)
				n := b.Node("n1")
				n.OnStatement(panics(tc.asks))
				n.OnTable(func(query string) ([]string, [][]driver.Value, bool) {
					if strings.HasPrefix(query, "SHOW GLOBAL VARIABLES") {
						return []string{"Variable_name", "Value"}, [][]driver.Value{{"read_only", "OFF"}, {"version", "9.7.4"}}, true
					}
					return []string{"x"}, row(tc.answers), true
				})
				d := fakeCluster(t, b, 1, append([]Option{WithOnEvent(told.write)}, tc.opts...)...)
				openDB(t, d)
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				s := d.Status().Nodes[0]
				if s.State != tc.state {
					t.Fatalf("%s: %s", s.State, s.Reason)
				}
				if s.State == StateDown {
					if !strings.Contains(s.Reason, "the backend panicked in check: a nil map") {
						t.Error(s.Reason)
					}
					return
				}
				if e := told.of("n1", EventState); len(e) != 1 || s.Generation != 0 {
					t.Errorf("generation %d, %+v", s.Generation, e)
				}
				if c := b.Stats().Connects; c > 6+1 {
					t.Errorf("%d connections in five minutes", c)
				}
			})
		})
	}
}
