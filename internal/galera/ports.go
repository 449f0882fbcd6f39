package galera

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
)

// host is the only address anything of a cluster listens on.
const host = "127.0.0.1"

var errPortTaken = errors.New("another program took a port")

// ports are the four consecutive ports of a node. Another process's cluster
// stays away from them as long as the lock is held.
type ports struct {
	mysql, group, ist, sst int

	// lock is a listener in the kernel's abstract socket namespace, which has
	// the same scope as the ports, needs no file and ends with the process.
	lock net.Listener
}

func (p ports) release() { p.lock.Close() }

// free reports whether nothing listens on them.
func (p ports) free() bool {
	return free(p.mysql) && free(p.group) && free(p.ist) && free(p.sst)
}

// addr is a port of a node as host:port.
func addr(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// reservePorts finds four free ports outside the ephemeral range: in it, any
// outgoing connection might take one between this and the server's bind.
func reservePorts() (ports, error) {
	low, high := portRange()
	for range 1000 {
		first := low + 4*rand.IntN((high-low)/4)
		lock, err := net.Listen("unix", fmt.Sprintf("@clustersql-galera-%d", first))
		if err != nil {
			continue
		}
		if p := (ports{first, first + 1, first + 2, first + 3, lock}); p.free() {
			return p, nil
		}
		lock.Close()
	}
	return ports{}, fmt.Errorf("galera: found no four free ports in a row within %d–%d on %s", low, high-1, host)
}

func free(port int) bool {
	l, err := net.Listen("tcp", addr(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// portRange is where ports are looked for, high excluded, low a multiple of 4
// as the reservations of two processes must not overlap.
func portRange() (low, high int) {
	var first, last int
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 20000, 32768
	}
	if _, err := fmt.Sscan(string(text), &first, &last); err != nil {
		return 20000, 32768
	}
	return outside(first, last)
}

// outside picks a range of ports beside the ephemeral ports first to last:
// below, else above, else, where they are nearly all ports, among them.
func outside(first, last int) (low, high int) {
	const least = 1000
	switch {
	case first >= 10000+least:
		return max(10000, (first-13000)&^3), first &^ 3
	case last <= 65535-least:
		return (last + 4) &^ 3, 65536
	}
	return 20000, 32768
}
