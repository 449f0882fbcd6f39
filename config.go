package clustersql

import (
	"fmt"
	"log/slog"
	"time"
)

// Config holds the settings of one cluster. [DefaultConfig] is the start;
// options of [NewDriver] and the keys of config.toml change it. Every
// duration but MaxAge must be positive.
type Config struct {
	// Strategy picks which nodes an open asks, and when.
	Strategy Strategy `toml:"strategy"`
	// Dialect names the database that the backend speaks to. It decides the
	// default check, what errors mean, which statements may be sent again, what
	// of a DSN is secret, and who dials. Empty, it is that of the backend's
	// driver. Name it for a driver that wraps another, as those do that trace
	// statements: "mysql" makes such a backend a full one. Its connections can be
	// cut where it dials with [Dial].
	Dialect Dialect `toml:"dialect"`
	// Check judges a fresh connection and a probe's. Nil stands for the
	// backend's default: DO 1 for mysql, Ping for the others.
	Check Check `toml:"check"`
	// CheckQuery is asked after Check, and must give one row whose first
	// column is true: a number other than 0, or true, t, on, yes or y. Empty:
	// nothing is asked.
	CheckQuery string `toml:"check_query"`
	// Require is "writable" for a cluster that only wants nodes whose
	// read_only is OFF; there, a statement that is refused because the node
	// is read-only takes it down. It needs servers that speak MySQL's SQL.
	Require Require `toml:"require"`
	// AllowDonor makes a Galera donor, or a desynced node, count as any
	// other. Without it CheckGalera has it used last.
	AllowDonor bool `toml:"allow_donor"`
	// DonorAfter is how long a node may be a donor or desynced before it is
	// taken down, unless AllowDonor is set.
	DonorAfter time.Duration `toml:"donor_after"`

	// SilenceHold is how long a Galera node that was silent, and answers
	// again, is held back where there is no other up node to compare it with.
	// It may serve stale reads until it learns that the group went on without
	// it. With other nodes up their wsrep_cluster_conf_id and
	// wsrep_last_committed decide, which probes of mysql nodes ask for whatever
	// the check; with none usable it is let in at once.
	SilenceHold time.Duration `toml:"silence_hold"`

	// Dial says who dials for nodes with a mysql DSN on network tcp or unix:
	// DialCluster, so that their connections can be cut, or DialBackend, for
	// programs that have registered a dialer of their own for such a network.
	Dial DialMode `toml:"dial"`

	// OpenTimeout bounds an open whose caller brings no deadline, such as
	// those of database/sql's own opener.
	OpenTimeout time.Duration `toml:"open_timeout"`
	// AttemptTimeout bounds one attempt: dial, handshake and check. It also
	// bounds how long closing waits, for a backend that is deaf to cancel.
	AttemptTimeout time.Duration `toml:"attempt_timeout"`
	// LoserGrace is how long an attempt that has lost, or that a Close finds
	// under way, may go on before it is cancelled. A handshake that is broken
	// off counts towards the server's max_connect_errors, after which it locks
	// this host out.
	LoserGrace time.Duration `toml:"loser_grace"`
	// MaxOpensPerNode bounds the attempts in flight per node; more wait.
	MaxOpensPerNode int `toml:"max_opens_per_node"`

	// ProbeInterval is about the time between two probes of a node that is
	// not down. Each wait is drawn from 80 to 120 percent of it, and is then
	// shortened by less than 1/64 of it, so that probes of many nodes start
	// together.
	ProbeInterval time.Duration `toml:"probe_interval"`
	// ProbeTimeout bounds a probe on the lasting probe connection. One that
	// has to dial first has the time that opens of the node take on top, and
	// AttemptTimeout where the node is down or was never heard of.
	ProbeTimeout time.Duration `toml:"probe_timeout"`
	// Rise is how many good checks in a row bring a node that was down up
	// again; one is enough for a node that never was up.
	Rise int `toml:"rise"`
	// Fall is how many signs of silence, or failures without a known reason,
	// in a row take a node down. Explicit evidence, such as a refused
	// connection, takes it down at once.
	Fall int `toml:"fall"`

	// Rebalance says which connections give way when a node has come back, so
	// that it gets its share: by the strategy, if it is empty. They are closed
	// where they lie idle in the pool, or when they are put back into it, a
	// fifth of those that are too many in a second; work on them always ends
	// first.
	Rebalance Rebalance `toml:"rebalance"`
	// RebalanceAfter is how long a node must have been up before connections
	// on others give way to it.
	RebalanceAfter time.Duration `toml:"rebalance_after"`
	// FailbackAfter is how long Ordered prefers the others to a node that has
	// come back.
	FailbackAfter time.Duration `toml:"failback_after"`
	// MaxAge is after how long, give or take a tenth, a connection is given
	// up, once it lies in the pool. 0: never.
	MaxAge time.Duration `toml:"max_age"`
	// DrainTimeout is how long work on a node that is drained or removed may
	// go on before its connections are cut.
	DrainTimeout time.Duration `toml:"drain_timeout"`

	// Idempotent has reads run again whose connection is lost before the
	// first row: what a Query outside a transaction sends, if it begins with
	// SELECT, SHOW, WITH, VALUES, TABLE, DESCRIBE or EXPLAIN and writes
	// nothing. It never covers an Exec. [Idempotent] marks single calls.
	Idempotent bool `toml:"idempotent"`

	// Seed makes the cluster's random draws repeatable, for tests; 0: a seed
	// of the runtime's.
	Seed uint64 `toml:"-"`

	// Logger gets one line for every [Event] and for a backend's panics. Nil
	// stands for [slog.Default].
	Logger *slog.Logger `toml:"-"`
	// OnEvent is called for every change of a node's state, and for
	// connections lost, retired and cut: for one node in their order and one
	// at a time, for several nodes at once. It may use the cluster, but not
	// close it. While it has not returned, the node's later events wait, and
	// so does Close, for at most AttemptTimeout. Losses between two probes of
	// a node are told together.
	OnEvent func(Event) `toml:"-"`
}

// DefaultConfig returns the settings that a cluster has when nothing else is
// said.
func DefaultConfig() Config {
	return Config{
		Strategy:        Race,
		DonorAfter:      5 * time.Second,
		SilenceHold:     8 * time.Second,
		Dial:            DialCluster,
		OpenTimeout:     10 * time.Second,
		AttemptTimeout:  3 * time.Second,
		LoserGrace:      time.Second,
		MaxOpensPerNode: 8,
		ProbeInterval:   time.Second,
		ProbeTimeout:    600 * time.Millisecond,
		RebalanceAfter:  5 * time.Second,
		FailbackAfter:   30 * time.Second,
		DrainTimeout:    30 * time.Second,
		Rise:            2,
		Fall:            2,
	}
}

// A SettingError is a setting that cannot work.
type SettingError struct {
	Key     string // as in config.toml
	Problem string // what is wrong with the value, and the cure
}

// Error returns key and problem.
func (e *SettingError) Error() string { return e.Key + ": " + e.Problem }

// validate returns a *SettingError for the first setting that cannot work.
func (c *Config) validate() error {
	durations := []struct {
		key string
		d   time.Duration
	}{
		{"open_timeout", c.OpenTimeout},
		{"attempt_timeout", c.AttemptTimeout},
		{"loser_grace", c.LoserGrace},
		{"probe_interval", c.ProbeInterval},
		{"probe_timeout", c.ProbeTimeout},
		{"donor_after", c.DonorAfter},
		{"silence_hold", c.SilenceHold},
		{"rebalance_after", c.RebalanceAfter},
		{"failback_after", c.FailbackAfter},
		{"drain_timeout", c.DrainTimeout},
	}
	for _, s := range durations {
		switch {
		case s.d <= 0:
			return &SettingError{s.key, fmt.Sprintf("%s is not a positive duration: write one with a unit, as in \"1.5s\"", s.d)}
		case s.d < time.Millisecond:
			return &SettingError{s.key, fmt.Sprintf("%s is under a millisecond: write the duration with its unit, as in \"1.5s\"", s.d)}
		}
	}
	counts := []struct {
		key string
		n   int
	}{
		{"max_opens_per_node", c.MaxOpensPerNode}, {"rise", c.Rise}, {"fall", c.Fall},
	}
	for _, s := range counts {
		if s.n < 1 {
			return &SettingError{s.key, fmt.Sprintf("%d is too small: it must be at least 1", s.n)}
		}
	}
	switch {
	case c.AttemptTimeout > c.OpenTimeout:
		return &SettingError{"attempt_timeout", fmt.Sprintf("%s is above open_timeout (%s): lower it, or raise open_timeout", c.AttemptTimeout, c.OpenTimeout)}
	case c.ProbeTimeout > c.ProbeInterval:
		return &SettingError{"probe_timeout", fmt.Sprintf("%s is above probe_interval (%s): lower it, or raise probe_interval", c.ProbeTimeout, c.ProbeInterval)}
	case c.MaxAge < 0 || c.MaxAge > 0 && c.MaxAge < time.Second:
		return &SettingError{"max_age", fmt.Sprintf("%s is too short: write at least \"1s\", or \"0s\" for no limit", c.MaxAge)}
	case !c.Strategy.valid():
		return &SettingError{"strategy", "none is set: use clustersql.Race, or leave the default"}
	}
	choices := []struct {
		key     string
		problem error
	}{
		{"rebalance", c.Rebalance.problem()}, {"require", c.Require.problem()}, {"dial", c.Dial.problem()}, {"dialect", c.Dialect.problem()},
	}
	for _, s := range choices {
		if s.problem != nil {
			return &SettingError{s.key, s.problem.Error()}
		}
	}
	return nil
}
