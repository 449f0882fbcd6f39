package integration

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/go-sql-driver/mysql"
)

// lateFor is the environment variable that makes this test's binary the program
// of the row "late".
const lateFor = "CLUSTERSQL_LATE"

// A lateReport is what the program saw.
type lateReport struct {
	Late   time.Duration // by how much the program ran late at worst
	Plain  string        // what the backend alone said to the statement; empty: nothing
	Ours   string
	Events []clustersql.Event
	Downs  []string
}

// late has a program that runs late itself: it has one processor, and 70
// goroutines that compute. Its nodes are well, so nothing of it is cut, and no
// node is down.
func late(s *stage) {
	file := filepath.Join(s.TempDir(), "report")
	s.start()
	from := time.Now()
	var dsns []string
	for _, n := range s.c.Nodes {
		dsns = append(dsns, n.DSN(""))
	}
	cmd := exec.CommandContext(s.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", lateFor+"="+strings.Join(append([]string{file}, dsns...), " "))
	if out, err := cmd.CombinedOutput(); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(file)
	s.must(err)
	var saw lateReport
	s.must(json.Unmarshal(text, &saw))
	during := span{from, time.Now()}
	s.end()
	s.Logf("the program ran late by up to %s; a plain driver: %q; ours: %q; %d events", saw.Late, saw.Plain, saw.Ours, len(saw.Events))
	a := account{client: "late", interval: usual.ProbeInterval, timeout: usual.ProbeTimeout, events: saw.Events}
	for _, node := range saw.Downs {
		a.downs = append(a.downs, sighting{node: node, at: during.to})
	}
	l := tally{fault: "program late", readsOK: 1, noReturn: true, toll: s.lookout.toll(a, during)}
	if saw.Ours != "" {
		l.readsOK, l.readsFailed = 0, 1
	}
	s.table.lines = append(s.table.lines, l)
	s.bound(l.toll.ok(), "%s:\n%s", l.toll, l.toll.told())
	s.bound(saw.Ours == saw.Plain, "the statement: %q; with the backend alone: %q", saw.Ours, saw.Plain)
	s.bound(saw.Late > usual.ProbeTimeout, "the program ran late by %s at most: the row shows nothing", saw.Late)
}

// lateProgram is the program of the row "late". What it is given is a file and
// the DSNs of the nodes.
func lateProgram(given []string) error {
	_ = mysql.SetLogger(&mysql.NopLogger{})
	file, dsns := given[0], given[1:]
	var mu sync.Mutex
	var saw lateReport
	d := clustersql.NewDriver(mysql.MySQLDriver{}, "late", clustersql.WithLogger(slog.New(slog.DiscardHandler)), clustersql.WithOnEvent(func(e clustersql.Event) {
		mu.Lock()
		defer mu.Unlock()
		saw.Events = append(saw.Events, e)
	}))
	defer d.Close()
	for i, dsn := range dsns {
		if err := d.AddNode(fmt.Sprintf("n%d", i+1), dsn); err != nil {
			return err
		}
	}
	bare, err := sql.Open("mysql", dsns[0])
	if err != nil {
		return err
	}
	defer bare.Close()
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	ready, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := d.WaitReady(ready, len(dsns)); err != nil {
		return err
	}
	stop := compute(70)
	ended := make(chan struct{})
	lateness := make(chan time.Duration)
	go func() { lateness <- worstLateness(ended) }()
	sleep := func(db *sql.DB, says *string) {
		if _, err := db.Exec("DO SLEEP(8)"); err != nil {
			*says = err.Error()
		}
	}
	var asked sync.WaitGroup
	asked.Go(func() { sleep(db, &saw.Ours) })
	asked.Go(func() { sleep(bare, &saw.Plain) })
	asked.Wait()
	for _, n := range downsOf(d) {
		saw.Downs = append(saw.Downs, n.node)
	}
	close(ended)
	saw.Late = <-lateness
	stop()
	mu.Lock()
	defer mu.Unlock()
	text, err := json.Marshal(saw)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

// worstLateness returns how late this program was at worst until ended is
// closed.
func worstLateness(ended <-chan struct{}) (worst time.Duration) {
	for {
		due := time.Now().Add(lookEvery)
		select {
		case <-time.After(lookEvery):
			worst = max(worst, time.Since(due))
		case <-ended:
			return worst
		}
	}
}

// compute has goroutines compute until stop is called.
func compute(goroutines int) (stop func()) {
	var over atomic.Bool
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for n := 0; !over.Load(); n++ {
				runtime.KeepAlive(n)
			}
		})
	}
	return func() { over.Store(true); wg.Wait() }
}
