package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/EnumApps/clustersql"
)

// Exit codes of check.
const (
	checkFailed   = 1
	checkNoAnswer = 2
	checkNotTried = 3
	checkWarnings = 4 // with --strict
)

func init() {
	register(20, "check", "Try the nodes before production; changes nothing on them.", func() runner { return &checkCommand{} })
}

type checkCommand struct {
	Target    string        `arg:"" optional:"" name:"file-or-dsn" help:"The file, or a DSN with a list of hosts."`
	Cluster   string        `help:"Only the cluster of this name."`
	Processes int           `default:"0" help:"How many processes will run with these settings."`
	Pool      int           `default:"0" help:"SetMaxOpenConns of each sql.DB, in each process."`
	Idle      time.Duration `default:"0" help:"SetConnMaxIdleTime of each sql.DB: how long a connection may lie idle."`
	Timeout   time.Duration `default:"10s" help:"How long one node may take for all its answers."`
	Rehearsal bool          `negatable:"" default:"true" help:"Rehearse failovers through local relays, some 10 s for each node."`
	Strict    bool          `help:"Exit with 4 if there are only warnings."`
	Format    string        `enum:"table,json,tsv,junit" default:"table" help:"table, json, tsv or junit."`
}

// A verdict is what a check has come to.
type verdict string

const (
	isOK      verdict = "ok"
	isWarning verdict = "warning"
	isFailed  verdict = "failed"
	isSkipped verdict = "skipped" // it was not asked for, or cannot be told
)

// A row is one line of the table.
type row struct {
	Cluster string  `json:"cluster"`
	Check   string  `json:"check"`
	Node    string  `json:"node,omitempty"` // empty for the cluster as a whole
	Have    string  `json:"have"`
	Want    string  `json:"want,omitempty"`
	Verdict verdict `json:"verdict"`
	Note    string  `json:"note,omitempty"` // the cure
}

// A report is what is found out about one cluster.
type report struct {
	*checkCommand
	*cluster
	galera bool
	facts  []*facts // of the nodes, in their order
	states []clustersql.NodeStatus
	rows   []row
	shared map[string]int // how many of the target's clusters have a node at an address
}

// facts are what one node has told.
type facts struct {
	*node
	address  string
	local    bool          // the way to it is a unix socket or loopback
	reached  bool          // it answers, whatever it says
	err      error         // why it was not reached, or refuses work
	connect  time.Duration // dial and handshake
	trip     time.Duration // the median of some round trips
	skew     time.Duration // its clock less ours
	skewOf   time.Duration // how exact that is
	vars     map[string]string
	status   map[string]string
	grants   string
	tls      string // the cipher, or ""
	causal   time.Duration
	causalBy error
	follows  []following      // what a server of MariaDB or MySQL replicates from
	untold   map[string]error // what could not be asked
}

// Run checks and prints the table.
func (c *checkCommand) Run(e *env) error {
	t, err := openTarget(c.Target)
	if err == nil {
		err = t.only(c.Cluster)
	}
	if err != nil {
		if t != nil {
			t.close()
		}
		return exitf(checkNotTried, "%v", err)
	}
	defer t.close()
	stop := t.run()
	defer stop()
	for _, cl := range t.clusters {
		cl.discover(e.ctx, c.Timeout)
	}
	var rows []row
	reached := 0
	shared := make(map[string]int)
	for _, cl := range t.clusters {
		once := make(map[string]bool)
		for i := range cl.nodes {
			once[addressOf(cl.kind, cl.nodes[i].dsn)] = true
		}
		for address := range once {
			shared[address]++
		}
	}
	for _, cl := range t.clusters {
		r := &report{checkCommand: c, cluster: cl, shared: shared}
		r.run(e)
		for _, f := range r.facts {
			if f.reached {
				reached++
			}
		}
		rows = append(rows, r.rows...)
	}
	if err := writeRows(e.stdout, c.Format, rows); err != nil {
		return err
	}
	count := func(v verdict) (n int) {
		for _, r := range rows {
			if r.Verdict == v {
				n++
			}
		}
		return n
	}
	if c.Format == "table" {
		e.note("%d failed, %d warnings, %d ok, %d not tried", count(isFailed), count(isWarning), count(isOK), count(isSkipped))
	}
	switch {
	case e.ctx.Err() != nil:
		return exitf(checkNotTried, "interrupted")
	case reached == 0:
		return exitf(checkNoAnswer, "no node answered: see what the rows of reached say")
	case count(isFailed) > 0:
		return finish(checkFailed)
	case count(isWarning) > 0 && c.Strict:
		return finish(checkWarnings)
	}
	return nil
}

func (r *report) add(v verdict, check, node, have, want, note string, args ...any) {
	if v == isOK && strings.HasPrefix(note, "cure:") {
		note = ""
	}
	note = strings.TrimPrefix(note, "cure:")
	if len(args) > 0 {
		note = fmt.Sprintf(note, args...)
	}
	r.rows = append(r.rows, row{r.name, check, node, have, want, v, note})
}

// judge adds a row that is ok, or else has the verdict and the cure.
func (r *report) judge(ok bool, v verdict, check, node, have, want, cure string, args ...any) {
	if ok {
		v, cure, args = isOK, "", nil
	}
	r.add(v, check, node, have, want, cure, args...)
}

// run asks the nodes and judges what they say.
func (r *report) run(e *env) {
	if r.kind == kindOther {
		r.states = r.settled(e.ctx)
		r.judgeStates()
		return
	}
	r.facts = make([]*facts, len(r.nodes))
	var asking sync.WaitGroup
	for i := range r.nodes {
		f := &facts{node: &r.nodes[i], untold: make(map[string]error)}
		r.facts[i] = f
		f.address = addressOf(r.kind, f.dsn)
		f.local = isLocal(f.address)
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(e.ctx, r.Timeout)
			defer cancel()
			if r.kind == kindMySQL {
				f.askMySQL(ctx)
			} else {
				f.askPostgres(ctx)
			}
		})
	}
	asking.Wait()
	r.states = r.settled(e.ctx)
	r.judgeReached()
	r.judgeAddresses()
	r.judgeStates()
	if r.kind == kindMySQL {
		r.judgeMySQL()
	} else {
		r.judgePostgres()
	}
	r.judgeTimes()
	if r.Rehearsal {
		r.rehearse(e.ctx)
	} else {
		r.add(isSkipped, "failover", "", "", "", "left out by --no-rehearsal")
	}
}

// settled returns the status of the nodes when each of them has been judged.
func (r *report) settled(ctx context.Context) []clustersql.NodeStatus {
	ctx, cancel := context.WithTimeout(ctx, r.config.AttemptTimeout+2*r.config.ProbeInterval+time.Second)
	defer cancel()
	return waitStatus(ctx, r.driver, new(settling).over)
}

// waitStatus returns the status of the nodes when ok says so, or when ctx is done.
func waitStatus(ctx context.Context, d clustersql.Driver, ok func([]clustersql.NodeStatus) bool) []clustersql.NodeStatus {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		nodes := d.Status().Nodes
		if ok(nodes) {
			return nodes
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return d.Status().Nodes
		}
	}
}

func (r *report) judgeReached() {
	for _, f := range r.facts {
		switch {
		case !f.reached:
			r.add(isFailed, "reached", f.name, f.text(f.err), "an answer", "%s", f.cure(r.kind))
		case f.err != nil:
			r.add(isFailed, "works", f.name, f.text(f.err), "DO 1 runs", "%s", f.cure(r.kind))
		default:
			r.add(isOK, "reached", f.name, "in "+round(f.connect), "an answer", "")
		}
	}
}

// judgeAddresses is about two nodes with one address. Of a server that has several
// the cluster itself finds out.
func (r *report) judgeAddresses() {
	seen := make(map[string]string)
	for _, f := range r.facts {
		other, twice := seen[f.address]
		switch {
		case f.address == "":
		case !twice:
			seen[f.address] = f.name
		case !slices.ContainsFunc(r.states, func(s clustersql.NodeStatus) bool { return s.Name == f.name && s.SameAs != "" }):
			r.add(isFailed, "same server", f.name, "the address of "+other, "a server of its own",
				"correct the dsn of one of the two, or take one out: one server cannot take its own place")
		}
	}
}

// judgeStates says what the cluster itself makes of its nodes.
func (r *report) judgeStates() {
	usable := 0
	for _, s := range r.states {
		have := s.State.String()
		if s.Reason != "" {
			have += ": " + s.Reason
		}
		if s.SameAs != "" {
			r.add(isFailed, "same server", s.Name, "the server of "+s.SameAs, "a server of its own",
				"correct the dsn of one of the two, or take one out: one server cannot take its own place")
		}
		switch {
		case s.State == clustersql.StateUp && s.Donor:
			usable++
			r.add(isWarning, "used", s.Name, "up, a donor or desynced", "up and synced", "it is used last: SET GLOBAL wsrep_desync = OFF there, or wait until its state transfer has ended")
		case s.State == clustersql.StateUp && s.Full:
			usable++
			r.add(isWarning, "used", s.Name, "up, full", "room for connections", "raise max_connections there, or lower the pools")
		case s.State == clustersql.StateUp:
			if s.SameAs == "" {
				usable++
			}
			r.add(isOK, "used", s.Name, have, "up", "")
		case r.leftOut(&s):
			r.add(isOK, "used", s.Name, have, "left out by require", "")
		default:
			r.add(isFailed, "used", s.Name, have, "up", "opens do not go there: mend what the reason says")
		}
	}
	if len(r.states) > 1 {
		r.judge(usable > 1, isWarning, "spare", "", fmt.Sprintf("%d of %d nodes usable", usable, len(r.states)), "2 at least",
			"nothing can take the place of a node that fails")
	}
}

// leftOut reports whether a node is what require leaves out, as replicas are where
// writers are wanted.
func (r *report) leftOut(s *clustersql.NodeStatus) bool {
	if s.State != clustersql.StateDown || r.galera {
		return false
	}
	switch r.config.Require {
	case clustersql.RequireReadWrite, clustersql.RequireWritable, clustersql.RequirePrimary:
		return s.Role == clustersql.RoleReplica
	case clustersql.RequireReadOnly, clustersql.RequireStandby:
		return s.Role == clustersql.RolePrimary
	}
	return false
}

// judgeTimes is about round trips and clocks.
func (r *report) judgeTimes() {
	best := time.Duration(0)
	for _, f := range r.facts {
		if f.trip > 0 && (best == 0 || f.trip < best) {
			best = f.trip
		}
	}
	for _, f := range r.facts {
		if f.trip == 0 {
			continue
		}
		have, limit := round(f.trip), r.config.ProbeTimeout/2
		near := best + max(15*time.Millisecond, best/4)
		switch {
		case f.trip > limit:
			r.add(isFailed, "latency", f.name, have, "under "+round(limit), "a probe has probe_timeout (%s): raise it, or find out what makes the way so long", r.config.ProbeTimeout)
		case f.trip > near && r.config.Strategy.String() == "balanced":
			r.add(isWarning, "latency", f.name, have, "under "+round(near), "strategy balanced leaves this node out while the nearer ones are up: give it priority = 1, or bring it nearer")
		default:
			r.add(isOK, "latency", f.name, have, "under "+round(limit), "")
		}
		r.judge(f.connect < r.config.AttemptTimeout/2, isWarning, "connect", f.name, round(f.connect), "under "+round(r.config.AttemptTimeout/2),
			"an attempt has attempt_timeout (%s): raise it, or see whether the server looks up names (skip_name_resolve)", r.config.AttemptTimeout)
		off := f.skew.Abs() - f.skewOf
		r.judge(off < time.Second, isWarning, "clock", f.name, skewed(f.skew), "under 1 s from here",
			"have NTP set the clocks: times in rows, token lifetimes and lag are judged by them")
	}
}

// round rounds a time for people.
func round(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// skewed says how far a clock is off.
func skewed(d time.Duration) string {
	if d.Abs() < 50*time.Millisecond {
		return "the same"
	}
	return fmt.Sprintf("%+.1f s", d.Seconds())
}
