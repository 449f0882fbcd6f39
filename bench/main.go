// The benchmark measures clustersql beside what a user would pick instead: a
// plain driver, a dialer of a few lines, the original of this name, and
// HAProxy, in one run, on real MariaDB Galera nodes.
//
//	go -C bench run .           everything; writes RESULTS.md and its pictures, about 20 minutes
//	go -C bench run . -quick    a smoke run that judges no times, into a temporary folder
//
// Everything runs on loopback. The clients, the relays that make faults, and
// the proxies are processes of their own, which end with this one.
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

	"github.com/go-sql-driver/mysql"
)

func main() {
	mysql.SetLogger(&mysql.NopLogger{}) // nodes die on purpose here
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are those of the command line.
type options struct {
	role  string
	quick bool
	out   string
	raw   string
	from  string
	only  string
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.role, "role", "", "used by the benchmark itself, for its child processes")
	flags.BoolVar(&o.quick, "quick", false, "a short run that judges no times")
	flags.StringVar(&o.out, "out", "", "folder for RESULTS.md and its pictures (default: here, with -quick a temporary one)")
	flags.StringVar(&o.raw, "raw", "", "also write what was measured to this file")
	flags.StringVar(&o.from, "from", "", "measure nothing: write the report of a file that -raw wrote")
	flags.StringVar(&o.only, "only", "", "measure only these sections, by comma: opens, load, failover, spread, left, idle")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case o.role != "":
		return serveRole(o.role)
	case o.from != "":
		return renderAgain(o)
	}
	return measure(ctx, o, stdout)
}
