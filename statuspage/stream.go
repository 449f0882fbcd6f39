package statuspage

import (
	"net/http"
	"sync"
	"time"
)

// heartbeat is the time after which a stream says something though nothing has
// changed: a browser that has gone is noticed, and the browser notices a process
// that has ended. page.js waits for a bit more than two of them.
const heartbeat = 5 * time.Second

// writeTimeout is how long one message to a browser may take.
const writeTimeout = 10 * time.Second

// stream sends a page what changes, until its browser goes or the server shuts
// down.
func (p *page) stream(w http.ResponseWriter, r *http.Request, from uint64) {
	control := http.NewResponseController(w)
	down := p.servers.down(r)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would keep the messages
	// A server with a ReadTimeout would take its end for a browser that has gone.
	// Where deadlines cannot be set there are none.
	_ = control.SetReadDeadline(time.Time{})
	if control.Flush() != nil {
		h.Del("X-Accel-Buffering")
		refuse(w, http.StatusNotImplemented, "a writer between the page and the server cannot flush: the page asks instead")
		return
	}
	s := &sender{w: w, control: control}
	s.send("retry: 1000", nil, "\n\n")
	timer := time.NewTimer(0)
	defer timer.Stop()
	for shape, said := "", time.Now(); s.err == nil; {
		select {
		case <-r.Context().Done():
			return
		case <-down:
			return
		case <-timer.C:
		}
		f := p.hub.fresh(tick / 2)
		if f.version != from || f.shape != shape || time.Since(said) >= heartbeat {
			s.send("data: ", f.news(from), "\n\n")
			from, shape, said = f.version, f.shape, time.Now()
		}
		timer.Reset(p.hub.untilTick())
	}
}

// A sender writes messages to a browser until one fails.
type sender struct {
	w       http.ResponseWriter
	control *http.ResponseController
	err     error
}

func (s *sender) send(before string, message []byte, after string) {
	// A server's WriteTimeout counts from the request on: a stream needs one for
	// each message.
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	for _, part := range [][]byte{[]byte(before), message, []byte(after)} {
		if s.err == nil {
			_, s.err = s.w.Write(part)
		}
	}
	if s.err == nil {
		s.err = s.control.Flush()
	}
}

// servers ends streams when their server shuts down. A Shutdown waits for
// requests under way, and a stream is one that does not end by itself.
type servers struct {
	mu    sync.Mutex // guards the map
	known map[*http.Server]chan struct{}
}

// down returns a channel that is closed when the request's server begins to shut
// down. It is nil where the server is not known.
func (s *servers) down(r *http.Request) <-chan struct{} {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	down := s.known[server]
	if down == nil {
		down = make(chan struct{})
		if s.known == nil {
			s.known = make(map[*http.Server]chan struct{})
		}
		s.known[server] = down
		server.RegisterOnShutdown(func() { s.end(server) })
	}
	return down
}

// end ends the streams of a server.
func (s *servers) end(server *http.Server) {
	s.mu.Lock()
	down := s.known[server]
	delete(s.known, server)
	s.mu.Unlock()
	if down != nil {
		close(down)
	}
}
