package clustersql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/discovery"
	"github.com/EnumApps/clustersql/internal/settings"
)

// An Option changes one setting of a cluster; see [NewDriver].
type Option func(*Config)

// WithStrategy sets [Config.Strategy].
func WithStrategy(s Strategy) Option { return func(c *Config) { c.Strategy = s } }

// WithCheck sets [Config.Check].
func WithCheck(check Check) Option { return func(c *Config) { c.Check = check } }

// WithCheckQuery sets [Config.CheckQuery].
func WithCheckQuery(query string) Option { return func(c *Config) { c.CheckQuery = query } }

// WithRequire sets [Config.Require].
func WithRequire(what Require) Option { return func(c *Config) { c.Require = what } }

// WithMaxLag sets [Config.MaxLag].
func WithMaxLag(lag time.Duration) Option { return func(c *Config) { c.MaxLag = lag } }

// WithCausalTimeout sets [Config.CausalTimeout].
func WithCausalTimeout(d time.Duration) Option { return func(c *Config) { c.CausalTimeout = d } }

// WithRoleQueries sets [Config.RoleQuery] and [Config.LagQuery]. Either may be
// empty.
func WithRoleQueries(role, lag string) Option {
	return func(c *Config) { c.RoleQuery, c.LagQuery = role, lag }
}

// WithDonors sets [Config.AllowDonor] and [Config.DonorAfter].
func WithDonors(allow bool, after time.Duration) Option {
	return func(c *Config) { c.AllowDonor, c.DonorAfter = allow, after }
}

// WithHangLimit sets [Config.HangLimit].
func WithHangLimit(d time.Duration) Option { return func(c *Config) { c.HangLimit = d } }

// WithLateAfter sets [Config.LateAfter].
func WithLateAfter(d time.Duration) Option { return func(c *Config) { c.LateAfter = d } }

// WithHedgedReads sets [Config.HedgeReads] and [Config.HedgeAfter].
func WithHedgedReads(on bool, after time.Duration) Option {
	return func(c *Config) { c.HedgeReads, c.HedgeAfter = on, after }
}

// WithGroups sets [Config.Groups].
func WithGroups(g Groups) Option { return func(c *Config) { c.Groups = g } }

// WithSilenceHold sets [Config.SilenceHold].
func WithSilenceHold(d time.Duration) Option { return func(c *Config) { c.SilenceHold = d } }

// WithRebalance sets [Config.Rebalance] and [Config.RebalanceAfter].
func WithRebalance(what Rebalance, after time.Duration) Option {
	return func(c *Config) { c.Rebalance, c.RebalanceAfter = what, after }
}

// WithFailbackAfter sets [Config.FailbackAfter].
func WithFailbackAfter(d time.Duration) Option { return func(c *Config) { c.FailbackAfter = d } }

// WithMaxAge sets [Config.MaxAge].
func WithMaxAge(d time.Duration) Option { return func(c *Config) { c.MaxAge = d } }

// WithDrainTimeout sets [Config.DrainTimeout].
func WithDrainTimeout(d time.Duration) Option { return func(c *Config) { c.DrainTimeout = d } }

// WithDialect sets [Config.Dialect].
func WithDialect(d Dialect) Option { return func(c *Config) { c.Dialect = d } }

// WithDial sets [Config.Dial].
func WithDial(who DialMode) Option { return func(c *Config) { c.Dial = who } }

// WithTCPUserTimeout sets [Config.TCPUserTimeout].
func WithTCPUserTimeout(d time.Duration) Option { return func(c *Config) { c.TCPUserTimeout = d } }

// WithOpenTimeout sets [Config.OpenTimeout].
func WithOpenTimeout(d time.Duration) Option { return func(c *Config) { c.OpenTimeout = d } }

// WithAttemptTimeout sets [Config.AttemptTimeout].
func WithAttemptTimeout(d time.Duration) Option { return func(c *Config) { c.AttemptTimeout = d } }

// WithLoserGrace sets [Config.LoserGrace].
func WithLoserGrace(d time.Duration) Option { return func(c *Config) { c.LoserGrace = d } }

// WithMaxOpensPerNode sets [Config.MaxOpensPerNode].
func WithMaxOpensPerNode(n int) Option { return func(c *Config) { c.MaxOpensPerNode = n } }

// WithProbe sets [Config.ProbeInterval] and [Config.ProbeTimeout].
func WithProbe(interval, timeout time.Duration) Option {
	return func(c *Config) { c.ProbeInterval, c.ProbeTimeout = interval, timeout }
}

// WithRiseFall sets [Config.Rise] and [Config.Fall].
func WithRiseFall(rise, fall int) Option { return func(c *Config) { c.Rise, c.Fall = rise, fall } }

// WithIdempotent sets [Config.Idempotent].
func WithIdempotent(on bool) Option { return func(c *Config) { c.Idempotent = on } }

// WithSeed sets [Config.Seed].
func WithSeed(seed uint64) Option { return func(c *Config) { c.Seed = seed } }

// WithOnEvent sets [Config.OnEvent].
func WithOnEvent(f func(Event)) Option { return func(c *Config) { c.OnEvent = f } }

// WithLogger sets [Config.Logger].
func WithLogger(l *slog.Logger) Option { return func(c *Config) { c.Logger = l } }

// NodeConfig holds the settings of one node. The options of [Driver.AddNode]
// and [Driver.AddConnector] change it, and so do the keys of a
// [[cluster.node]]. Priority and Weight work as in DNS SRV records (RFC 2782):
// a lower priority is used first, and a larger weight gets more.
type NodeConfig struct {
	// Priority is the node's tier, from 0 to 65535. A lower number is used
	// first, as in MaxScale. A node with a higher number is used only while
	// every node with a lower one is down or suspect, refuses the open, or
	// keeps it waiting for 2 s. The default is 0. A standby (HAProxy's backup
	// server) gets 1.
	Priority int
	// Weight is the node's share of the connections, relative to the other
	// nodes, from 1 to 65535. Only Balanced uses it. The default is 1.
	Weight int
}

// A NodeOption changes one setting of a node; see [Driver.AddNode].
type NodeOption func(*NodeConfig)

// WithPriority sets [NodeConfig.Priority].
func WithPriority(priority int) NodeOption { return func(c *NodeConfig) { c.Priority = priority } }

// WithWeight sets [NodeConfig.Weight].
func WithWeight(weight int) NodeOption { return func(c *NodeConfig) { c.Weight = weight } }

const (
	priorityKey = "priority"
	weightKey   = "weight"
	settingMost = 65535 // the largest priority and weight, as in an SRV record
)

// newNodeConfig applies options to the defaults. Its error is a *SettingError.
func newNodeConfig(opts []NodeOption) (NodeConfig, error) {
	c := NodeConfig{Weight: 1}
	for _, opt := range opts {
		opt(&c)
	}
	switch {
	case c.Priority < 0 || c.Priority > settingMost:
		return c, &SettingError{priorityKey, fmt.Sprintf("%d is out of range: write a number from 0, used first, to %d", c.Priority, settingMost)}
	case c.Weight < 1 || c.Weight > settingMost:
		return c, &SettingError{weightKey, fmt.Sprintf("%d is out of range: write a number from 1 to %d", c.Weight, settingMost)}
	}
	return c, nil
}

// nodeOptions returns the options for the settings of a node in a file.
func nodeOptions(settings []conffile.Setting) ([]NodeOption, error) {
	var opts []NodeOption
	options := map[string]func(int) NodeOption{priorityKey: WithPriority, weightKey: WithWeight}
	for _, s := range settings {
		option := options[s.Key]
		n, err := conffile.Int(s.Value)
		if err == nil {
			_, err = newNodeConfig([]NodeOption{option(n)})
		}
		if err != nil {
			return nil, s.Wrong(problem(err))
		}
		opts = append(opts, option(n))
	}
	return opts, nil
}

// WithDiscover sets [Config.Discover] and [Config.DiscoverEvery].
func WithDiscover(what Discover, every time.Duration) Option {
	return func(c *Config) { c.Discover, c.DiscoverEvery = what, every }
}

// WithDiscoverLimits sets [Config.DiscoverMissing] and [Config.DiscoverFloor].
func WithDiscoverLimits(missing, floor int) Option {
	return func(c *Config) { c.DiscoverMissing, c.DiscoverFloor = missing, floor }
}

// WithDiscoverNetworks sets [Config.DiscoverNetworks].
func WithDiscoverNetworks(networks string) Option {
	return func(c *Config) { c.DiscoverNetworks = networks }
}

// WithDiscoverAddresses sets [Config.DiscoverAddresses].
func WithDiscoverAddresses(addresses string) Option {
	return func(c *Config) { c.DiscoverAddresses = addresses }
}

// WithNameServer sets [Config.NameServer].
func WithNameServer(server string) Option { return func(c *Config) { c.NameServer = server } }

// WithSource sets [Config.Source] and [Config.DiscoverEvery].
func WithSource(s Source, every time.Duration) Option {
	return func(c *Config) { c.Source, c.DiscoverEvery = s, every }
}

// Groups says whether a cluster's nodes may be of several Galera groups; see
// [Config.Groups].
type Groups string

const (
	// GroupsOne uses the nodes of one group.
	GroupsOne Groups = ""
	// GroupsAny uses the nodes of all groups together.
	GroupsAny Groups = "any"
)

// UnmarshalText sets the value from its text in config.toml. GroupsOne is "one"
// or the empty text.
func (g *Groups) UnmarshalText(text []byte) error {
	if string(text) == "one" {
		text = nil
	}
	return setChoice(g, text, Groups.problem)
}

func (g Groups) problem() error {
	switch g {
	case GroupsOne, GroupsAny:
		return nil
	}
	return fmt.Errorf("%s is neither \"one\" nor %q", conffile.Quote(string(g)), string(GroupsAny))
}

// DialMode decides who dials; see [Config.Dial].
type DialMode string

const (
	// DialCluster lets the cluster dial, so that it can cut connections.
	DialCluster DialMode = "cluster"
	// DialBackend leaves the dial to the backend.
	DialBackend DialMode = "backend"
)

// UnmarshalText sets the value from its text in config.toml.
func (d *DialMode) UnmarshalText(text []byte) error { return setChoice(d, text, DialMode.problem) }

func (d DialMode) problem() error {
	switch d {
	case DialCluster, DialBackend:
		return nil
	}
	return fmt.Errorf("%s is neither %q nor %q", conffile.Quote(string(d)), string(DialCluster), string(DialBackend))
}

// setChoice sets a value that must be one of a few names. problem returns the
// error for any other.
func setChoice[T ~string](value *T, text []byte, problem func(T) error) error {
	v := T(text)
	if err := problem(v); err != nil {
		return err
	}
	*value = v
	return nil
}

// configTable are the settings of a Config.
var configTable = settings.Of[Config]()

// keeping returns the settings with which a running cluster goes on: what changes
// at a restart only is as it was.
func (c *Config) keeping(before *Config) *Config {
	kept := *c
	configTable.Keep(&kept, before, string(TakesRestart))
	return &kept
}

// set sets the field of a key to a value of a TOML type: a string, int64,
// float64 or bool. Its error is a *SettingError.
func (c *Config) set(key string, value any) error {
	if !configTable.Has(key) {
		return &SettingError{key, "there is no such setting: the settings are " + strings.Join(configTable.Keys, ", ")}
	}
	if err := configTable.Set(c, key, value); err != nil {
		return &SettingError{key, err.Error()}
	}
	return nil
}

// setText is set for a value that is text whatever its type, as in the
// parameters of a DSN.
func (c *Config) setText(key, value string) error { return c.set(key, configTable.Value(key, value)) }

// problem returns a SettingError without its key, and any other error as it is.
func problem(err error) error {
	if e, ok := err.(*SettingError); ok {
		return errors.New(e.Problem)
	}
	return err
}

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

// A Source finds nodes for a cluster, such as in a registry of services; see
// [Config.Source]. It returns all nodes that there are now. A node is its name: one that
// is returned with another DSN, or with another Connector, is replaced, so return the
// same Connector as long as it is the same node. It may be called from any goroutine,
// one call at a time, and should return when ctx is done.
type Source func(ctx context.Context) ([]Node, error)

// discovers reports whether anything finds nodes.
func (c *Config) discovers() bool { return c.Discover != DiscoverOff || c.Source != nil }

// validateDiscovery returns a *SettingError for the first setting of discovery that
// cannot work.
func (c *Config) validateDiscovery() error {
	if err := c.Discover.problem(); err != nil {
		return &SettingError{"discover", err.Error()}
	}
	if key, problem := discovery.Problem(c.sources(), c.DiscoverNetworks, c.DiscoverAddresses, c.NameServer); problem != "" {
		return &SettingError{key, problem}
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

// sources returns what a cluster asks for its nodes.
func (c *Config) sources() (all discovery.Kinds) {
	for _, kind := range c.Discover.kinds() {
		all = append(all, discovery.Kind(kind))
	}
	if c.Source != nil {
		all = append(all, discovery.Program)
	}
	return all
}
