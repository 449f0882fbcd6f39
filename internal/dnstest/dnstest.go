// Package dnstest is a name service for tests: a small DNS server on loopback that
// answers, refuses, is silent or lies as a test tells it. It knows A, AAAA and SRV
// records, over UDP.
//
// It has one goroutine for each server, which Close ends. Tests, and the table of
// members on real servers, import it; it imports no other package of this module.
package dnstest

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// The types of records, and the codes of an answer.
const (
	typeA, typeAAAA, typeSRV = 1, 28, 33

	Refused  = 5
	NotFound = 3 // NXDOMAIN
	Failed   = 2 // SERVFAIL
)

// An SRV is one record of a service.
type SRV struct {
	Target                 string
	Port, Priority, Weight uint16
}

// A zone is what a name has.
type zone struct {
	addrs  []netip.Addr
	srv    []SRV
	code   uint16
	silent bool
}

// A Server is a name service. All methods may be called from any goroutine.
type Server struct {
	conn *net.UDPConn
	over chan struct{}

	mu     sync.Mutex // guards what follows
	zones  map[string]zone
	silent bool
	asked  map[string]int
}

// Start starts a server on a free port of 127.0.0.1. The caller closes it.
func Start() (*Server, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	s := &Server{conn: conn, over: make(chan struct{}), zones: make(map[string]zone), asked: make(map[string]int)}
	go s.run()
	return s, nil
}

// Addr returns the server's address with its port.
func (s *Server) Addr() string { return s.conn.LocalAddr().String() }

// Close ends the server. A second Close changes nothing.
func (s *Server) Close() {
	s.conn.Close()
	<-s.over
}

func (s *Server) set(name string, z zone) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zones[strings.ToLower(strings.TrimSuffix(name, "."))] = z
}

// Set gives a name addresses; none at all is an empty answer.
func (s *Server) Set(name string, addrs ...string) {
	var z zone
	for _, a := range addrs {
		z.addrs = append(z.addrs, netip.MustParseAddr(a))
	}
	s.set(name, z)
}

// SetSRV gives a name SRV records.
func (s *Server) SetSRV(name string, records ...SRV) { s.set(name, zone{srv: records}) }

// Fail gives a name an answer with a code.
func (s *Server) Fail(name string, code uint16) { s.set(name, zone{code: code}) }

// Hush leaves questions about a name without an answer.
func (s *Server) Hush(name string) { s.set(name, zone{silent: true}) }

// SetSilent leaves all questions without an answer, while it is on.
func (s *Server) SetSilent(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = on
}

// Asked returns how often a name was asked for.
func (s *Server) Asked(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[strings.ToLower(strings.TrimSuffix(name, "."))]
}

func (s *Server) run() {
	defer close(s.over)
	buf := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if answer := s.answer(buf[:n]); answer != nil {
			_, _ = s.conn.WriteToUDPAddrPort(answer, from)
		}
	}
}

// answer returns the answer to a question, or nil if there is none.
func (s *Server) answer(question []byte) []byte {
	if len(question) < 12 || binary.BigEndian.Uint16(question[4:]) != 1 {
		return nil
	}
	end, name := 12, ""
	for end < len(question) && question[end] != 0 {
		size := int(question[end])
		if end+1+size >= len(question) {
			return nil
		}
		if name != "" {
			name += "."
		}
		name += string(question[end+1 : end+1+size])
		end += 1 + size
	}
	end++
	if end+4 > len(question) {
		return nil
	}
	kind := binary.BigEndian.Uint16(question[end:])
	end += 4
	s.mu.Lock()
	name = strings.ToLower(name)
	z, known := s.zones[name]
	s.asked[name]++
	silent := s.silent || z.silent
	s.mu.Unlock()
	if silent {
		return nil
	}
	if !known {
		z.code = NotFound
	}
	out := append([]byte(nil), question[:end]...)
	binary.BigEndian.PutUint16(out[2:], 0x8580|z.code) // an authoritative answer
	binary.BigEndian.PutUint16(out[8:], 0)
	binary.BigEndian.PutUint16(out[10:], 0)
	records := z.records(kind)
	binary.BigEndian.PutUint16(out[6:], uint16(len(records)))
	for _, data := range records {
		out = append(out, 0xc0, 12)
		out = binary.BigEndian.AppendUint16(out, kind)
		out = append(out, 0, 1, 0, 0, 0, 0) // class IN, no time to live
		out = binary.BigEndian.AppendUint16(out, uint16(len(data)))
		out = append(out, data...)
	}
	return out
}

// records returns the data of the records of a type.
func (z *zone) records(kind uint16) [][]byte {
	var all [][]byte
	switch kind {
	case typeA, typeAAAA:
		for _, a := range z.addrs {
			if a.Is4() == (kind == typeA) {
				all = append(all, a.AsSlice())
			}
		}
	case typeSRV:
		for _, r := range z.srv {
			data := binary.BigEndian.AppendUint16(nil, r.Priority)
			data = binary.BigEndian.AppendUint16(data, r.Weight)
			data = binary.BigEndian.AppendUint16(data, r.Port)
			for _, label := range strings.Split(strings.TrimSuffix(r.Target, "."), ".") {
				if label != "" {
					data = append(append(data, byte(len(label))), label...)
				}
			}
			all = append(all, append(data, 0))
		}
	}
	return all
}
