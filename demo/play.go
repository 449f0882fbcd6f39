package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/go-sql-driver/mysql"
	"github.com/sirupsen/logrus"
)

// auditTimeout is how long a node may take to get what the others have.
const auditTimeout = 20 * time.Second

// play runs the demo, from the start of the servers to their end. It reports
// whether no operation failed and no row was lost. Nothing that it started is
// left when it returns.
func play(ctx context.Context, opts options, out io.Writer) (clean bool, err error) {
	silence()
	start := startEmbedded
	switch {
	case opts.galera:
		fmt.Fprintln(out, "starting three MariaDB Galera nodes …")
		start = startGalera
	case opts.postgres:
		fmt.Fprintln(out, "starting a PostgreSQL primary and two standbys …")
		start = startPostgres
	}
	nodes, err := start(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, nodes.close()) }()
	if err := nodes.export(); err != nil {
		return false, err
	}
	journal := newJournal()
	journal.takeLogs()
	registry, err := clustersql.RegisterFile(cmp.Or(opts.config, nodes.dialect.config))
	if err != nil {
		return false, err
	}
	defer registry.Close()
	app, err := openApplication(nodes.dialect, opts.timeout())
	if err != nil {
		return false, err
	}
	defer app.close()
	page, err := servePage(cmp.Or(opts.page, anyPort), opts.page != "")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, page.close()) }()
	fmt.Fprintf(out, "the page in a browser: %s\n", page.address)
	s := newStage(opts, out, nodes, registry, app, journal)
	clean, err = s.perform(ctx)
	if err == nil && opts.page != "" {
		s.linger(ctx, page.address)
	}
	return clean, err
}

// timeout returns the time limit of one operation. In an outage it is short, so
// that operations do fail before the outage is over. On PostgreSQL a write has to
// wait for a promotion.
func (o options) timeout() time.Duration {
	switch {
	case o.outage:
		return o.duration / 10
	case o.postgres:
		return 30 * time.Second
	}
	return 10 * time.Second
}

// silence drops log lines that would appear in the middle of the table.
// go-sql-driver writes one for each connection that it finds closed, and the
// embedded servers write some when they start and stop.
func silence() {
	log.SetOutput(io.Discard)
	logrus.SetOutput(io.Discard)
	mysql.SetLogger(&mysql.NopLogger{})
}

// takeLogs sends clustersql's log lines to the journal.
func (j *journal) takeLogs() {
	slog.SetDefault(slog.New(journalHandler{journal: j}))
	log.SetOutput(io.Discard) // SetDefault has changed it
}

// A stage is the demo with everything started.
type stage struct {
	nodes    *cluster
	app      *application
	scenario scenario
	outage   bool
	screen   screen
}

func newStage(opts options, out io.Writer, nodes *cluster, r *clustersql.Registry, app *application, j *journal) *stage {
	var clusters []clustersql.Driver
	for _, name := range r.Names() {
		c, _ := r.Driver(name)
		clusters = append(clusters, c)
	}
	s := &stage{
		nodes: nodes, app: app, outage: opts.outage,
		scenario: scenario{nodes: nodes.nodes, clusters: clusters, journal: j, replicas: nodes.replicas, length: opts.duration},
		screen:   screen{out: out, live: isTerminal(out), what: nodes.what, roles: nodes.replicas != nil, app: app, clusters: clusters, journal: j},
	}
	if s.screen.live && os.Getenv("NO_COLOR") == "" {
		s.screen.paint = colours
	}
	return s
}

// perform prepares the tables, lets the application work while the scenario
// runs, and prints a summary. If ctx is done the scenario ends early; that is
// no error.
func (s *stage) perform(ctx context.Context) (clean bool, err error) {
	if err := s.prepare(ctx); err != nil {
		return false, err
	}
	err = s.show(ctx)
	interrupted := ctx.Err() != nil
	if interrupted {
		err = nil
	}
	return s.sumUp(interrupted), err
}

func (s *stage) prepare(ctx context.Context) error {
	if err := s.app.prepare(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	return s.nodes.audit(ctx, seedRows)
}

// show runs the application, the scenario and the screen. It returns when all
// have ended.
func (s *stage) show(ctx context.Context) error {
	working, rest := context.WithCancel(ctx)
	watching, look := context.WithCancel(context.WithoutCancel(ctx))
	var work, watch sync.WaitGroup
	watch.Go(func() { s.screen.run(watching) })
	work.Go(func() { s.app.run(working) })
	run := s.scenario.run
	if s.outage {
		run = s.scenario.outage
	}
	err := run(ctx)
	rest()
	work.Wait()
	look()
	watch.Wait()
	return err
}
