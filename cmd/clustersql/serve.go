package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/statuspage"
)

func init() {
	register(60, "serve", "Serve the status page of the clusters of a file, with probes of its own.", func() runner { return &serveCommand{} })
}

type serveCommand struct {
	Target      string        `arg:"" optional:"" name:"file-or-dsn" help:"The file, or a DSN with a list of hosts."`
	Listen      string        `default:"127.0.0.1:8080" help:"Where to listen. The page asks nobody who they are."`
	AllowDrain  bool          `help:"Let the page drain nodes: of this process, and of no other."`
	AllowReload bool          `help:"Let the page reload the file."`
	Every       time.Duration `default:"5s" help:"How often to look whether the file has changed, and to follow it; 0 for never. A SIGHUP always does."`
}

// Run serves until it is interrupted.
func (c *serveCommand) Run(e *env) error {
	t, err := openTarget(c.Target)
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
	server := &http.Server{Handler: statuspage.Handler(options...), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(e.ctx, func() { _ = server.Close() })
	e.note("http://%s/", l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
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
