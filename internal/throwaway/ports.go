package throwaway

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
)

// Host is the only address on which anything of a cluster listens.
const Host = "127.0.0.1"

// ErrPortTaken says that a program which ignores the reservations has taken a
// port. The caller should try again, on other ports.
var ErrPortTaken = errors.New("another program took a port")

// reserved is how many ports are reserved together.
const reserved = 4

// Ports are four consecutive ports. Clusters of other processes do not use them
// until they are released.
type Ports struct {
	first int

	// lock is a listener in the kernel's abstract socket namespace. It applies
	// where the ports do, needs no file and ends with the process.
	lock net.Listener
}

// At returns the port with an index from 0 to 3.
func (p Ports) At(i int) int { return p.first + i }

// Release gives the ports back. What uses them must have ended.
func (p Ports) Release() { p.lock.Close() }

// Free reports whether nothing listens on the ports.
func (p Ports) Free() bool {
	for i := range reserved {
		if !free(p.At(i)) {
			return false
		}
	}
	return true
}

// Addr returns a port of a server as host:port.
func Addr(port int) string { return net.JoinHostPort(Host, strconv.Itoa(port)) }

// ReservePorts finds four free ports outside the ephemeral range. Inside it,
// any outgoing connection could take one of them before the server binds it.
func ReservePorts() (Ports, error) {
	low, high := portRange()
	for range 1000 {
		first := low + reserved*rand.IntN((high-low)/reserved)
		lock, err := net.Listen("unix", fmt.Sprintf("@clustersql-ports-%d", first))
		if err != nil {
			continue
		}
		if p := (Ports{first, lock}); p.Free() {
			return p, nil
		}
		lock.Close()
	}
	return Ports{}, fmt.Errorf("found no four free ports in a row within %d–%d on %s", low, high-1, Host)
}

func free(port int) bool {
	l, err := net.Listen("tcp", Addr(port))
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
