package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A server tells its place in the log, and a primary has all.
func TestPositionOfServers(t *testing.T) {
	lost := errors.New("the connection is lost")
	for _, tc := range []struct {
		name, system string
		row          []driver.Value
		err          error
		want         string
		all          bool
		told         error
	}{
		{"a primary", "7312", []driver.Value{false, "67108984", "67108984"}, nil, "pg/7312:1-67108984", true, nil},
		{"a standby", "7312", []driver.Value{true, []byte("67108984"), nil}, nil, "pg/7312:1-67108984", false, nil},
		{"a primary of which nothing is known", "", []driver.Value{"f", "100", "100", int64(7312)}, nil, "pg/7312:1-100", true, nil},
		{"a full page", "7", []driver.Value{false, "8216", "8192"}, nil, "pg/7:1-8192", true, nil},
		{"a full page that is not flushed", "7", []driver.Value{false, "16408", "8192"}, nil, "pg/7:1-16384", true, nil},
		{"a full file", "7", []driver.Value{false, "16777256", "16777216"}, nil, "pg/7:1-16777216", true, nil},
		{"what may be a full file, not flushed", "7", []driver.Value{false, "16777240", "8192"}, nil, "pg/7:1-16777240", true, nil},
		{"a standby that has replayed nothing", "7", []driver.Value{true, nil, nil}, nil, "", false, dialect.ErrNoPosition},
		{"a server that does not know the functions", "7", nil, state("42883"), "", false, dialect.ErrNoPosition},
		{"a query that was cancelled", "7", nil, state("57014"), "", false, state("57014")},
		{"a server that ends", "7", nil, state("57P01"), "", false, state("57P01")},
		{"a lost connection", "7", nil, lost, "", false, lost},
	} {
		b := fakedb.New()
		b.Node("n").OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
			if strings.Contains(query, "pg_control_system") != (tc.system == "") {
				t.Errorf("%s: asked %s", tc.name, query)
			}
			return tc.err
		})
		b.Node("n").OnQuery(func(string) ([][]driver.Value, bool) { return [][]driver.Value{tc.row}, true })
		conn, err := b.Driver().Open("n")
		if err != nil {
			t.Fatal(err)
		}
		at := dialect.Site{System: tc.system}
		p, all, err := Dialect{}.Position(t.Context(), conn, at)
		if p.String() != tc.want || all != tc.all || !errors.Is(err, tc.told) {
			t.Errorf("%s: %q, %v, %v", tc.name, p, all, err)
		}
		p, all, err = Dialect{}.CatchUp(t.Context(), conn, at)
		if tc.told != dialect.ErrNoPosition && !errors.Is(err, tc.told) || p.String() != tc.want || all != tc.all {
			t.Errorf("%s, all that there is: %q, %v, %v", tc.name, p, all, err)
		}
		conn.Close()
	}
}

type state string

func (s state) Error() string    { return string(s) }
func (s state) SQLState() string { return string(s) }
