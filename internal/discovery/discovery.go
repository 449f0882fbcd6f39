// Package discovery decides which of the nodes that were found a cluster is to
// have, and asks the name service for them. An answer may be wrong, empty, late or
// hostile: the guard rails are here, and are pure.
//
// State and what it is made of have no goroutine, channel, lock or clock. A Finder is an
// actor, which asks and has the cluster follow. Resolver and Dial use the network, and
// Dial has goroutines, all of which have ended when it returns or soon after. The root
// imports the package; it imports dialect, draw, health and members.
package discovery

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/EnumApps/clustersql/internal/members"
)

// Most is the largest number of nodes that one source may find. An answer with more
// is a mistake.
const Most = 1000

// A Found is one node that a source has found.
type Found struct {
	Addr     string // IP address and port
	Template string // the configured node whose DSN it gets
	Source   string
	Priority int
	Weight   int
	Own      *members.Node // what a source of the program has given; else nil
}

// An Answer is what one source has said in one round.
type Answer struct {
	Source string
	Found  []Found
	Unused []Unused          // what the source itself could not use
	Err    error             // of the question; nil if there was an answer
	Named  map[string]string // addresses of configured nodes; see Kinds.Named; nil if nobody has asked
}

// An Unused is something found that is no node of the cluster.
type Unused struct{ Addr, Source, Why string }

// A Source is what is known of one source.
type Source struct {
	Name     string
	Asked    time.Time // when it was last asked
	Answered time.Time // when it last gave an answer that counts; zero if it never did
	Addrs    []string  // of that answer
	Err      string    // why the last answer does not count; empty if it does
	last     []Found
}

// Rules are the guard rails.
type Rules struct {
	Counts   bool // a node that is missing in this round has been missing once more
	Missing  int  // so many answers in a row must leave out a node before it goes
	Floor    int  // so many nodes stay, whatever is answered
	Networks []netip.Prefix
	Static   func(addr string) (name string, ok bool) // a node that is configured with this address
	// Bad says why a node of the program's own source cannot be used; empty if nothing
	// is known against it.
	Bad func(f Found) string
	// Hide takes secrets out of the text of an error.
	Hide func(string) string
}

// A State is what is known of all sources and of the nodes that they have found. The
// zero State knows nothing.
type State struct {
	sources []Source
	members []member
	named   map[string]string // addresses of configured nodes that are known by names; "" if it has none or several
}

type member struct {
	Found
	missing int // answers in a row without it
}

// A Round is what follows from the answers of one round.
type Round struct {
	Members []Found // sorted by address
	Unused  []Unused
	Sources []Source
	Changed bool // the members are others than before
}

// Take takes the answers of one round. Sources that have no answer in it are
// forgotten, with what they have found.
func (s *State) Take(answers []Answer, rules Rules, now time.Time) Round {
	var r Round
	found, unsure := make(map[string]Found), make(map[string]bool)
	var order []string
	rules.Static = s.static(answers, rules.Static)
	named := make(map[string]string) // the addresses of the program's own nodes
	var sources []Source
	for _, a := range answers {
		src := s.source(a.Source)
		before := src
		src.take(a, rules, now)
		if src.Err == "" && !slices.ContainsFunc(src.last, rules.counts) {
			for _, f := range src.last {
				r.Unused = append(r.Unused, Unused{f.Addr, f.Source, rules.refuses(f)})
			}
			src = before
			src.Asked, src.Err = now, "nothing of the answer can be used"
		}
		sources = append(sources, src)
		if src.Err != "" {
			unsure[src.Name] = true
		} else {
			r.Unused = append(r.Unused, a.Unused...)
		}
		for _, f := range src.last {
			if why := rules.refuses(f); why != "" {
				r.Unused = append(r.Unused, Unused{f.Addr, f.Source, why})
			} else if addr, twice := named[f.name()]; twice && addr != f.Addr {
				r.Unused = append(r.Unused, Unused{f.Addr, f.Source, "there is a node of this name already"})
			} else if first, twice := found[f.Addr]; !twice {
				found[f.Addr] = f
				order = append(order, f.Addr)
				if f.Own != nil {
					named[f.name()] = f.Addr
				}
			} else if first.Source != f.Source || first.Template != f.Template {
				r.Unused = append(r.Unused, Unused{f.Addr, f.Source, "it is one node with what " + first.Source + " has found"})
			} else if first.name() != f.name() {
				r.Unused = append(r.Unused, Unused{f.Addr, f.Source, "it is one node with " + first.name()})
			}
		}
	}
	s.sources = sources
	r.Sources = slices.Clone(sources)
	s.follow(found, named)
	r.Changed = s.update(found, order, unsure, rules, &r)
	for _, m := range s.members {
		r.Members = append(r.Members, m.Found)
	}
	return r
}

// static returns a func that finds configured nodes by the addresses of their names too.
func (s *State) static(answers []Answer, literal func(addr string) (string, bool)) func(addr string) (string, bool) {
	for _, a := range answers {
		if a.Named == nil {
			continue
		}
		for name, addr := range a.Named {
			if addr == noAnswer {
				a.Named[name] = s.named[name] // that of before
			}
		}
		s.named = a.Named
	}
	at := make(map[string]string, len(s.named))
	for name, addr := range s.named {
		at[addr] = name
	}
	delete(at, "")
	return func(addr string) (string, bool) {
		if name, ok := literal(addr); ok {
			return name, true
		}
		name, ok := at[addr]
		return name, ok
	}
}

// name returns the name that the program's own source gives a node; empty for others.
func (f Found) name() string {
	if f.Own == nil {
		return ""
	}
	return f.Own.Name
}

// follow gives members that the program has named the addresses that they have now: a
// node that has moved stays a member. It is not missing, and waits for no guard rail.
func (s *State) follow(found map[string]Found, named map[string]string) {
	moved := make(map[string]bool)
	for i := range s.members {
		m := &s.members[i]
		if addr, there := named[m.name()]; there && m.Own != nil {
			m.Addr = addr
			moved[addr] = true
		}
	}
	// Who had such an address until now is another node, or is gone.
	s.members = slices.DeleteFunc(s.members, func(m member) bool { return moved[m.Addr] && m.name() != found[m.Addr].name() })
}

func (s *State) source(name string) Source {
	if i := slices.IndexFunc(s.sources, func(o Source) bool { return o.Name == name }); i >= 0 {
		return s.sources[i]
	}
	return Source{Name: name}
}

// take notes an answer. One that is an error, or empty, or too large, does not count:
// the one before it does.
func (src *Source) take(a Answer, rules Rules, now time.Time) {
	src.Asked = now
	switch {
	case a.Err != nil:
		src.Err = rules.Hide(fmt.Sprint(a.Err))
	case len(a.Found) == 0:
		src.Err = "the answer is empty"
	case len(a.Found) > Most:
		src.Err = fmt.Sprintf("the answer has %d nodes; %d are the most", len(a.Found), Most)
	default:
		src.Err, src.Answered, src.last = "", now, slices.Clone(a.Found)
		src.Addrs = nil
		for i := range src.last {
			src.last[i].Source = a.Source
			src.last[i].Addr, _ = Literal(src.last[i].Addr)
			src.Addrs = append(src.Addrs, src.last[i].Addr)
		}
		slices.Sort(src.Addrs)
	}
}

// counts reports whether a node that was found is one, be it configured as well.
func (r *Rules) counts(f Found) bool {
	_, static := r.Static(f.Addr)
	return static || r.refuses(f) == ""
}

// refuses returns why a node that was found is not to be used.
func (r *Rules) refuses(f Found) string {
	if f.Own != nil {
		if why := r.Bad(f); why != "" {
			return why
		}
	}
	if name, ok := r.Static(f.Addr); ok {
		return "it is one node with " + name + ", which is configured"
	}
	at, err := netip.ParseAddrPort(f.Addr)
	if err != nil {
		if f.Own != nil {
			return ""
		}
		return "it is no address"
	}
	if a := at.Addr(); f.Own == nil && (a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || at.Port() == 0) {
		return "no server has such an address"
	}
	if len(r.Networks) > 0 && !slices.ContainsFunc(r.Networks, func(p netip.Prefix) bool { return p.Contains(at.Addr().Unmap()) }) {
		return "it is not in discover_networks"
	}
	return ""
}

// update brings the members in line with what was found. It reports whether they
// have changed.
func (s *State) update(found map[string]Found, order []string, unsure map[string]bool, rules Rules, r *Round) (changed bool) {
	var gone []int
	for i := range s.members {
		m := &s.members[i]
		f, there := found[m.Addr]
		switch {
		case there:
			changed = changed || m.Own == nil && f.Own == nil && m.Found != f
			m.Found, m.missing = f, 0
		case !unsure[m.Source] && rules.Counts:
			m.missing++
		}
		if !there && m.missing >= rules.Missing {
			gone = append(gone, i)
		}
		if there && m.Own != nil {
			changed = true // the program's own nodes are compared by the cluster
		}
	}
	known := make(map[string]bool, len(s.members))
	for _, m := range s.members {
		known[m.Addr] = true
	}
	for _, addr := range order {
		if !known[addr] {
			s.members = append(s.members, member{Found: found[addr]})
			changed = true
		}
	}
	if s.leave(gone, rules, r) {
		changed = true
	}
	slices.SortFunc(s.members, func(a, b member) int { return cmp.Compare(a.Addr, b.Addr) })
	return changed
}

// leave takes members out: half of them at most, and never so many that fewer than
// the floor stay. When some go, the others have to be missing anew.
func (s *State) leave(gone []int, rules Rules, r *Round) bool {
	room := max(0, min(len(s.members)/2, len(s.members)-rules.Floor))
	slices.SortStableFunc(gone, func(a, b int) int { return cmp.Compare(s.members[b].missing, s.members[a].missing) })
	for _, i := range gone[min(room, len(gone)):] {
		r.Unused = append(r.Unused, Unused{s.members[i].Addr, s.members[i].Source, "it is missing in the answers, and stays because no more than half may go at once, nor so many that fewer than discover_floor are left"})
	}
	gone = gone[:min(room, len(gone))]
	if len(gone) == 0 {
		return false
	}
	var stay []member
	for i, m := range s.members {
		if !slices.Contains(gone, i) {
			m.missing = 0
			stay = append(stay, m)
		}
	}
	s.members = stay
	return true
}
