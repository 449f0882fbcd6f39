package main

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
)

// A doctor collects what is odd about one cluster.
type doctor struct {
	now, before *clusterView // before is nil if it was not there
	between     time.Duration
	config      *clustersql.Config // nil where only the running program knows it
	found       []illness
}

// diagnose says what is odd about a cluster.
func diagnose(now, before *clusterView, between time.Duration, config *clustersql.Config) []illness {
	d := &doctor{now: now, before: before, between: between, config: config}
	d.cluster(&now.Status)
	for i := range now.Status.Nodes {
		n := &now.Status.Nodes[i]
		d.state(n)
		d.flaps(n)
		d.times(n)
		d.conns(n)
		d.errors(n)
	}
	return d.found
}

func (d *doctor) add(node, rule, cure, format string, args ...any) {
	d.found = append(d.found, illness{d.now.Status.ID, node, rule, fmt.Sprintf(format, args...), cure})
}

// probeTimeout returns probe_timeout, or its default where it is not known, and how
// to call it.
func (d *doctor) probeTimeout() (time.Duration, string) {
	if d.config != nil {
		return d.config.ProbeTimeout, "probe_timeout"
	}
	return clustersql.DefaultConfig().ProbeTimeout, "probe_timeout's default"
}

func ago(s *clusterView, t time.Time) string {
	if t.IsZero() {
		return "some time"
	}
	return short(max(time.Second, s.Status.Time.Sub(t)))
}

// cluster is about the cluster as a whole.
func (d *doctor) cluster(s *clustersql.ClusterStatus) {
	if !s.Open {
		d.add("", "not-open", "nothing probes the nodes until the program calls sql.Open, and their states are old", "no connector is open")
		return
	}
	switch {
	case len(s.Nodes) == 0:
		d.add("", "no-nodes", "call AddNode, or add [[cluster.node]]s: every open fails", "the cluster has no nodes")
	case s.Usable == 0:
		d.add("", "all-down", "see below why each node is down; opens fail after open_timeout", "no node has been usable for %s, and %d opens wait", ago(d.now, s.AllDownSince), s.Waiting)
	case s.Usable == 1 && len(s.Nodes) > 1 && !slices.ContainsFunc(s.Nodes, leftOut):
		d.add("", "no-spare", "bring another node back before something happens to it", "only 1 of %d nodes is usable", len(s.Nodes))
	case len(s.Nodes) == 1:
		d.add("", "one-node", "add the other nodes", "the cluster has one node, and nothing can take its place")
	}
	if s.Waiting > 0 && s.Usable > 0 {
		d.add("", "waiting", "raise max_opens_per_node if the nodes are well, or SetMaxIdleConns so that fewer connections are opened", "%d opens wait, at %d attempts for each node at most", s.Waiting, s.MaxOpens)
	}
	if s.Unknown > 0 {
		d.add("", "unknown-outcome", "look at what the program does with clustersql.ErrUnknownOutcome; reads may run again with idempotent = true", "%d statements or commits were lost on their way: nobody knows whether they have run", s.Unknown)
	}
	if s.OpensAllDown > 0 && s.Usable > 0 {
		d.add("", "were-all-down", "a node of another rack or data centre, with priority = 1, would have been there", "%d opens have met no usable node so far", s.OpensAllDown)
	}
	for _, src := range s.Sources {
		if src.Err != "" {
			d.add("", "source", "clustersql discover says what each source says; the last good answer counts until then", "%s gives no answer that counts: %s", src.Name, src.Err)
		}
	}
	for _, u := range s.Unused {
		d.add("", "unused", "see discover_networks and discover_addresses, or correct the source", "%s, which %s has found, is not used: %s", u.Address, u.Source, u.Why)
	}
	d.primaries(s)
	d.views(s)
	d.race(s)
	d.churn(s)
}

func (d *doctor) primaries(s *clustersql.ClusterStatus) {
	var names []string
	replicas := 0
	for i := range s.Nodes {
		switch n := &s.Nodes[i]; {
		case n.Role == clustersql.RolePrimary && n.State == clustersql.StateUp:
			names = append(names, n.Name)
		case n.Role == clustersql.RoleReplica:
			replicas++
		}
	}
	switch {
	case replicas > 0 && len(names) > 1:
		d.add("", "primaries", "their data part: find out which one the replicas follow, and take the other out", "%d nodes are primaries: %s", len(names), strings.Join(names, ", "))
	case d.config != nil && (d.config.Require == clustersql.RequireReadOnly || d.config.Require == clustersql.RequireStandby):
	case replicas > 1 && replicas == len(s.Nodes):
		d.add("", "no-primary", "add the primary as a node: writes and lags need it; promote one only if there is no primary anywhere", "all %d nodes are replicas", replicas)
	}
}

// views is about nodes of Galera that see another group than the others do, at both
// looks: the cluster itself takes its time before it holds one.
func (d *doctor) views(s *clustersql.ClusterStatus) {
	if d.before == nil || d.config != nil && d.config.Groups == clustersql.GroupsAny {
		return
	}
	was, counts, most := make(map[string]uint64), make(map[uint64]int), uint64(0)
	for i := range d.before.Status.Nodes {
		was[d.before.Status.Nodes[i].Name] = d.before.Status.Nodes[i].ConfID
	}
	shows := func(n *clustersql.NodeStatus) bool { return n.State == clustersql.StateUp && n.ConfID > 0 }
	for i := range s.Nodes {
		if n := &s.Nodes[i]; shows(n) {
			if counts[n.ConfID]++; counts[n.ConfID] > counts[most] || counts[n.ConfID] == counts[most] && n.ConfID > most {
				most = n.ConfID
			}
		}
	}
	for i := range s.Nodes {
		if n := &s.Nodes[i]; shows(n) && n.ConfID != most && n.ConfID == was[n.Name] {
			d.add(n.Name, "view", "it goes on without the others, unless they all change their view just now: correct wsrep_cluster_address there, wipe its data and let it join",
				"its view of the Galera group has the number %d, and that of the others %d", n.ConfID, most)
		}
	}
}

// race is about connections that are opened to be closed again.
func (d *doctor) race(s *clustersql.ClusterStatus) {
	var won, lost uint64
	for i := range s.Nodes {
		won, lost = won+s.Nodes[i].Won, lost+s.Nodes[i].Lost
	}
	if s.Strategy == "race" && lost > 100 && lost > won {
		d.add("", "race", "strategy = \"hedged\" opens about one for each, and is nearly as fast", "%d of %d attempts were opened only to be closed again, as strategy race does", lost, won+lost)
	}
}

// churn is about a pool that keeps too little.
func (d *doctor) churn(s *clustersql.ClusterStatus) {
	if d.before == nil || d.between <= 0 {
		return
	}
	sum := func(s *clustersql.ClusterStatus) (won, pool uint64) {
		for i := range s.Nodes {
			won, pool = won+s.Nodes[i].Won, pool+s.Nodes[i].ClosedBy["pool"]
		}
		return won, pool
	}
	won, pool := sum(s)
	wonBefore, poolBefore := sum(&d.before.Status)
	if won < wonBefore || pool < poolBefore {
		return
	}
	opened, closed := float64(won-wonBefore)/d.between.Seconds(), float64(pool-poolBefore)/d.between.Seconds()
	if opened >= 5 && closed >= opened/2 {
		d.add("", "churn", "raise SetMaxIdleConns (2 by default) to what is used at the same time, and SetConnMaxIdleTime", "%.0f connections a second are opened, and the pool closes %.0f", opened, closed)
	}
}

// leftOut reports whether a node works, and is out of use because it has another
// part in replication than the cluster requires. One that is held is not meant: it
// is not what it should be.
func leftOut(n clustersql.NodeStatus) bool {
	class, _, _ := strings.Cut(n.Reason, ":")
	switch {
	case n.State != clustersql.StateDown || strings.Contains(n.Reason, "held"):
		return false
	case class == "read-only":
		return n.Role == clustersql.RoleReplica
	}
	return class == "role" && n.Role != clustersql.RoleUnknown
}

// state is about a node that is not used as the others are.
func (d *doctor) state(n *clustersql.NodeStatus) {
	switch n.State {
	case clustersql.StateDown:
		if leftOut(*n) {
			break // as it should be
		}
		text := "down for " + ago(d.now, n.Since)
		if n.Reason != "" {
			text += ": " + n.Reason
		}
		d.add(n.Name, "down", d.cureOf(n), "%s", text)
	case clustersql.StateSuspect:
		d.add(n.Name, "suspect", "it is checked at once: run this again in some seconds", "suspect, %d of %d signs: %s", n.Bad, n.Fall, n.Reason)
	case clustersql.StateDraining:
		d.add(n.Name, "draining", "clustersql undrain, or Driver.Undrain, ends it", "drained for %s, with %d connections open", ago(d.now, n.Since), n.OpenConns)
	case clustersql.StateUnknown:
		switch {
		case !d.now.Status.Open:
		case n.ErrorsByClass["full"] > 0:
			d.add(n.Name, "full", "raise max_connections there, or lower SetMaxOpenConns of the programs", "it has had no room for a connection in %s: %s", ago(d.now, n.Added), n.LastErrorMessage)
		default:
			d.add(n.Name, "unknown", "run this again in some seconds; if it stays, see attempt_timeout and the network", "nothing was heard of it for %s: %s", ago(d.now, n.Added), n.LastErrorMessage)
		}
	}
	switch {
	case n.SameAs != "":
		d.add(n.Name, "same-server", "correct the dsn of one of the two, or take one out", "it is the same server as %s, and has no share of its own", n.SameAs)
	case n.Full:
		d.add(n.Name, "full", "raise max_connections there, or lower SetMaxOpenConns of the programs", "it has no room for another connection: %d are open from here", n.OpenConns)
	case n.Donor && n.State == clustersql.StateUp:
		d.add(n.Name, "donor", "SET GLOBAL wsrep_desync = OFF there, or wait until the state transfer has ended; allow_donor = true uses it as the others", "it is a Galera donor or desynced, and is used last")
	case n.Returning && n.State == clustersql.StateUp && d.now.Status.Strategy == "ordered":
		d.add(n.Name, "returning", "lower failback_after if that is too long", "it is back, and is preferred again at %s", n.ReturnedAt.Format(time.TimeOnly))
	}
	switch {
	case n.Role != clustersql.RoleReplica:
	case n.LagUnknown != "" && n.State == clustersql.StateUp:
		d.add(n.Name, "lag-unknown", "clustersql check says whether its replication runs", "nobody knows how far it is behind its primary: %s", n.LagUnknown)
	case n.LagUnknown == "" && n.Lag > longLag:
		d.add(n.Name, "lag", "max_lag leaves such a replica out; see what it is busy with", "it is %s behind its primary", short(n.Lag))
	}
}

// cureOf says what to do about a node that is down, by what took it down.
func (d *doctor) cureOf(n *clustersql.NodeStatus) string {
	cause := ""
	for i := range d.now.Events { // the last one counts
		if e := &d.now.Events[i]; e.Node == n.Name && e.Kind == clustersql.EventState && e.To == clustersql.StateDown {
			cause = e.Cause
		}
	}
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(n.Reason, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("Error 1045", "Error 1698", "SQLSTATE 28"):
		return "correct user and password in its dsn, or CREATE USER on the node"
	case has("Error 1049", "Error 1044", "SQLSTATE 3D"):
		return "create the database there and GRANT the account its rights, or correct the database in its dsn"
	case has("Error 1129"):
		return "FLUSH HOSTS there, and SET GLOBAL max_connect_errors = 100000"
	case has("Error 1820", "Error 1862", "Error 4151"):
		return "ALTER USER there: the account is locked, or its password has expired"
	case has("Error 1130"):
		return "CREATE USER for this host there"
	case has("held until it is a standby"):
		return "two servers take writes, and their data part: find out which one the replicas follow, SET GLOBAL read_only = ON on the other, and have it follow too"
	case has("another Galera group"):
		return "it goes on without the others: correct wsrep_cluster_address there, wipe its data and let it join; groups = \"any\" uses several groups together"
	case has("no Galera view"):
		return "set wsrep_on = ON and its group there, or take the node out; groups = \"any\" uses it beside the group"
	case has("other data than most nodes"):
		return "correct its dsn, or rebuild it from the primary; groups = \"any\" uses several together"
	case has("silent before: held"):
		return "wait: it is used when it has caught up with its group, after silence_hold at the latest"
	case cause == "read-only" || has("read-only"):
		return "SET GLOBAL read_only = OFF there, or change require"
	case has("non-Primary", "wsrep_cluster_status"):
		return "it is cut off from its group: mend the network between the nodes"
	case cause == "not ready" || has("1047"):
		return "the node refuses work: see wsrep_cluster_status and wsrep_reject_queries there"
	case cause == "refused":
		return "start the server, or correct host and port in its dsn"
	case cause == "silent":
		return "see whether it hangs or a firewall drops its packets; if it is only slow, raise probe_timeout or fall"
	case cause == "configuration":
		return "correct its dsn, or the account on the node: this does not pass by itself"
	case cause == "role":
		return "that is what require wants: change require if the node is to be used"
	case cause == "lagging":
		return "see what the replica is busy with, or raise max_lag"
	case cause == "group":
		return "it is in another Galera group, or has other data: let it join the group of the others; groups = \"any\" uses several together"
	case cause == "full":
		return "raise max_connections there"
	}
	return "clustersql check says more about it"
}

// flapping is how often a node may go down in the time that the events reach back
// to, before that is odd.
const flapping = 3

// flaps is about a node that comes and goes.
func (d *doctor) flaps(n *clustersql.NodeStatus) {
	causes := make(map[string]int)
	downs := 0
	var first time.Time
	for i := range d.now.Events {
		e := &d.now.Events[i]
		if e.Node != n.Name || e.Kind != clustersql.EventState || e.To != clustersql.StateDown || d.now.Status.Time.Sub(e.Time) > 15*time.Minute {
			continue
		}
		if downs == 0 {
			first = e.Time
		}
		downs++
		causes[e.Cause]++
	}
	if downs < flapping {
		return
	}
	var list []string
	for cause, times := range causes {
		list = append(list, fmt.Sprintf("%s %d times", cause, times))
	}
	sort.Strings(list)
	cure := "find out what happens to the server; rise = 5 keeps it out for longer each time"
	if causes["silent"]*2 > downs {
		cure = fmt.Sprintf("if the server is well and only slow to answer, raise probe_timeout, or fall (%d)", n.Fall)
	}
	d.add(n.Name, "flapping", cure, "down %d times in the last %s: %s; %s down in all", downs, ago(d.now, first), strings.Join(list, ", "), short(n.Downtime))
}

// times is about how long the node takes to answer.
func (d *doctor) times(n *clustersql.NodeStatus) {
	if n.State == clustersql.StateDown || n.State == clustersql.StateUnknown {
		return
	}
	limit, called := d.probeTimeout()
	if p := n.ProbeLatency.Percentile(0.99); n.ProbeLatency.Count() >= 8 && p > limit/2 {
		d.add(n.Name, "slow-probes", "raise probe_timeout, or find out what makes the node slow: a slower probe takes it down", "1 of 100 probes takes %s or longer, and %s is %s", short(p), called, limit)
	}
	if bad := n.ProbeErrors; n.Probes >= 20 && bad*20 > n.Probes && n.State == clustersql.StateUp {
		d.add(n.Name, "probe-errors", "see its last error, and the network between", "%d of %d probes have failed, though it is up: %s", bad, n.Probes, n.LastErrorMessage)
	}
	open, trip := n.OpenLatency.Mean(), n.ProbeLatency.Mean()
	if n.OpenLatency.Count() >= 4 && open > 100*time.Millisecond && open > 20*trip {
		d.add(n.Name, "slow-opens", "set skip_name_resolve on the server, and see whether TLS or an authentication service takes the time", "a new connection takes %s, and a round trip %s", short(open), short(trip))
	}
	if n.Outrun >= 10 && n.Outrun*20 > n.Opens {
		d.add(n.Name, "outrun", "see why it is slow; priority = 1 asks it only when the others are down", "in %d of %d attempts a node that was asked later was faster", n.Outrun, n.Opens)
	}
}

// conns is about connections that are open.
func (d *doctor) conns(n *clustersql.NodeStatus) {
	if n.Deaf > 0 {
		d.add(n.Name, "deaf", "the driver does not heed its context: set timeout and readTimeout in the dsn", "%d attempts are past their deadline and have not returned", n.Deaf)
	}
	if stuck := n.OpenConns - n.Cuttable; stuck > 0 {
		d.add(n.Name, "not-cuttable", "use dial = \"cluster\", or clustersql.Dial in your own dialer: what hangs on them if the node falls silent, hangs on", "%d of %d connections cannot be cut", stuck, n.OpenConns)
	}
	lost, cut := 0, 0
	for i := range d.now.Events {
		e := &d.now.Events[i]
		if e.Node != n.Name || d.now.Status.Time.Sub(e.Time) > 15*time.Minute {
			continue
		}
		switch e.Kind {
		case clustersql.EventLost:
			lost += e.Conns
		case clustersql.EventCut:
			cut += e.Conns
		}
	}
	if lost >= 3 && n.State == clustersql.StateUp {
		d.add(n.Name, "lost", "see wait_timeout on the server and idle limits of firewalls on the way; SetConnMaxIdleTime below them", "%d connections were lost in the last 15 minutes", lost)
	}
	if cut > 0 {
		d.add(n.Name, "cut", "idempotent = true runs reads again that were under way; writes need an answer of the program's own", "%d connections were cut in the last 15 minutes, because the node fell silent or drain_timeout was over", cut)
	}
}

// errors is about attempts that fail on a node that is used all the same.
func (d *doctor) errors(n *clustersql.NodeStatus) {
	if n.State != clustersql.StateUp || n.Full {
		return
	}
	if full := n.ErrorsByClass["full"]; full > 0 {
		d.add(n.Name, "was-full", "raise max_connections there, or lower SetMaxOpenConns of the programs", "%d attempts found no room for a connection", full)
	}
	if failed := n.Errors; n.Opens >= 50 && failed*20 > n.Opens {
		d.add(n.Name, "failed-opens", "see its last error: "+n.LastErrorMessage, "%d of %d attempts have failed", failed, n.Opens)
	}
}
