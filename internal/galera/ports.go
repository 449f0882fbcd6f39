package galera

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
)

// host is the only address on which anything of a cluster listens.
const host = "127.0.0.1"

var errPortTaken = errors.New("another program took a port")

// ports are the four consecutive ports of a node. Clusters of other processes
// do not use them as long as the lock is held.
type ports struct {
	mysql, group, ist, sst int

	// lock is a listener in the kernel's abstract socket namespace. It applies
	// where the ports do, needs no file and ends with the process.
	lock net.Listener
}

func (p ports) release() { p.lock.Close() }

// free reports whether nothing listens on the ports.
func (p ports) free() bool {
	return free(p.mysql) && free(p.group) && free(p.ist) && free(p.sst)
}

// addr returns a port of a node as host:port.
func addr(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// reservePorts finds four free ports outside the ephemeral range. Inside it,
// any outgoing connection could take one of them before the server binds it.
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

// portRange returns the range in which ports are looked for; high is excluded.
// low is a multiple of 4, so that the reservations of two processes never
// overlap.
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

// outside returns a range of ports beside the ephemeral ports first to last:
// below them, else above them, else among them if they are nearly all ports.
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
