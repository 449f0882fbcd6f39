package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/EnumApps/clustersql/statuspage"
)

// anyPort is where the page is if the command line names no address.
const anyPort = "127.0.0.1:0"

// A pageServer serves the page of the clusters.
type pageServer struct {
	address string // for a browser
	server  *http.Server
	done    chan error // gets what Serve has returned
}

// servePage serves the page on an address. If drain is set, nodes can be drained
// there. The caller closes the pageServer.
func servePage(address string, drain bool) (*pageServer, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("-page: %w", err)
	}
	options := []statuspage.Option{statuspage.Title("clustersql demo")}
	if drain {
		options = append(options, statuspage.AllowDrain())
	}
	p := &pageServer{
		address: "http://" + listener.Addr().String() + "/",
		server:  &http.Server{Handler: statuspage.Handler(options...), ReadHeaderTimeout: 5 * time.Second},
		done:    make(chan error, 1),
	}
	go func() { p.done <- p.server.Serve(listener) }()
	return p, nil
}

// close ends the page, also where browsers look at it.
func (p *pageServer) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := p.server.Shutdown(ctx)
	if err != nil {
		err = p.server.Close()
	}
	if served := <-p.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// linger lets the application work until ctx is done, so that there is something
// to see on the page.
func (s *stage) linger(ctx context.Context, page string) {
	if ctx.Err() != nil {
		return
	}
	fmt.Fprintf(s.screen.out, "the page stays at %s until Ctrl-C\n", page)
	s.app.run(ctx)
}
