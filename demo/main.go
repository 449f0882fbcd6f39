// The demo shows what clustersql does when nodes come and go: three MySQL
// servers, a program that reads and writes through two clusters of them, and
// a table of what each cluster thinks of each node. One node is stopped and
// comes back, another turns slow and recovers; the program must not see an
// error.
//
//	go -C demo run .            three small servers in this process
//	go -C demo run . -galera    three MariaDB Galera nodes
//	go -C demo run . -postgres  a PostgreSQL primary and two standbys
//
// Meanwhile a page shows the same in a browser; the demo prints its address. With
// -page 127.0.0.1:8080 it is there, and stays after the scenario until Ctrl-C.
//
// On PostgreSQL one standby also falls behind, and the primary is killed: the
// demo plays the failover manager, promotes a standby, and brings the old
// primary back as a standby.
//
// It ends by itself, with status 0 if no operation failed and 1 otherwise.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := interruptible()
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// interruptible returns a context that Ctrl-C cancels. A second Ctrl-C ends the
// process at once.
func interruptible() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// These are the exit statuses.
const (
	statusOK     = 0
	statusFailed = 1 // an operation failed, or the demo did
	statusUsage  = 2
)

// options are those of the command line.
type options struct {
	galera   bool
	postgres bool
	outage   bool
	duration time.Duration
	config   string // empty: the one of the database
	page     string // the page's address, which then stays; empty: on any port, while the scenario runs
}

// run runs the demo. If ctx is done it ends early and leaves nothing behind.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (status int) {
	opts, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return statusOK
	case err != nil:
		return statusUsage
	}
	clean, err := play(ctx, opts, stdout)
	switch {
	case err != nil && ctx.Err() != nil:
		fmt.Fprintln(stderr, "demo: interrupted:", err)
	case err != nil:
		fmt.Fprintln(stderr, "demo:", err)
		return statusFailed
	case !clean:
		return statusFailed
	}
	return statusOK
}

func parse(args []string, stderr io.Writer) (options, error) {
	var opts options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&opts.galera, "galera", false, "run on three real MariaDB Galera nodes, started for the purpose")
	flags.BoolVar(&opts.postgres, "postgres", false, "run on a real PostgreSQL primary and two standbys, started for the purpose")
	flags.BoolVar(&opts.outage, "outage", false, "take all three nodes away instead: operations fail, and the exit status is 1")
	flags.DurationVar(&opts.duration, "duration", 12*time.Second, "how long the scenario takes, without the time that nodes need to stop and to start")
	flags.StringVar(&opts.config, "config", "", "the clusters' configuration (default config.toml, and with -postgres postgres.toml)")
	flags.StringVar(&opts.page, "page", "", "serve the page on this address, as in 127.0.0.1:8080, and keep it after the scenario until Ctrl-C")
	if err := flags.Parse(args); err != nil {
		return opts, err
	}
	if opts.duration <= 0 || flags.NArg() > 0 || opts.galera && opts.postgres {
		fmt.Fprintln(stderr, "demo: -duration must be positive, -galera and -postgres exclude each other, and there are no arguments but flags")
		return opts, errors.New("usage")
	}
	return opts, nil
}
