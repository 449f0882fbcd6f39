package dialect

import (
	"database/sql/driver"
	"math"
	"testing"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

func TestCheckQueryTruth(t *testing.T) {
	cases := []struct {
		table [][]driver.Value
		fit   bool
	}{
		{[][]driver.Value{{true}}, true}, {[][]driver.Value{{int64(1)}}, true}, {[][]driver.Value{{int64(-2)}}, true},
		{[][]driver.Value{{0.5}}, true}, {[][]driver.Value{{[]byte("1")}}, true}, {[][]driver.Value{{"ON"}}, true},
		{[][]driver.Value{{"t"}}, true}, {[][]driver.Value{{[]byte("True")}}, true}, {[][]driver.Value{{"yes", "x"}}, true},
		{[][]driver.Value{{false}}, false}, {[][]driver.Value{{int64(0)}}, false}, {[][]driver.Value{{nil}}, false},
		{[][]driver.Value{{""}}, false}, {[][]driver.Value{{"OFF"}}, false}, {[][]driver.Value{{"0.0"}}, false},
		{[][]driver.Value{{math.NaN()}}, false}, {[][]driver.Value{{"perhaps"}}, false},
		{nil, false}, {[][]driver.Value{{true}, {true}}, false}, {[][]driver.Value{{}}, false},
	}
	for _, tc := range cases {
		fakes := fakedb.New()
		fakes.Node("n").OnQuery(func(string) ([][]driver.Value, bool) { return tc.table, true })
		conn, err := fakes.Driver().Open("n")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []driver.Conn{conn, preparesOnly{conn}} {
			if err := QueryCheck("SELECT fit", QueryRows)(t.Context(), c); (err == nil) != tc.fit {
				t.Errorf("%v on a %T: %v", tc.table, c, err)
			}
		}
		conn.Close()
	}
}

// preparesOnly hides every optional interface of a conn.
type preparesOnly struct{ driver.Conn }
