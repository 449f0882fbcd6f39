package discovery

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// ParseNetworks parses a list of networks in CIDR form, or single addresses, with
// commas between. The error quotes nothing: what is no network may be a secret at the
// wrong key.
func ParseNetworks(text string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for i, word := range words(text) {
		p, err := netip.ParsePrefix(word)
		if err != nil {
			addr, addrErr := netip.ParseAddr(word)
			if addrErr != nil {
				return nil, fmt.Errorf("entry %d is no network: write it as in 10.0.0.0/8, with commas between several", i+1)
			}
			p = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

func words(text string) []string {
	var all []string
	for _, w := range strings.Split(text, ",") {
		if w = strings.TrimSpace(w); w != "" {
			all = append(all, w)
		}
	}
	return all
}

// A Map leads from addresses that servers tell to those under which this program
// reaches them. A key is a host, or a host with a port; the longer one counts.
type Map map[string]string

// ParseMap parses a list like 10.0.0.5=127.0.0.1:13306, 10.0.0.6=127.0.0.2. The error
// quotes nothing, as that of ParseNetworks.
func ParseMap(text string) (Map, error) {
	m := Map{}
	for i, word := range words(text) {
		from, to, found := strings.Cut(word, "=")
		from, to = strings.TrimSpace(from), strings.TrimSpace(to)
		switch {
		case !found || from == "" || to == "":
			return nil, fmt.Errorf("entry %d is no pair of addresses: write it as in 10.0.0.5:3306=127.0.0.1:13306", i+1)
		case m[from] != "":
			return nil, fmt.Errorf("entry %d has the address of one before it: take one out", i+1)
		}
		m[from] = to
	}
	return m, nil
}

// Of returns where an address leads. What the map does not have stays as it is.
func (m Map) Of(addr string) string {
	if to, ok := m[addr]; ok {
		return withPortOf(to, addr)
	}
	if host, _, err := net.SplitHostPort(addr); err == nil {
		if to, ok := m[host]; ok {
			return withPortOf(to, addr)
		}
	}
	return addr
}

// withPortOf gives an address without a port that of another one.
func withPortOf(to, addr string) string {
	if _, _, err := net.SplitHostPort(to); err == nil {
		return to
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return to
	}
	return net.JoinHostPort(strings.Trim(to, "[]"), port)
}

// Literal reports whether the host of an address is an IP address, and returns the
// address in its one form.
func Literal(addr string) (canonical string, ok bool) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return addr, false
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).String(), true
}

// Domain returns the name whose service an SRV record is about: _mysql._tcp.db.svc
// is about db.svc. That is the name in the certificates: a name out of the answer
// proves nothing.
func Domain(name string) string {
	labels := strings.Split(name, ".")
	for len(labels) > 1 && strings.HasPrefix(labels[0], "_") {
		labels = labels[1:]
	}
	return strings.Join(labels, ".")
}

// ParseServer checks the address of a name service. The port is 53 if there is none.
func ParseServer(text string) (string, error) {
	if addr, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return netip.AddrPortFrom(addr, 53).String(), nil
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil || at.Port() == 0 {
		return "", errors.New("it is no address of a name service: write it as in 10.96.0.10:53")
	}
	return at.String(), nil
}

// Problem returns the key of the first setting of discovery that cannot work, and what is
// wrong with it. Both are empty if there is none.
func Problem(kinds Kinds, networks, addresses, server string) (key, problem string) {
	all, err := ParseNetworks(networks)
	if err != nil {
		return "discover_networks", err.Error()
	}
	if _, err := ParseMap(addresses); err != nil {
		return "discover_addresses", err.Error()
	}
	if server != "" {
		if _, err := ParseServer(server); err != nil {
			return "name_server", err.Error()
		}
	}
	if kinds.Has(Members) && len(all) == 0 {
		return "discover", `"members" would send the password to any address that a server names: set discover_networks to the networks of the nodes, as in "10.0.0.0/8"`
	}
	return "", ""
}
