package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/EnumApps/clustersql"
)

const reloadRefused = 1

func init() {
	register(52, "reload", "Have a running program reload its configuration, and say what that has changed.", func() runner { return &reloadCommand{} })
}

type reloadCommand struct {
	URL    string `arg:"" name:"url" help:"The URL of the program's status page, which it must make with statuspage.AllowReload."`
	Format string `enum:"text,json" default:"text" help:"text or json."`
}

// Run presses the button, and prints a line for each change.
func (c *reloadCommand) Run(e *env) error {
	if !isURL(c.URL) {
		return exitf(exitUsage, "reload takes a URL, as in: clustersql reload http://host:8080/clusters/")
	}
	p, err := newPage(c.URL)
	if err != nil {
		return exitf(exitUsage, "%v", err)
	}
	defer p.close()
	diff, err := p.reload(e.ctx)
	var refused refusedError
	switch {
	case errors.As(err, &refused):
		return exitf(reloadRefused, "%v", err)
	case err != nil:
		return exitf(exitUsage, "%v", err)
	case c.Format == "json":
		return writeJSON(e.stdout, diff)
	}
	for _, change := range diff.Changes {
		if _, err := fmt.Fprintln(e.stdout, sign(change.Kind), tame(change.String())); err != nil {
			return err
		}
	}
	if diff.Empty() {
		e.note("nothing changes")
	}
	return nil
}

// A refusedError is why a program has not reloaded.
type refusedError string

func (e refusedError) Error() string { return string(e) }

// reload has the program of the page reload, and returns what that has changed.
func (p *page) reload(ctx context.Context) (*clustersql.Diff, error) {
	answer, err := p.send(ctx, url.Values{"action": {"reload"}})
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body := io.LimitReader(answer.Body, mostJSON)
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	switch {
	case answer.StatusCode == http.StatusMethodNotAllowed:
		return nil, fmt.Errorf("%s: the page lets nobody reload: the program must make it with statuspage.AllowReload", p.name())
	case answer.StatusCode >= 400:
		text, _ := io.ReadAll(io.LimitReader(body, 1<<16))
		said := strings.TrimPrefix(strings.TrimSpace(string(text)), "statuspage: ")
		if answer.StatusCode == http.StatusConflict {
			return nil, refusedError(fmt.Sprintf("%s: nothing was changed: %s", p.name(), said))
		}
		return nil, fmt.Errorf("%s: %s: %s", p.name(), answer.Status, said)
	case answer.StatusCode != http.StatusOK || kind != "application/json":
		return nil, fmt.Errorf("%s: it is no status page that reloads (%s, %q): give the URL at which the program has mounted statuspage.Handler", p.name(), answer.Status, kind)
	}
	diff := &clustersql.Diff{Changes: []clustersql.Change{}}
	if err := json.NewDecoder(body).Decode(diff); err != nil {
		return nil, fmt.Errorf("%s: what it answers cannot be read: is it another version? %w", p.name(), err)
	}
	return diff, nil
}
