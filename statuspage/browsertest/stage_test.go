package browsertest

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/statuspage"
)

// errRefused is what a dial gets where nobody listens.
var errRefused error = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}

// A stage is some clusters of scripted servers, a program that works with them,
// and the page over them.
type stage struct {
	backend  *fakedb.Backend
	clusters []clustersql.Driver
	page     string // the page's address
	stop     func() // ends the page's server
}

// newStage starts clusters, which the stage has by their names' order, and serves the page under a path. The test's end ends
// all of it.
func newStage(t *testing.T, path string, clusters map[string]int, options ...statuspage.Option) *stage {
	t.Helper()
	s := &stage{backend: fakedb.New()}
	quiet := slog.New(slog.DiscardHandler)
	for _, name := range slices.Sorted(maps.Keys(clusters)) {
		nodes := clusters[name]
		d := clustersql.NewDriver(s.backend.Driver(), name, clustersql.WithLogger(quiet), clustersql.WithStrategy(clustersql.Balanced), clustersql.WithProbe(250*time.Millisecond, 200*time.Millisecond))
		for i := range nodes {
			n := fmt.Sprintf("node%d", i+1)
			s.node(name, n).SetMood(fakedb.Mood{Delay: time.Duration(i+1) * 400 * time.Microsecond})
			if err := d.AddNode(n, name+"/"+n); err != nil {
				t.Fatal(err)
			}
		}
		db := sql.OpenDB(d.Connector())
		t.Cleanup(func() {
			db.Close()
			d.Close()
		})
		s.clusters = append(s.clusters, d)
		s.work(t, db)
	}
	handler := statuspage.Handler(append([]statuspage.Option{statuspage.Clusters(s.clusters...)}, options...)...)
	s.page, s.stop = serve(t, path, handler)
	return s
}

func (s *stage) node(cluster, name string) *fakedb.Node { return s.backend.Node(cluster + "/" + name) }

// work opens connections, as a program would, until the test ends.
func (s *stage) work(t *testing.T, db *sql.DB) {
	db.SetMaxIdleConns(2)
	var worker sync.WaitGroup
	stop := make(chan struct{})
	worker.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				var conns []*sql.Conn
				for range 3 {
					if c, err := db.Conn(t.Context()); err == nil {
						conns = append(conns, c)
					}
				}
				for _, c := range conns {
					c.Close()
				}
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		worker.Wait()
	})
}

// kill ends a server.
func (s *stage) kill(cluster, name string) {
	s.node(cluster, name).SetMood(fakedb.Mood{Dial: errRefused})
	s.node(cluster, name).Break(errRefused, false)
}

// revive starts a server.
func (s *stage) revive(cluster, name string) { s.node(cluster, name).SetMood(fakedb.Mood{}) }

// until waits until a cluster has a node in a state, and returns since when.
func (s *stage) until(t *testing.T, cluster, node string, state clustersql.State) (since time.Time) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		for _, d := range s.clusters {
			for _, n := range d.Status().Nodes {
				if d.Status().Name == cluster && n.Name == node && n.State == state {
					return n.Since
				}
			}
		}
		if time.Since(began) > patience {
			t.Fatalf("%s of %s is not %s", node, cluster, state)
		}
	}
}

// serve serves a handler on a port that is free, and returns the address of the
// path there. stop ends the server, as the test's end does.
func serve(t *testing.T, path string, h http.Handler) (address string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(path, h)
	server := &http.Server{Handler: mux}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	stop = sync.OnceFunc(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return "http://" + listener.Addr().String() + path, stop
}
