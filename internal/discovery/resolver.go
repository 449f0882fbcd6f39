package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// LookupTimeout bounds one question to the name service.
const LookupTimeout = 5 * time.Second

// resolvers are those that were made, by the address of their server: they keep
// nothing but that.
var resolvers sync.Map

// Resolver returns the resolver that asks a name service, or the system's if server
// is empty.
func Resolver(server string) *net.Resolver {
	if server == "" {
		return net.DefaultResolver
	}
	if r, ok := resolvers.Load(server); ok {
		return r.(*net.Resolver)
	}
	r, _ := resolvers.LoadOrStore(server, &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, server)
			if err == nil {
				closeWhenCanceled(ctx, conn)
			}
			return conn, err
		},
	})
	return r.(*net.Resolver)
}

// closeWhenCanceled closes a question's conn when nobody waits for the answer any more.
// net.Resolver itself reads on, up to the timeout of resolv.conf, which is 5 s by
// default: a goroutine and a socket would outlive the cluster. The resolver owns conn
// and closes it after each question, and cancels ctx then; the second Close does
// nothing. It also gives conn the deadline of ctx, which ends the read as a timeout.
func closeWhenCanceled(ctx context.Context, conn net.Conn) {
	context.AfterFunc(ctx, func() {
		if ctx.Err() == context.Canceled {
			_ = conn.Close()
		}
	})
}

// Addresses asks for the addresses of a host, and returns them with the port. If ctx
// has a deadline, the question gets half of the time that is left: the rest is for
// the dial.
func Addresses(ctx context.Context, r *net.Resolver, addr string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	limit := LookupTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, max(time.Until(deadline)/2, time.Millisecond))
	}
	asked, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		known, err := r.LookupPort(asked, "tcp", service)
		if err != nil {
			return nil, err
		}
		port = uint64(known)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(ip, uint16(port))}, nil
	}
	ips, err := r.LookupNetIP(asked, "ip", host)
	if err != nil {
		if ctx.Err() == nil && asked.Err() != nil {
			return nil, &net.DNSError{Err: fmt.Sprintf("no answer within %s", limit.Round(time.Millisecond)), Name: host, IsTimeout: true, IsTemporary: true}
		}
		return nil, err
	}
	all := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		all[i] = netip.AddrPortFrom(ip.Unmap(), uint16(port))
	}
	return all, nil
}

// AskDNS asks for the addresses of a host and port: one node for each.
func AskDNS(ctx context.Context, r *net.Resolver, addr string) ([]Found, error) {
	all, err := Addresses(ctx, r, addr)
	var found []Found
	for _, a := range all {
		found = append(found, Found{Addr: a.String()})
	}
	return found, err
}

// AskSRV asks for the SRV records of a name, and for the addresses of their targets.
// A lower priority is used first; a larger weight gets more. If one target has no
// address, the answer is an error: it is not whole.
func AskSRV(ctx context.Context, r *net.Resolver, name string) ([]Found, error) {
	asked, cancel := context.WithTimeout(ctx, LookupTimeout)
	defer cancel()
	_, records, err := r.LookupSRV(asked, "", "", name)
	if err != nil {
		return nil, err
	}
	if len(records) > Most {
		return nil, fmt.Errorf("the answer has %d records; %d are the most", len(records), Most)
	}
	var found []Found
	for _, s := range records {
		if s.Target == "." {
			continue // there is no such service
		}
		all, err := Addresses(asked, r, net.JoinHostPort(strings.TrimSuffix(s.Target, "."), strconv.Itoa(int(s.Port))))
		if err != nil {
			return nil, err
		}
		for _, a := range all {
			found = append(found, Found{Addr: a.String(), Priority: int(s.Priority), Weight: max(1, int(s.Weight))})
		}
	}
	return found, nil
}

// stagger is the connection attempt delay of RFC 8305.
const stagger = 250 * time.Millisecond

// errNoAddress is the error for a name without an address.
var errNoAddress = errors.New("the name has no address")

// Dial dials addr as RFC 8305 has it: the name's addresses are tried in turn, those
// of the two families by turns, each 250 ms after the one before, or at once when
// that has failed. The first connection is returned, and the others are closed.
// resolving is called before and after the question to the name service, with
// whether there was an answer.
func Dial(ctx context.Context, r *net.Resolver, network, addr string, resolving func(done bool)) (net.Conn, error) {
	if !strings.HasPrefix(network, "tcp") {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	if _, literal := Literal(addr); literal || strings.HasPrefix(addr, ":") {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	resolving(false)
	all, err := Addresses(ctx, r, addr)
	if err == nil && len(all) == 0 {
		err = &net.DNSError{Err: errNoAddress.Error(), Name: addr, IsNotFound: true}
	}
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	resolving(true)
	return dialAll(ctx, network, byTurns(all, network))
}

// byTurns orders addresses so that the families take turns, beginning with that of
// the first. Those that the network does not have are left out.
func byTurns(all []netip.AddrPort, network string) []netip.AddrPort {
	var first, second []netip.AddrPort
	for _, a := range all {
		switch v4 := a.Addr().Is4(); {
		case network == "tcp4" && !v4, network == "tcp6" && v4:
		case len(first) == 0 || first[0].Addr().Is4() == v4:
			first = append(first, a)
		default:
			second = append(second, a)
		}
	}
	var turns []netip.AddrPort
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			turns = append(turns, first[i])
		}
		if i < len(second) {
			turns = append(turns, second[i])
		}
	}
	return turns
}

type dialResult struct {
	conn net.Conn
	err  error
}

// dialAll dials the addresses in turn. A dial that succeeds after another one closes
// its own connection.
func dialAll(ctx context.Context, network string, all []netip.AddrPort) (net.Conn, error) {
	if len(all) == 0 {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errNoAddress}
	}
	if len(all) == 1 {
		return new(net.Dialer).DialContext(ctx, network, all[0].String())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	returned := make(chan struct{})
	defer close(returned)
	results := make(chan dialResult) // unbuffered: a connection changes hands, or its dial closes it
	dial := func(a netip.AddrPort) {
		conn, err := new(net.Dialer).DialContext(ctx, network, a.String())
		select {
		case results <- dialResult{conn, err}:
		case <-returned:
			if conn != nil {
				conn.Close()
			}
		}
	}
	var first error
	for next, running := 0, 0; ; {
		var wait <-chan time.Time
		if next < len(all) {
			if running == 0 || next == 0 {
				go dial(all[next])
				next, running = next+1, running+1
			}
			if next < len(all) {
				t := time.NewTimer(stagger)
				defer t.Stop()
				wait = t.C
			}
		}
		select {
		case r := <-results:
			running--
			if r.err == nil {
				return r.conn, nil
			}
			if first == nil {
				first = r.err
			}
			if next < len(all) {
				go dial(all[next])
				next, running = next+1, running+1
			} else if running == 0 {
				return nil, first
			}
		case <-wait:
			go dial(all[next])
			next, running = next+1, running+1
		}
	}
}
