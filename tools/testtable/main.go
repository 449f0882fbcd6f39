// Testtable tells people what a run of checks has come to.
//
//	go test -json ./... 2>&1 | tee log | testtable watch    says how far the tests are
//	testtable table DIR                                     ends the run: failures, one table, one line
//
// It counts what `go test -json` reports and nothing else. DIR holds the file
// steps, which ./test.sh writes: a line for each step, see readSteps.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	switch os.Args[1] {
	case "watch":
		all := flags.Bool("v", false, "print all output as it comes")
		show := flags.String("show", "^$", "the tests whose output is worth reading when they pass: a regular expression")
		every := flags.Duration("every", 30*time.Second, "how long to keep silent at most")
		_ = flags.Parse(os.Args[2:])
		shown, err := regexp.Compile(*show)
		if err != nil {
			fail(err)
		}
		w := newWatcher(os.Stdout, *all, shown)
		if err := w.watch(os.Stdin, *every); err != nil {
			fail(err)
		}
	case "table":
		took := flags.Float64("seconds", 0, "how long all of it took, where steps ran side by side; 0 is the sum of the steps")
		_ = flags.Parse(os.Args[2:])
		if flags.NArg() != 1 {
			usage()
		}
		steps, err := readSteps(flags.Arg(0))
		if err != nil {
			fail(err)
		}
		if !report(os.Stdout, steps, *took) {
			os.Exit(1)
		}
	default:
		usage()
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: testtable watch [-v] [-show REGEXP] [-every DURATION] | testtable table [-seconds N] DIR")
	os.Exit(2)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "testtable:", err)
	os.Exit(2)
}
