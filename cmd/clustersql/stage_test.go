package main

import (
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/statuspage"
)

// errRefused is what a dial gets where nobody listens.
var errRefused error = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}

// A stage is a running program with a status page: this test. Its clusters are of
// scripted servers.
type stage struct {
	backend *fakedb.Backend
	driver  clustersql.Driver
	db      *sql.DB
	url     string // of the page, which may drain
	reader  string // of a page that may not
}

// newStage makes a cluster "app" with the nodes n1 to n3, and waits until they are up.
// A test with a stage has no t.Parallel: beside another one its cluster would be app#2.
func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{backend: fakedb.New()}
	s.driver = clustersql.NewDriver(s.backend.Driver(), "app", clustersql.WithLogger(slog.New(slog.DiscardHandler)),
		clustersql.WithSeed(1), clustersql.WithProbe(100*time.Millisecond, 100*time.Millisecond))
	t.Cleanup(func() { s.driver.Close() })
	for i := range 3 {
		if err := s.driver.AddNode(fmt.Sprintf("n%d", i+1), fmt.Sprintf("app:hunter22@h%d/db", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	s.db = sql.OpenDB(s.driver.Connector())
	t.Cleanup(func() { s.db.Close() })
	if err := s.driver.WaitReady(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	// The page is mounted below a path, as in a program.
	mux := http.NewServeMux()
	mux.Handle("/ops/clusters/", statuspage.Handler(statuspage.Clusters(s.driver), statuspage.AllowDrain()))
	mux.Handle("/read/", statuspage.Handler(statuspage.Clusters(s.driver)))
	mux.HandleFunc("/other", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url, s.reader = server.URL+"/ops/clusters/", server.URL+"/read/"
	return s
}

func (s *stage) kill(node int) {
	n := s.backend.Node(fmt.Sprintf("app:hunter22@h%d/db", node))
	n.SetMood(fakedb.Mood{Dial: errRefused})
	n.Break(errRefused, false)
}

func (s *stage) revive(node int) {
	s.backend.Node(fmt.Sprintf("app:hunter22@h%d/db", node)).SetMood(fakedb.Mood{})
}

// waitState waits until a node of the stage has a state.
func (s *stage) waitState(t *testing.T, node string, want clustersql.State) {
	t.Helper()
	waitFor(t, func() string {
		if got := stateOf(s.driver.Status().Nodes, node); got != want {
			return fmt.Sprintf("%s is %s, want %s", node, got, want)
		}
		return ""
	})
}
