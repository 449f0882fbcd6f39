package main

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A node that refuses for some seconds before a round fails no round. One that goes on
// does.
func TestGatherAsksAgain(t *testing.T) {
	for _, tc := range []struct {
		refuses time.Duration
		want    string
	}{{5 * time.Second, ""}, {time.Hour, "not ready"}} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			n := b.Node("n1")
			n.OnQuery(func(string) ([][]driver.Value, bool) { return [][]driver.Value{{int64(7)}}, true })
			n.SetHealth(errors.New("not ready"), 0, false)
			time.AfterFunc(tc.refuses, func() { n.SetHealth(nil, 0, false) })
			c, err := b.Driver().(driver.DriverContext).OpenConnector("n1")
			if err != nil {
				t.Fatal(err)
			}
			client := &Client{db: sql.OpenDB(c)}
			defer client.db.Close()
			var on int
			switch err := client.Gather(Watching{Readers: 4, Port: 7}, &on); {
			case tc.want == "" && (err != nil || on != 4):
				t.Errorf("%d connections, %v", on, err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("it never answers: %v", err)
			}
		})
	}
}
