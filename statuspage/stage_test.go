package statuspage

import (
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// Nothing that a test started may be left when all tests have ended.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// errRefused is what a dial gets where nobody listens.
var errRefused error = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}

// A stage is clusters of scripted servers.
type stage struct {
	backend  *fakedb.Backend
	clusters []clustersql.Driver
	dbs      []*sql.DB
}

// newStage makes clusters with so many nodes each, named c1, c2 and n1, n2. If
// open is set their actors run until the test's end.
func newStage(t testing.TB, open bool, nodes ...int) *stage {
	t.Helper()
	s := &stage{backend: fakedb.New()}
	for i, many := range nodes {
		name := fmt.Sprintf("c%d", i+1)
		d := clustersql.NewDriver(s.backend.Driver(), name, clustersql.WithLogger(slog.New(slog.DiscardHandler)), clustersql.WithSeed(1))
		t.Cleanup(func() { d.Close() })
		for j := range many {
			if err := d.AddNode(fmt.Sprintf("n%d", j+1), fmt.Sprintf("%s/n%d", name, j+1)); err != nil {
				t.Fatal(err)
			}
		}
		s.clusters = append(s.clusters, d)
		if open {
			db := sql.OpenDB(d.Connector())
			t.Cleanup(func() { db.Close() })
			s.dbs = append(s.dbs, db)
		}
	}
	return s
}

// node returns a server by its DSN.
func (s *stage) node(dsn string) *fakedb.Node { return s.backend.Node(dsn) }

// kill ends a server.
func (s *stage) kill(dsn string) {
	s.node(dsn).SetMood(fakedb.Mood{Dial: errRefused})
	s.node(dsn).Break(errRefused, false)
}

// revive starts a server.
func (s *stage) revive(dsn string) { s.node(dsn).SetMood(fakedb.Mood{}) }
