package main

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// quiet is how long nothing may have moved on a connection before it counts as
// idle.
const quiet = 200 * time.Millisecond

// A passage is one connection through a forwarder.
type passage struct {
	// immutable
	client net.Conn
	delay  *atomic.Int64 // the forwarder's
	ctx    context.Context
	cut    context.CancelFunc // closes both sides; may be called more than once

	// shared
	answered atomic.Bool  // the server was the last to send
	moved    atomic.Int64 // when something was last passed on, in Unix nanoseconds
}

// newPassage takes over the client's connection; run closes it.
func newPassage(client net.Conn, delay *atomic.Int64) *passage {
	p := &passage{client: client, delay: delay}
	p.ctx, p.cut = context.WithCancel(context.Background())
	p.moved.Store(time.Now().UnixNano())
	return p
}

// idle reports whether the server's last answer has been passed on and the
// client has sent nothing since. Both databases' protocols are call and answer.
func (p *passage) idle() bool {
	return p.answered.Load() && time.Since(time.Unix(0, p.moved.Load())) >= quiet
}

// run dials the server and copies in both directions until one side ends or the
// passage is cut. Both sides are closed when it returns.
func (p *passage) run(target string) {
	defer p.cut()
	defer p.client.Close()
	var d net.Dialer
	server, err := d.DialContext(p.ctx, "tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(p.ctx, func() { p.client.Close(); server.Close() })()
	var both sync.WaitGroup
	both.Go(func() { p.copy(server, p.client, false) })
	both.Go(func() { p.copy(p.client, server, true) })
	both.Wait()
}

// copy passes on what comes from one side. When that ends it ends the passage.
func (p *passage) copy(to, from net.Conn, answers bool) {
	defer p.cut()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.answered.Store(false)
		if answers && !p.hold() {
			return
		}
		p.moved.Store(time.Now().UnixNano())
		p.answered.Store(answers) // set before the write, because the client's next question may follow it at once
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// hold waits as long as the forwarder delays answers. It reports whether the
// passage still exists.
func (p *passage) hold() bool {
	d := time.Duration(p.delay.Load())
	if d <= 0 {
		return true
	}
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-p.ctx.Done():
		return false
	}
}
