// Command clustersql looks at clusters of clustersql, and works on them: it finds
// mistakes in a configuration file, tries the nodes before production, watches
// them, says what is odd, drains a node of a running program, and has one reload its
// file. docs/commands.md is its manual.
//
// Each command is in a file of its own, which registers it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes that several commands have. Each command's own are beside its code.
const (
	exitOK    = 0
	exitUsage = 2 // the command line is wrong; check has 3 for it
)

// A command is one word after clustersql.
type command struct {
	place int // in the help
	name  string
	help  string
	make  func() runner // its flags and arguments, for kong
}

// A runner runs a command. An exit sets the exit code; any other error is printed
// to stderr, and the exit code is 1.
type runner interface{ Run(*env) error }

var commands []command

// register makes a command known. The files of the commands call it in init.
func register(place int, name, help string, make func() runner) {
	commands = append(commands, command{place, name, help, make})
	slices.SortFunc(commands, func(a, b command) int { return a.place - b.place })
}

// An env is what a command works with.
type env struct {
	ctx            context.Context // done when the command is interrupted
	stdout, stderr io.Writer
	kong           *kong.Kong
}

// note prints a line that is no data.
func (e *env) note(format string, args ...any) {
	fmt.Fprintln(e.stderr, tame(fmt.Sprintf(format, args...)))
}

// An exit ends the command with a code. Its text, if there is one, goes to stderr.
type exit struct {
	code int
	text string
}

func (e exit) Error() string { return e.text }

func exitf(code int, format string, args ...any) error {
	return exit{code, fmt.Sprintf(format, args...)}
}

// finish returns the error that ends a command with a code and without a text.
func finish(code int) error {
	if code == exitOK {
		return nil
	}
	return exit{code: code}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(&env{ctx: ctx, stdout: os.Stdout, stderr: os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}

// usageCode returns the exit code for a wrong command line.
func usageCode(args []string) int {
	if len(args) > 0 && args[0] == "check" {
		return checkNotTried
	}
	return exitUsage
}

const description = "Looks at clusters of clustersql, and works on them. Where a command takes a FILE, it is a config.toml; " +
	"without one it is the file that DBCONFIG names, or config.toml. A DSN may hold $${VAR}, which is taken from the environment."

// run runs the command of args and returns the exit code.
func run(e *env, args []string) (code int) {
	silenceDrivers()
	ended := -1
	options := []kong.Option{
		kong.Name("clustersql"), kong.Description(description), kong.Writers(e.stdout, e.stderr),
		kong.Exit(func(code int) {
			ended = code
			panic(kongExit{})
		}),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
	}
	for _, c := range commands {
		options = append(options, kong.DynamicCommand(c.name, c.help, "", c.make()))
	}
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(kongExit); !ok {
				panic(r)
			}
			code = ended
		}
	}()
	parser, err := kong.New(&struct{}{}, options...)
	if err != nil {
		e.note("clustersql: %v", err)
		return exitUsage
	}
	e.kong = parser
	parsed, err := parser.Parse(args)
	if err != nil {
		word := ""
		if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
			word = " " + args[0]
		}
		e.note("clustersql:%s %s: see clustersql --help", word, redactAll(args, err.Error()))
		return usageCode(args)
	}
	err = parsed.Run(e)
	var x exit
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &x):
		if x.text != "" {
			e.note("%s", x.text)
		}
		return x.code
	}
	e.note("%v", err)
	return 1
}

type kongExit struct{}
