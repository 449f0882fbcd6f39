package clustersql

import (
	"context"
	"database/sql/driver"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// Probes ask no more than the settings and the status need: what is for the status
// alone, every fifth of them.
func TestProbesAskNoMoreThanTheyMust(t *testing.T) {
	const (
		works     = "DO 1"
		variables = "SHOW GLOBAL VARIABLES"
		sources   = "SHOW REPLICA STATUS"
		members   = "SELECT m.MEMBER_STATE"
		all       = "SELECT r.standby"
	)
	for name, tc := range map[string]struct {
		nodes   func(b *fakedb.Backend) func(context.Context, string, []driver.NamedValue) error
		opts    []Option
		in100   map[string]int // statements by their first words
		dialect Dialect
	}{
		"MySQL":      {mysqlAlone, nil, map[string]int{works: 100, variables: 20}, DialectMySQL},
		"its access": {mysqlAlone, []Option{WithRequire(RequireReadWrite)}, map[string]int{works: 100, variables: 100, sources: 100}, DialectMySQL},
		"its lag":    {mysqlAlone, []Option{WithMaxLag(time.Minute)}, map[string]int{works: 100, variables: 100, sources: 100}, DialectMySQL},
		"a group":    {groupAlone, nil, map[string]int{works: 100, variables: 100, members: 100}, DialectMySQL},
		"PostgreSQL": {pgAlone, nil, map[string]int{all: 20}, DialectPostgres},
		"its role":   {pgAlone, []Option{WithRequire(RequirePrimary)}, map[string]int{all: 100}, DialectPostgres},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				run := tc.nodes(b)
				var mu sync.Mutex
				asked := make(map[string]int)
				b.Node("n1").OnStatement(func(ctx context.Context, query string, args []driver.NamedValue) error {
					mu.Lock()
					for _, known := range []string{works, variables, sources, members, all} {
						if strings.HasPrefix(query, known) {
							query = known
						}
					}
					asked[query]++
					mu.Unlock()
					if run == nil {
						return nil
					}
					return run(ctx, query, args)
				})
				d := fakeCluster(t, b, 1, append([]Option{WithDialect(tc.dialect)}, tc.opts...)...)
				openDB(t, d)
				probes := func() uint64 { synctest.Wait(); return (*d.m.nodes.Load())[0].snapshot.Load().probes }
				for probes() < 10 {
					time.Sleep(10 * time.Millisecond)
				}
				mu.Lock()
				clear(asked)
				mu.Unlock()
				for probes() < 110 {
					time.Sleep(10 * time.Millisecond)
				}
				if !maps.Equal(asked, tc.in100) {
					t.Errorf("asked in 100 probes %v, want %v", asked, tc.in100)
				}
				if c := b.Stats().Connects; c != 1 {
					t.Errorf("%d connections", c)
				}
			})
		})
	}
}

func mysqlAlone(b *fakedb.Backend) func(context.Context, string, []driver.NamedValue) error {
	return mysqlNodes(b, 1)[0].run
}

func groupAlone(b *fakedb.Backend) func(context.Context, string, []driver.NamedValue) error {
	return groupNodes(b, 1)[0].run
}

func pgAlone(b *fakedb.Backend) func(context.Context, string, []driver.NamedValue) error {
	pgNodes(b, 1)
	return nil
}
