package clustersql

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/EnumApps/clustersql/internal/settings"
)

// Config holds the settings of one cluster. [DefaultConfig] returns the
// defaults. The options of [NewDriver] and the keys of config.toml change them.
// Every duration must be at least 1 ms, but MaxAge, MaxLag and TCPUserTimeout are 0
// or at least 1 s, and LateAfter is 0 or at least 1 ms. Those that bound an open or a probe, ProbeInterval and
// TCPUserTimeout may be 24 hours at most, and the others 365 days.
//
// AttemptTimeout must not be above OpenTimeout, nor ProbeTimeout above
// ProbeInterval. If one of such a pair has its default, it counts as not set,
// and follows the other. It is an error only if both were set.
type Config struct {
	// Strategy decides which nodes an open asks, and when.
	// A reload changes it live.
	Strategy Strategy `toml:"strategy" reload:"live"`
	// Dialect names the database that the backend speaks to. It decides the
	// default check, what errors mean, which statements may be sent again,
	// which parts of a DSN are secret, and who dials. If it is empty, the
	// backend's driver decides it. Set it for a driver that wraps another one,
	// such as a driver that traces statements: with "mysql" or "postgres" such a
	// backend gets everything that the driver inside gets. Its connections can be
	// cut if it dials with [Dial].
	// A reload leaves it as it is: it changes at a restart.
	Dialect Dialect `toml:"dialect" reload:"at restart"`
	// Check judges a fresh connection, and the connection of a probe. Nil
	// stands for the backend's default: for mysql DO 1, and CheckGalera on a
	// server that runs a wsrep provider; Ping for the others.
	// A reload changes it live.
	Check Check `toml:"check" reload:"live"`
	// CheckQuery is a query that runs after Check. It must return one row whose
	// first column is true: a number other than 0, or true, t, on, yes or y. If
	// it is empty, no query runs. A reload changes it live.
	CheckQuery string `toml:"check_query" reload:"live"`
	// Require says which nodes are used, by libpq's words. With "read-write", or
	// its older name "writable", they are those that take writes: in MariaDB and
	// MySQL read_only is OFF, in PostgreSQL transaction_read_only is off. In such
	// a cluster a node is also taken down when it refuses a statement because it
	// is read-only. The generic dialect needs RoleQuery for it.
	// A reload changes it live.
	Require Require `toml:"require" reload:"live"`
	// MaxLag is how far a replica may be behind its primary. One that is further
	// behind, or whose lag is not known, is not used, also if no other node is
	// left. The lag is worked out at every probe, so a read may be older by two
	// of their intervals. It is used again when it is less than four fifths of
	// MaxLag behind. 0 means that every replica is used.
	// A reload changes it live.
	MaxLag time.Duration `toml:"max_lag" reload:"live"`
	// CausalTimeout is how long a call under [ReadYourWrites] waits on a node that
	// does not have what the calls before have seen. Then it goes to another node. It
	// also bounds the question for a position after each call.
	// A reload changes it live.
	CausalTimeout time.Duration `toml:"causal_timeout" reload:"live"`
	// RoleQuery asks a node for its role, instead of what the dialect asks. It
	// must return one row: "primary", "standby" or "replica", and then, if it has
	// a second column that is not NULL, whether the node takes writes.
	// A reload changes it live.
	RoleQuery string `toml:"role_query" reload:"live"`
	// LagQuery asks a replica how many seconds it is behind, instead of what the
	// dialect asks. It must return one row with a number; NULL means that the lag
	// is not known. A reload changes it live.
	LagQuery string `toml:"lag_query" reload:"live"`
	// AllowDonor treats a Galera donor, a desynced node, or one that catches up
	// after that, as any other node. Without it CheckGalera causes such a node to
	// be used last. A reload changes it live.
	AllowDonor bool `toml:"allow_donor" reload:"live"`
	// DonorAfter is how long a node may be a donor or desynced before it is
	// taken down, unless AllowDonor is set. It is not taken down while no better
	// node is up. A reload changes it live.
	DonorAfter time.Duration `toml:"donor_after" reload:"live"`

	// SilenceHold is how long a Galera node that was silent and answers again
	// is held back if there is no other up node to compare it with. Until it
	// learns that the group went on without it, it may serve stale reads. If
	// other nodes are up, their wsrep_cluster_conf_id and wsrep_last_committed
	// decide instead; probes of mysql nodes ask for these with any check. If no
	// other node is usable, the node is used at once. A reload changes it live.
	SilenceHold time.Duration `toml:"silence_hold" reload:"live"`

	// HangLimit is how long calls may hang on a silent node while no other node
	// answers. As long as one does, a silent node's connections are cut at once.
	// If none does, it may be the group's pause, the network or this program:
	// the connections are kept, and cut only after this time. A cluster of one
	// node has no other to ask: its silent connections are cut at once.
	// A reload changes it live.
	HangLimit time.Duration `toml:"hang_limit" reload:"live"`
	// LateAfter is how long a call may take before it asks for a probe of its node,
	// so that a frozen node is found by the calls that hang on it, and not only at
	// the next probe. Its connections are cut if it then sends nothing for as long as
	// its own answers make sensible, 280 ms at least, while its system accepts a
	// connection and another node answers. 0 turns it off. A reload changes it live.
	LateAfter time.Duration `toml:"late_after" reload:"live"`
	// HedgeReads sends a read that takes long to another node too, and uses what is
	// answered first. If that is the other node, the connection leads there from then
	// on. So a read does not wait for a node that has frozen or is slow. See
	// docs/reads.md for which reads, and what it takes. To turn it off takes effect at
	// once. A reload changes it for new connections.
	HedgeReads bool `toml:"hedge_reads" reload:"for new connections"`
	// HedgeAfter is how long a read takes at least before it is hedged. Each node
	// learns from its reads how long most of them take: after 500 ms, or HedgeAfter if
	// that is more, a read is hedged in any case. A reload changes it live.
	HedgeAfter time.Duration `toml:"hedge_after" reload:"live"`
	// Groups says whether the nodes may be of several Galera groups. With
	// GroupsOne, the default, one group is used: the one with most of the
	// cluster's nodes, and of equals the one in use. The nodes of other groups,
	// and nodes that show no view beside nodes that do, are held. GroupsAny is
	// for groups that replicate to each other by other means.
	// A reload changes it live.
	Groups Groups `toml:"groups" reload:"live"`

	// Dial decides who dials for nodes with a mysql DSN on network tcp or unix.
	// DialCluster lets the cluster dial, so that it can cut their connections.
	// DialBackend is for programs that have registered their own dialer for
	// such a network. A reload changes it for new connections.
	Dial DialMode `toml:"dial" reload:"for new connections"`
	// TCPUserTimeout is how long what was sent on a connection may stay
	// unacknowledged by the other machine before the connection is lost. So a
	// statement returns that hangs because the network drops the packets of its
	// connection and of no other: no probe sees that. It is for TCP connections
	// that were dialled with [Dial] on Linux. 0 leaves it to the system.
	//
	// It also bounds how long a server may take nothing while the program has
	// more to send. A LOAD DATA LOCAL that waits for a lock is such a case.
	// A reload changes it for new connections.
	TCPUserTimeout time.Duration `toml:"tcp_user_timeout" reload:"for new connections"`

	// OpenTimeout bounds an open whose caller sets no deadline. The opens of
	// database/sql's own opener are such opens. A reload changes it live.
	OpenTimeout time.Duration `toml:"open_timeout" reload:"live"`
	// AttemptTimeout bounds one attempt: dial, handshake and check. It is also
	// the longest time that a Close waits for a backend that does not react to
	// cancel. A reload changes it live.
	AttemptTimeout time.Duration `toml:"attempt_timeout" reload:"live"`
	// LoserGrace is how long an attempt may go on after it has lost, or after a
	// Close, before it is cancelled. The reason is max_connect_errors: the
	// server counts every broken handshake, and locks this host out when there
	// are too many. A reload changes it live.
	LoserGrace time.Duration `toml:"loser_grace" reload:"live"`
	// MaxOpensPerNode is the most attempts that may be in flight on one node.
	// Further ones wait. A reload changes it live.
	MaxOpensPerNode int `toml:"max_opens_per_node" reload:"live"`

	// ProbeInterval is about the time between two probes of a node that is not
	// down. Each wait is drawn from 80 to 120 percent of it. It is then
	// shortened by less than 1/64 of ProbeInterval, so that probes of many
	// nodes start together. A reload changes it live.
	ProbeInterval time.Duration `toml:"probe_interval" reload:"live"`
	// ProbeTimeout bounds a probe on the lasting probe connection; on a down
	// node Fall times as long does. Time in which this program itself was late
	// is not counted; the same holds for AttemptTimeout. A probe that
	// has to dial first also gets the time that opens of the node take, up to
	// AttemptTimeout in all. If the node is down or was never heard of, the
	// bound is AttemptTimeout. A reload changes it live.
	ProbeTimeout time.Duration `toml:"probe_timeout" reload:"live"`
	// Rise is how many good checks in a row bring a down node up again. For a
	// node that was never up, one is enough. A reload changes it live.
	Rise int `toml:"rise" reload:"live"`
	// Fall is how many signs of silence in a row, or failures without a known
	// reason, take a node down. Explicit evidence, such as a refused
	// connection, takes it down at once. A reload changes it live.
	Fall int `toml:"fall" reload:"live"`

	// Rebalance decides which connections give way when a node has come back,
	// so that it gets its share. If it is empty, the strategy decides.
	// Connections that give way are closed while they lie idle in the pool, or
	// when they are put back into it. In a second a fifth of those gives way
	// that were too many at the start, and at least one. Work on a connection
	// always ends first. A reload changes it live.
	Rebalance Rebalance `toml:"rebalance" reload:"live"`
	// RebalanceAfter is how long a node must have been up before connections on
	// others give way to it. A reload changes it live.
	RebalanceAfter time.Duration `toml:"rebalance_after" reload:"live"`
	// FailbackAfter is how long Ordered asks a node that has come back after
	// the others. A reload changes it live.
	FailbackAfter time.Duration `toml:"failback_after" reload:"live"`
	// MaxAge is the age, plus or minus a tenth, at which a connection is
	// closed, as soon as it lies in the pool. 0 means never.
	// A reload changes it live.
	MaxAge time.Duration `toml:"max_age" reload:"live"`
	// DrainTimeout is how long work on a drained or removed node may go on
	// before its connections are cut. A reload changes it live.
	DrainTimeout time.Duration `toml:"drain_timeout" reload:"live"`

	// Discover says where nodes are found, beside those that are configured. With
	// DiscoverDNS and DiscoverSRV the host of a DSN is a name, and its nodes are what
	// the name service gives for it; a DSN with an IP address stays a node. TLS
	// verifies the name in the DSN. A reload changes it live.
	Discover Discover `toml:"discover" reload:"live"`
	// DiscoverEvery is about the time between two questions to each source. When nodes
	// fail they come sooner. A reload changes it live.
	DiscoverEvery time.Duration `toml:"discover_every" reload:"live"`
	// DiscoverMissing is how many answers in a row must leave a node out before it
	// drains. Errors and empty answers do not count. At most half of the nodes that
	// were found go at once. A reload changes it live.
	DiscoverMissing int `toml:"discover_missing" reload:"live"`
	// DiscoverFloor is how many of the nodes that were found stay, whatever is
	// answered. A reload changes it live.
	DiscoverFloor int `toml:"discover_floor" reload:"live"`
	// DiscoverNetworks are the networks in which nodes may be found, as in
	// "10.0.0.0/8, fd00::/8". If it is empty, all may. A reload changes it live.
	DiscoverNetworks string `toml:"discover_networks" reload:"live"`
	// DiscoverAddresses leads from addresses that were found to those under which the
	// program reaches them, as in "10.0.0.5=127.0.0.1:13306". A reload changes it live.
	DiscoverAddresses string `toml:"discover_addresses" reload:"live"`
	// NameServer is the address of the name service that is asked, for discovery and
	// for the hosts that are dialled with [Dial]. If it is empty, it is the system's.
	// A reload changes it live.
	NameServer string `toml:"name_server" reload:"live"`
	// Source finds nodes in a way of the program's own.
	// A reload leaves it as it is: it changes at a restart.
	Source Source `toml:"-" reload:"at restart"`

	// Idempotent lets reads run again if their connection is lost before the
	// first row. It covers what a Query outside a transaction sends, if that
	// begins with SELECT, SHOW, WITH, VALUES, TABLE, DESCRIBE or EXPLAIN and
	// writes nothing. It never covers an Exec. To allow it for single calls,
	// use the func [Idempotent]. A reload changes it live.
	Idempotent bool `toml:"idempotent" reload:"live"`

	// Seed makes the cluster's random draws repeatable, for tests. If it is 0,
	// the runtime draws a seed.
	// A reload leaves it as it is: it changes at a restart.
	Seed uint64 `toml:"-" reload:"at restart"`

	// Logger gets one line for every [Event] and for every panic of a backend.
	// Nil stands for [slog.Default]. NewDriver and AddNode wait for its handler,
	// and Close does for at most AttemptTimeout; nothing else does. If the handler hangs, at most 256 lines of a node
	// wait, and the first line after those says how many were dropped.
	// A reload leaves it as it is: it changes at a restart.
	Logger *slog.Logger `toml:"-" reload:"at restart"`
	// OnEvent is called for every change of a node's state, for connections
	// that are lost, retired or cut, and when a node is preferred again. The
	// events of one node come in order and one at a time. Events of several
	// nodes may come at the same time. OnEvent may use the cluster, but must
	// not close it. Until it returns, the node's later events wait, and so does
	// Close, for at most AttemptTimeout. At most 256 events of a node wait. Those
	// for which there is no room are dropped: the log says so once, and
	// [Event.Dropped] of the next one says how many. The log does not wait for
	// OnEvent: it has a line for every event. The first loss after a probe of a
	// node comes at once. All further ones until the next probe come as one
	// event. A reload leaves it as it is: it changes at a restart.
	OnEvent func(Event) `toml:"-" reload:"at restart"`
}

// DefaultConfig returns the settings of a cluster that changes none of them.
func DefaultConfig() Config {
	return Config{
		Strategy:        Race,
		CausalTimeout:   time.Second,
		DonorAfter:      5 * time.Second,
		SilenceHold:     8 * time.Second,
		HangLimit:       15 * time.Second,
		LateAfter:       40 * time.Millisecond,
		HedgeAfter:      20 * time.Millisecond,
		Dial:            DialCluster,
		TCPUserTimeout:  30 * time.Second,
		OpenTimeout:     10 * time.Second,
		AttemptTimeout:  3 * time.Second,
		LoserGrace:      time.Second,
		MaxOpensPerNode: 8,
		ProbeInterval:   time.Second,
		ProbeTimeout:    600 * time.Millisecond,
		RebalanceAfter:  5 * time.Second,
		FailbackAfter:   30 * time.Second,
		DrainTimeout:    30 * time.Second,
		DiscoverEvery:   10 * time.Second,
		DiscoverMissing: 3,
		DiscoverFloor:   1,
		Rise:            2,
		Fall:            2,
	}
}

// A SettingError reports a setting that cannot work.
type SettingError struct {
	Key     string // as in config.toml
	Problem string // what is wrong with the value, and the remedy
}

// Error returns the key and the problem.
func (e *SettingError) Error() string { return e.Key + ": " + e.Problem }

// The longest durations. They keep the arithmetic with durations and points in
// time far from its limits. What is longer is a mistake in the unit.
const (
	longestWait  = 24 * time.Hour       // of an open, a probe, and the wait between probes
	longestDelay = 365 * 24 * time.Hour // until something is done about a node or a connection
)

// The largest counts.
const (
	mostOpens  = 65535 // max_opens_per_node
	mostChecks = 1000  // rise and fall
)

// settle lets the limits follow that were not set, and returns a *SettingError
// for the first setting that cannot work. To settle twice changes nothing.
func (c *Config) settle() error {
	if err := c.validateRanges(); err != nil {
		return err
	}
	defaults := DefaultConfig()
	follow(&c.AttemptTimeout, &c.OpenTimeout, defaults.AttemptTimeout, defaults.OpenTimeout)
	follow(&c.ProbeTimeout, &c.ProbeInterval, defaults.ProbeTimeout, defaults.ProbeInterval)
	return c.validate()
}

// follow makes two durations fit of which the shorter must not be above the
// longer. One that has its default was not set, and follows the other.
func follow(shorter, longer *time.Duration, defaultShorter, defaultLonger time.Duration) {
	switch {
	case *shorter <= *longer:
	case *shorter == defaultShorter:
		*shorter = *longer
	case *longer == defaultLonger:
		*longer = *shorter
	}
}

// validateRanges returns a *SettingError for the first number or duration that
// cannot work, whatever the other settings are.
func (c *Config) validateRanges() error {
	durations := []struct {
		key     string
		d, most time.Duration
	}{
		{"open_timeout", c.OpenTimeout, longestWait}, {"attempt_timeout", c.AttemptTimeout, longestWait},
		{"loser_grace", c.LoserGrace, longestWait}, {"probe_interval", c.ProbeInterval, longestWait},
		{"discover_every", c.DiscoverEvery, longestWait}, {"probe_timeout", c.ProbeTimeout, longestWait},
		{"causal_timeout", c.CausalTimeout, longestWait}, {"donor_after", c.DonorAfter, longestDelay},
		{"silence_hold", c.SilenceHold, longestDelay}, {"hang_limit", c.HangLimit, longestDelay},
		{"rebalance_after", c.RebalanceAfter, longestDelay}, {"failback_after", c.FailbackAfter, longestDelay},
		{"drain_timeout", c.DrainTimeout, longestDelay}, {"hedge_after", c.HedgeAfter, longestDelay},
	}
	for _, s := range durations {
		if problem := settings.Duration(s.d, s.most); problem != "" {
			return &SettingError{s.key, problem}
		}
	}
	counts := []struct {
		key     string
		n, most int
	}{
		{"max_opens_per_node", c.MaxOpensPerNode, mostOpens}, {"rise", c.Rise, mostChecks}, {"fall", c.Fall, mostChecks},
		{"discover_missing", c.DiscoverMissing, mostChecks}, {"discover_floor", c.DiscoverFloor, mostChecks},
	}
	for _, s := range counts {
		if problem := settings.Count(s.n, s.most); problem != "" {
			return &SettingError{s.key, problem}
		}
	}
	for _, s := range []struct {
		key            string
		d, least, most time.Duration
	}{
		{"max_age", c.MaxAge, time.Second, longestDelay}, {"tcp_user_timeout", c.TCPUserTimeout, time.Second, longestWait},
		{"max_lag", c.MaxLag, time.Second, longestDelay}, {"late_after", c.LateAfter, time.Millisecond, longestDelay},
	} {
		if problem := settings.Limit(s.d, s.least, s.most); problem != "" {
			return &SettingError{s.key, problem}
		}
	}
	return nil
}

// validate returns a *SettingError for the first setting that cannot work.
func (c *Config) validate() error {
	if err := c.validateRanges(); err != nil {
		return err
	}
	switch {
	case c.AttemptTimeout > c.OpenTimeout:
		return &SettingError{"attempt_timeout", fmt.Sprintf("%s is above open_timeout (%s): lower it, or raise open_timeout", c.AttemptTimeout, c.OpenTimeout)}
	case c.ProbeTimeout > c.ProbeInterval:
		return &SettingError{"probe_timeout", fmt.Sprintf("%s is above probe_interval (%s): lower it, or raise probe_interval", c.ProbeTimeout, c.ProbeInterval)}
	case !c.Strategy.valid():
		return &SettingError{"strategy", "none is set: use clustersql.Race, or leave the default"}
	}
	choices := []struct {
		key     string
		problem error
	}{
		{"rebalance", c.Rebalance.problem()}, {"require", c.Require.problem()}, {"dial", c.Dial.problem()}, {"dialect", c.Dialect.problem()},
		{"groups", c.Groups.problem()},
	}
	for _, s := range choices {
		if s.problem != nil {
			return &SettingError{s.key, s.problem.Error()}
		}
	}
	return c.validateDiscovery()
}
