package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/EnumApps/clustersql/statuspage"
)

// pollTimeout bounds one question to a program's page: after it the program counts
// as one that does not answer.
const pollTimeout = 5 * time.Second

// sides are the pages of several programs, which are asked all the time.
type sides struct {
	pages []*page

	mu    sync.Mutex           // guards known
	known []statuspage.Process // in the order of pages
}

// openSides opens the pages of running programs. It asks none of them. Whoever
// opened them closes them.
func openSides(urls []string) (*sides, error) {
	s := &sides{}
	for i, u := range urls {
		switch {
		case !isURL(u):
			return nil, errors.New("name URLs of status pages, or one FILE or DSN, and not both")
		case slices.Contains(urls[:i], u):
			p, err := newPage(u)
			if err != nil {
				return nil, err
			}
			return nil, fmt.Errorf("%s is named twice: name each process once", shownURL(p.address))
		}
		p, err := newPage(u)
		if err != nil {
			return nil, err
		}
		s.pages = append(s.pages, p)
		s.known = append(s.known, statuspage.Process{URL: shownURL(p.address)})
	}
	return s, nil
}

// shownURL returns an address as a page may show it: an account or a query may be
// a secret.
func shownURL(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func (s *sides) close() {
	for _, p := range s.pages {
		p.close()
	}
}

// processes returns what is known of the programs now.
func (s *sides) processes() []statuspage.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.known)
}

// ask asks every program until ctx is done, and waits for what is under way then.
// One that does not answer keeps no other one waiting.
func (s *sides) ask(ctx context.Context, interval time.Duration) {
	var all sync.WaitGroup
	for i := range s.pages {
		all.Go(func() {
			tick := time.NewTicker(interval)
			defer tick.Stop()
			for {
				s.askOne(ctx, i)
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	all.Wait()
}

// askOne asks one program once.
func (s *sides) askOne(ctx context.Context, i int) {
	limited, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	snap := new(statuspage.Snapshot)
	err := s.pages[i].read(limited, snap)
	switch {
	case ctx.Err() != nil:
		return
	case err == nil && snap.Clusters == nil:
		err = errors.New("it is no status page of one process: give the URL at which the program has mounted statuspage.Handler")
	case limited.Err() != nil:
		err = fmt.Errorf("it was silent for %s", pollTimeout)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := &s.known[i]
	if err != nil {
		known.Err = err.Error()
		return
	}
	known.Err, known.Answered, known.Snapshot = "", time.Now(), snap
}

// serveSides serves the page of several processes until it is interrupted.
func (c *serveCommand) serveSides(e *env) error {
	switch {
	case c.AllowDrain || c.AllowReload:
		return exitf(exitUsage, "a page of several processes changes none of them: leave out --allow-drain and --allow-reload, and use the commands drain and reload")
	case c.Interval < 100*time.Millisecond:
		return exitf(exitUsage, "--interval: %s is too short: write 100ms at least", c.Interval)
	}
	s, err := openSides(c.Targets)
	if err != nil {
		return exitf(exitUsage, "%v", err)
	}
	defer s.close()
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return exitf(exitUsage, "--listen: %v: name another host:port", err)
	}
	ctx, cancel := context.WithCancel(e.ctx)
	var asking sync.WaitGroup
	asking.Go(func() { s.ask(ctx, c.Interval) })
	defer asking.Wait()
	defer cancel()
	title := fmt.Sprintf("%d processes", len(s.pages))
	return c.serve(e, l, statuspage.Compare(title, s.processes))
}

// serve serves a page until the command is interrupted.
func (c *serveCommand) serve(e *env, l net.Listener, page http.Handler) error {
	server := &http.Server{Handler: page, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(e.ctx, func() { _ = server.Close() })
	e.note("http://%s/", l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
