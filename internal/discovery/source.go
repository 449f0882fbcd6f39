package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/members"
)

// A Kind is a kind of source.
type Kind string

const (
	DNS     Kind = "dns"     // the addresses of a host
	SRV     Kind = "srv"     // the SRV records of a host
	Members Kind = "members" // a node, about the members of its group
	Program Kind = "source"  // the program
)

// Kinds are the sources that a cluster asks.
type Kinds []Kind

// Has reports whether a kind is among them.
func (ks Kinds) Has(k Kind) bool { return slices.Contains(ks, k) }

// For returns who is asked for the nodes of a host, DNS or SRV, or "" if nobody is.
func (ks Kinds) For(addr string) Kind {
	service := strings.HasPrefix(addr, "_")
	switch {
	case service && ks.Has(SRV):
		return SRV
	case !service && ks.Has(DNS):
		return DNS
	}
	return ""
}

// IsTemplate reports whether nodes are found for what is configured: its host is a
// name. What has an address stays a node by itself.
func (ks Kinds) IsTemplate(d dialect.Dialect, n *members.Node) bool {
	if n.Connector != nil || !ks.Has(DNS) && !ks.Has(SRV) {
		return false
	}
	addr, ok := d.Host(n.DSN)
	_, literal := Literal(addr)
	return ok && !literal && ks.For(addr) != ""
}

// A Question is what one source is asked in a round.
type Question struct {
	Name string
	Ask  func(ctx context.Context) Answer
}

// Questions returns what the name service is asked for the templates.
func (ks Kinds) Questions(d dialect.Dialect, r *net.Resolver, templates []members.Node) []Question {
	var all []Question
	for _, t := range templates {
		addr, _ := d.Host(t.DSN)
		kind := ks.For(addr)
		if kind == "" {
			continue
		}
		host := addr
		if kind == SRV {
			host, _, _ = net.SplitHostPort(addr)
		}
		all = append(all, Question{string(kind) + " " + host, func(ctx context.Context) (a Answer) {
			if kind == SRV {
				a.Found, a.Err = AskSRV(ctx, r, host)
			} else {
				a.Found, a.Err = AskDNS(ctx, r, addr)
			}
			for i := range a.Found {
				f := &a.Found[i]
				f.Template = t.Name
				if kind == DNS {
					f.Priority, f.Weight = t.Priority, t.Share()
				}
			}
			return a
		}})
	}
	return all
}

// Split divides what is configured into templates and nodes, and adds what was found
// for the templates. What is not used of it is returned too.
func (ks Kinds) Split(d dialect.Dialect, configured []members.Node, found []Found) (templates, nodes []members.Node, unused []Unused) {
	names := make(map[string]bool)
	for i := range configured {
		if n := configured[i]; ks.IsTemplate(d, &n) {
			templates = append(templates, n)
		} else {
			names[n.Name] = true
			nodes = append(nodes, n)
		}
	}
	for _, f := range found {
		n, ok := ks.node(d, &f, configured)
		switch {
		case !ok: // what it was found for is not configured any more
		case names[n.Name]:
			unused = append(unused, Unused{f.Addr, f.Source, "there is a node of this name already"})
		default:
			names[n.Name] = true
			nodes = append(nodes, n)
		}
	}
	return templates, nodes, unused
}

// node returns the node for what was found. It has the DSN of its template, so that TLS
// verifies the name that was configured, and is dialled at the address that was found.
func (ks Kinds) node(d dialect.Dialect, f *Found, configured []members.Node) (members.Node, bool) {
	if f.Own != nil {
		n := *f.Own
		n.Origin, n.Conns = f.Source, 0
		return n, ks.Has(Program)
	}
	i := slices.IndexFunc(configured, func(n members.Node) bool { return n.Name == f.Template })
	if i < 0 {
		return members.Node{}, false
	}
	n := members.Node{Name: f.Addr, DSN: configured[i].DSN, Priority: f.Priority, Weight: f.Weight, Addr: f.Addr, Origin: f.Source}
	if host, _ := d.Host(n.DSN); ks.For(host) == SRV {
		name, _, _ := net.SplitHostPort(host)
		_, port, _ := net.SplitHostPort(f.Addr)
		dsn, err := d.Rehost(n.DSN, net.JoinHostPort(Domain(name), port))
		if err != nil {
			return n, false
		}
		n.DSN = dsn
	}
	return n, true
}

// Describe returns the templates, each with the number of connections of all that was
// found for it. conns has those of the nodes, by name.
func Describe(templates []members.Node, found []Found, conns map[string]int) []members.Node {
	all := slices.Clone(templates)
	for i := range all {
		all[i].Conns = 0
		for _, f := range found {
			if f.Own == nil && f.Template == all[i].Name {
				all[i].Conns += conns[f.Addr]
			}
		}
	}
	return all
}

// Told looks up the addresses that a node has told of its members. A name that is not
// known is no node. If the name service fails otherwise, the answer is an error: it is
// not whole, and the member is not missing.
func Told(ctx context.Context, r *net.Resolver, told []string, places Map, template string) (a Answer) {
	for _, addr := range told {
		all, err := Addresses(ctx, r, places.Of(addr))
		var name *net.DNSError
		switch {
		case err == nil && len(all) > 0:
			a.Found = append(a.Found, Found{Addr: all[0].String(), Template: template, Weight: 1})
		case ctx.Err() != nil, errors.As(err, &name) && !name.IsNotFound:
			return Answer{Err: fmt.Errorf("a member is known by a name, and there is no address: %w", err)}
		default:
			a.Unused = append(a.Unused, Unused{addr, string(Members), fmt.Sprintf("the name service gives no address: %v", err)})
		}
	}
	return a
}

// Named looks up the configured nodes that are known by a name, and returns the address
// of each. It is empty for a name with several addresses, which leads to several
// servers, and noAnswer where there is no answer. What nodes are found for is no node.
func (ks Kinds) Named(ctx context.Context, r *net.Resolver, d dialect.Dialect, configured []members.Node) map[string]string {
	all := make(map[string]string)
	for _, n := range configured {
		host, ok := d.Host(n.DSN)
		if _, literal := Literal(host); !ok || literal || ks.IsTemplate(d, &n) {
			continue
		}
		switch found, err := Addresses(ctx, r, host); {
		case err != nil:
			all[n.Name] = noAnswer
		case len(found) == 1:
			all[n.Name] = found[0].String()
		}
	}
	return all
}

// noAnswer stands for an address that the name service has not told.
const noAnswer = "?"

// Static returns a func that finds the configured node with an address.
func Static(d dialect.Dialect, configured []members.Node) func(addr string) (name string, ok bool) {
	at := make(map[string]string)
	for _, n := range configured {
		if host, ok := d.Host(n.DSN); ok {
			if literal, ok := Literal(host); ok {
				at[literal] = n.Name
			}
		}
	}
	return func(addr string) (string, bool) {
		name, ok := at[addr]
		return name, ok
	}
}

// Map leads what was found through a map of addresses. What a node has told of its
// members is left out: that was led through the map before it was looked up.
func (m Map) Map(answers []Answer) {
	for i := range answers {
		if answers[i].Source == string(Members) {
			continue
		}
		for j := range answers[i].Found {
			if f := &answers[i].Found[j]; f.Own == nil {
				f.Addr, _ = Literal(m.Of(f.Addr)) // a name is no address, and is told
			}
		}
	}
}

// An Asker asks sources, each in a goroutine of its own. The zero Asker is ready. Its
// method must not be called by two goroutines at a time.
type Asker struct {
	busy map[string]chan Answer // of sources that have not returned
}

// Ask puts the questions, all at once. A source that does not return in time is left to
// itself, and not asked again before it has returned.
func (k *Asker) Ask(ctx context.Context, questions []Question) []Answer {
	if k.busy == nil {
		k.busy = make(map[string]chan Answer)
	}
	limit, cancel := context.WithTimeout(ctx, LookupTimeout)
	defer cancel()
	late := fmt.Errorf("no answer within %s", LookupTimeout)
	for _, q := range questions {
		if k.busy[q.Name] != nil {
			continue
		}
		answer := make(chan Answer, 1)
		k.busy[q.Name] = answer
		go func() {
			a := Answer{Err: errors.New("the source ended its goroutine")}
			defer func() {
				if r := recover(); r != nil {
					a = Answer{Err: fmt.Errorf("the source panicked: %v", r)}
				}
				answer <- a
			}()
			told := q.Ask(limit)
			if told.Err != nil { // its methods are the program's, and may panic: nobody else calls them
				if errors.Is(told.Err, context.DeadlineExceeded) {
					told.Err = late
				} else {
					told.Err = errors.New(fmt.Sprint(told.Err))
				}
			}
			a = told
		}()
	}
	answers := make([]Answer, 0, len(questions))
	for _, q := range questions {
		a := Answer{Err: late}
		select {
		case a = <-k.busy[q.Name]:
			delete(k.busy, q.Name)
		case <-limit.Done():
			select {
			case a = <-k.busy[q.Name]:
				delete(k.busy, q.Name)
			default:
			}
		}
		a.Source = q.Name
		answers = append(answers, a)
	}
	return answers
}
