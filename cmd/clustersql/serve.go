package main

import (
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/statuspage"
)

func init() {
	register(60, "serve", "Serve the status page of the clusters of a file, with probes of its own; or one of several running programs side by side.", func() runner { return &serveCommand{} })
}

type serveCommand struct {
	Targets     []string      `arg:"" optional:"" name:"file-or-urls" help:"The file, or a DSN with a list of hosts; or the URLs of programs' status pages, which are shown side by side."`
	Listen      string        `default:"127.0.0.1:8080" help:"Where to listen. The page asks nobody who they are."`
	AllowDrain  bool          `help:"Let the page drain nodes: of this process, and of no other."`
	AllowReload bool          `help:"Let the page reload the file."`
	Every       time.Duration `default:"5s" help:"How often to look whether the file has changed, and to follow it; 0 for never. A SIGHUP always does."`
	Interval    time.Duration `default:"2s" help:"How often to ask the programs of the URLs."`
}

// Run serves until it is interrupted.
func (c *serveCommand) Run(e *env) error {
	if slices.ContainsFunc(c.Targets, isURL) {
		return c.serveSides(e)
	}
	name := ""
	switch len(c.Targets) {
	case 0:
	case 1:
		name = c.Targets[0]
	default:
		return exitf(exitUsage, "name one FILE or DSN, or URLs of status pages")
	}
	t, err := openTarget(name)
	if err != nil {
		return exitf(exitUsage, "%v", err)
	}
	defer t.close()
	stop := t.run()
	defer stop()
	if t.registry != nil {
		follow(e, t.registry, c.Every)
	}
	options := []statuspage.Option{statuspage.Title(t.name)}
	if c.AllowDrain {
		options = append(options, statuspage.AllowDrain())
	}
	if c.AllowReload {
		if t.registry == nil {
			return exitf(exitUsage, "--allow-reload needs a FILE: a DSN cannot be read again")
		}
		options = append(options, statuspage.AllowReload(func(context.Context) (clustersql.Diff, error) { return t.registry.Reload("") }))
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return exitf(exitUsage, "--listen: %v: name another host:port", err)
	}
	return c.serve(e, l, statuspage.Handler(options...))
}

// follow reloads a file when it has changed, and when the process gets a SIGHUP.
func follow(e *env, r *clustersql.Registry, every time.Duration) {
	if every > 0 {
		go func() { _ = r.Watch(e.ctx, every) }() // the page shows what it did
	}
	onHangup(e.ctx, func() {
		diff, err := r.Reload("")
		if err != nil {
			e.note("%v", err)
			return
		}
		e.note("reloaded: %s", strings.TrimSpace(diff.String()))
	})
}
