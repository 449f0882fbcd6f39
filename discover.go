package clustersql

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/discovery"
)

// Discover names where a cluster finds its nodes; see [Config.Discover]. Several are
// written with commas between.
type Discover string

const (
	// DiscoverOff finds no nodes: they are those that are configured.
	DiscoverOff Discover = ""
	// DiscoverDNS asks for the addresses of the hosts in the DSNs (A and AAAA). Each
	// address is a node.
	DiscoverDNS Discover = "dns"
	// DiscoverSRV asks for the SRV records of the hosts in the DSNs whose names begin
	// with an underscore. Each address of a target is a node, with the record's port,
	// priority and weight.
	DiscoverSRV Discover = "srv"
	// DiscoverMembers asks a node that is up who the members of its group are. It needs
	// [Config.DiscoverNetworks].
	DiscoverMembers Discover = "members"
)

// UnmarshalText sets the value from its text in config.toml.
func (d *Discover) UnmarshalText(text []byte) error { return setChoice(d, text, Discover.problem) }

func (d Discover) problem() error {
	var seen []Discover
	for _, kind := range d.kinds() {
		switch {
		case kind != DiscoverDNS && kind != DiscoverSRV && kind != DiscoverMembers:
			return fmt.Errorf("there is no %s: use \"dns\", \"srv\" or \"members\", with commas between several, or leave it out", conffile.Quote(string(kind)))
		case slices.Contains(seen, kind):
			return fmt.Errorf("%q is there twice: take one out", string(kind))
		}
		seen = append(seen, kind)
	}
	return nil
}

func (d Discover) kinds() []Discover {
	if strings.TrimSpace(string(d)) == "" {
		return nil
	}
	var all []Discover
	for _, word := range strings.Split(string(d), ",") {
		all = append(all, Discover(strings.TrimSpace(word)))
	}
	return all
}

func (d Discover) has(kind Discover) bool { return slices.Contains(d.kinds(), kind) }

// A Source finds nodes for a cluster, such as in a registry of services; see
// [Config.Source]. It returns all nodes that there are now. It may be called from any
// goroutine, one call at a time, and should return when ctx is done.
type Source func(ctx context.Context) ([]Node, error)

// discovers reports whether anything finds nodes.
func (c *Config) discovers() bool { return c.Discover != DiscoverOff || c.Source != nil }

// validateDiscovery returns a *SettingError for the first setting of discovery that
// cannot work.
func (c *Config) validateDiscovery() error {
	if err := c.Discover.problem(); err != nil {
		return &SettingError{"discover", err.Error()}
	}
	networks, err := discovery.ParseNetworks(c.DiscoverNetworks)
	if err != nil {
		return &SettingError{"discover_networks", err.Error()}
	}
	if _, err := discovery.ParseMap(c.DiscoverAddresses); err != nil {
		return &SettingError{"discover_addresses", err.Error()}
	}
	if c.NameServer != "" {
		if _, err := discovery.ParseServer(c.NameServer); err != nil {
			return &SettingError{"name_server", err.Error()}
		}
	}
	if c.Discover.has(DiscoverMembers) && len(networks) == 0 {
		return &SettingError{"discover", `"members" would send the password to any address that a server names: set discover_networks to the networks of the nodes, as in "10.0.0.0/8"`}
	}
	return nil
}

// resolver returns the resolver that the settings name.
func (c *Config) resolver() *net.Resolver {
	server := ""
	if c.NameServer != "" {
		server, _ = discovery.ParseServer(c.NameServer) // validated
	}
	return discovery.Resolver(server)
}

// isTemplate reports whether nodes are found for what is configured: its host is a
// name. What has an address stays a node by itself.
func (c *Config) isTemplate(d dialect.Dialect, w *wantedNode) bool {
	if w.Connector != nil || !c.Discover.has(DiscoverDNS) && !c.Discover.has(DiscoverSRV) {
		return false
	}
	addr, ok := d.Host(w.DSN)
	_, literal := discovery.Literal(addr)
	if !ok || literal {
		return false
	}
	return c.kindOf(addr) != DiscoverOff
}

// kindOf returns who is asked for the nodes of a host.
func (c *Config) kindOf(addr string) Discover {
	service := strings.HasPrefix(addr, "_")
	switch {
	case service && c.Discover.has(DiscoverSRV):
		return DiscoverSRV
	case !service && c.Discover.has(DiscoverDNS):
		return DiscoverDNS
	}
	return DiscoverOff
}

// sourceName is the name of the program's own source.
const sourceName = "source"

// A question is what one source is asked in a round.
type sourceQuestion struct {
	name string
	ask  func(ctx context.Context) discovery.Answer
}

// questions returns what is asked in a round.
func (m *manager) questions(cfg *Config) []sourceQuestion {
	var all []sourceQuestion
	m.mu.Lock()
	templates := slices.Clone(m.templates)
	m.mu.Unlock()
	r, d := cfg.resolver(), cfg.dialectOf(m.backend)
	for _, t := range templates {
		addr, _ := d.Host(t.DSN)
		kind := cfg.kindOf(addr)
		if kind == DiscoverOff {
			continue
		}
		host := addr
		if kind == DiscoverSRV {
			host, _, _ = net.SplitHostPort(addr)
		}
		all = append(all, sourceQuestion{string(kind) + " " + host, func(ctx context.Context) (a discovery.Answer) {
			if kind == DiscoverSRV {
				a.Found, a.Err = discovery.AskSRV(ctx, r, host)
			} else {
				a.Found, a.Err = discovery.AskDNS(ctx, r, addr)
			}
			for i := range a.Found {
				f := &a.Found[i]
				f.Template = t.Name
				if kind == DiscoverDNS {
					f.Priority, f.Weight = t.Priority, t.weight()
				}
			}
			return a
		}})
	}
	if cfg.Discover.has(DiscoverMembers) {
		all = append(all, sourceQuestion{string(DiscoverMembers), func(ctx context.Context) discovery.Answer { return m.askMembers(ctx, cfg, r) }})
	}
	if cfg.Source != nil {
		all = append(all, sourceQuestion{sourceName, func(ctx context.Context) discovery.Answer { return m.askSource(ctx, cfg, d) }})
	}
	return all
}

var errNobodyToAsk = errors.New("no node is up that could be asked")

// askMembers asks the nodes that are up, one after the other until one answers.
func (m *manager) askMembers(ctx context.Context, cfg *Config, r *net.Resolver) (a discovery.Answer) {
	a.Err = errNobodyToAsk
	for _, n := range *m.nodes.Load() {
		if State(n.effective(n.snapshot.Load())) != StateUp || ctx.Err() != nil {
			continue
		}
		told, unused, err := n.askMembers(ctx, cfg)
		if err != nil {
			a.Err = err
			continue
		}
		a.Err = nil
		for _, u := range unused {
			a.Unused = append(a.Unused, discovery.Unused{Addr: u.Told, Source: string(DiscoverMembers), Why: u.Why})
		}
		template := ""
		if all := m.configured(); len(all) > 0 {
			template = all[0].Name
		}
		places, _ := discovery.ParseMap(cfg.DiscoverAddresses) // validated
		for _, addr := range told {
			all, err := discovery.Addresses(ctx, r, places.Of(addr))
			if err != nil || len(all) == 0 {
				a.Unused = append(a.Unused, discovery.Unused{Addr: addr, Source: string(DiscoverMembers), Why: fmt.Sprintf("the name service gives no address: %v", err)})
				continue
			}
			a.Found = append(a.Found, discovery.Found{Addr: all[0].String(), Template: template, Weight: 1})
		}
		return a
	}
	return a
}

// askMembers asks one node, on a connection of its own.
func (n *node) askMembers(ctx context.Context, cfg *Config) ([]string, []dialect.Unaddressed, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.AttemptTimeout)
	defer cancel()
	var r dialed
	n.dial.connect(ctx, &r)
	if r.failed != nil {
		return nil, nil, r.failed.err
	}
	defer n.close(r.conn)
	return n.dial.dialect.Members(ctx, r.conn)
}

// askSource asks the program.
func (m *manager) askSource(ctx context.Context, cfg *Config, d dialect.Dialect) (a discovery.Answer) {
	nodes, err := cfg.Source(ctx)
	a.Err = err
	for i := range nodes {
		own := nodes[i]
		addr := own.Name
		if host, ok := d.Host(own.DSN); ok {
			if literal, ok := discovery.Literal(host); ok {
				addr = literal
			}
		}
		a.Found = append(a.Found, discovery.Found{Addr: addr, Priority: own.Priority, Weight: own.weight(), Own: &own})
	}
	return a
}

// split divides what is configured into templates and nodes, and adds what was found
// for the templates. What is not used of it is returned too.
func (m *manager) split(cfg *Config, configured []wantedNode) (templates, nodes []wantedNode, unused []UnusedNode) {
	if !cfg.discovers() {
		return nil, configured, nil
	}
	d := cfg.dialectOf(m.backend)
	names := make(map[string]bool)
	for i := range configured {
		if w := configured[i]; cfg.isTemplate(d, &w) {
			templates = append(templates, w)
		} else {
			names[w.Name] = true
			nodes = append(nodes, w)
		}
	}
	m.mu.Lock()
	found := m.found
	m.mu.Unlock()
	for _, f := range found {
		w, ok := wantedFrom(cfg, d, &f, configured)
		switch {
		case !ok: // what it was found for is not configured any more
		case names[w.Name]:
			unused = append(unused, UnusedNode{f.Addr, f.Source, "there is a node of this name already"})
		default:
			names[w.Name] = true
			nodes = append(nodes, w)
		}
	}
	return templates, nodes, unused
}

// wantedFrom returns the node for what was found. It has the DSN of its template, so
// that TLS verifies the name that was configured, and is dialled at the address that
// was found.
func wantedFrom(cfg *Config, d dialect.Dialect, f *discovery.Found, configured []wantedNode) (wantedNode, bool) {
	if own, ok := f.Own.(*Node); ok {
		w := wantedNode{Node: *own, origin: f.Source}
		w.Conns = 0
		return w, cfg.Source != nil
	}
	i := slices.IndexFunc(configured, func(w wantedNode) bool { return w.Name == f.Template })
	if i < 0 {
		return wantedNode{}, false
	}
	w := wantedNode{Node: Node{Name: f.Addr, DSN: configured[i].DSN, Priority: f.Priority, Weight: f.Weight}, addr: f.Addr, origin: f.Source}
	if host, _ := d.Host(w.DSN); cfg.kindOf(host) == DiscoverSRV {
		name, _, _ := net.SplitHostPort(host)
		_, port, _ := net.SplitHostPort(f.Addr)
		dsn, err := d.Rehost(w.DSN, net.JoinHostPort(discovery.Domain(name), port))
		if err != nil {
			return w, false
		}
		w.DSN = dsn
	}
	return w, true
}

// configured returns the nodes that are configured, and the templates.
func (m *manager) configured() []wantedNode {
	m.mu.Lock()
	all := slices.Clone(m.templates)
	m.mu.Unlock()
	for _, n := range m.describe() {
		if !n.departing && (n.origin == originCode || n.origin == originFile || n.origin == originDSN) {
			all = append(all, n.wantedNode)
		}
	}
	return all
}

// A SourceStatus says what one source of discovery has said.
type SourceStatus struct {
	Name      string    `json:"name"`                // "dns" or "srv" with the name that is asked for, "members", or "source" for that of the program
	Asked     time.Time `json:"asked,omitzero"`      // when it was last asked
	Answered  time.Time `json:"answered,omitzero"`   // when it last gave an answer that counts
	Addresses []string  `json:"addresses,omitempty"` // of that answer, sorted
	Err       string    `json:"err,omitempty"`       // why the last answer does not count, redacted; empty if it does
}

// An UnusedNode is something that was found and is not used, or only stays for the
// time being.
type UnusedNode struct {
	Address string `json:"address"`
	Source  string `json:"source"`
	Why     string `json:"why"`
}
