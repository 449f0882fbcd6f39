package statuspage

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/EnumApps/clustersql"
)

// asWhat says how the browser shows a cell's value. page.js has the same words.
type asWhat string

const (
	asText  asWhat = ""      // the value is the text
	asAgo   asWhat = "ago"   // a stamp, shown as "12 s ago"
	asFor   asWhat = "for"   // a stamp, shown as "for 12 s"
	asIn    asWhat = "in"    // a stamp, shown as "in 12 s"
	asPath  asWhat = "d"     // a path in an SVG
	asShape asWhat = "shape" // the name of a shape in the page
	asData  asWhat = "data"  // an attribute of the row itself, for its colour
	asLabel asWhat = "label" // what a picture shows, in words
)

// A column is one value that a row has. The table of columns decides what the
// page shows, what the stream sends, and what the explanation at the page's end
// says.
type column[T any] struct {
	key, label string
	help       string
	as         asWhat
	slow       bool // of a page with many nodes it is sent less often
	value      func(*T) string
}

// A group is columns that stand together.
type group[T any] struct {
	title   string
	columns []column[T]
}

// nodeGroups are the figures of a node, in the order of the page.
var nodeGroups = []group[nodeRow]{
	{"State", []column[nodeRow]{
		{key: "reason", label: "reason", help: "why it is suspect or down", value: func(r *nodeRow) string { return r.Reason }},
		{key: "pending", label: "pending", help: "what a reload or discovery has asked for, and what it waits for", value: func(r *nodeRow) string { return r.Pending }},
		{key: "until", label: "wait ends", help: "when a node is used again that is held, full or returning", as: asIn, value: func(r *nodeRow) string { return stamp(r.until()) }},
		{key: "downs", label: "times down", help: "how often it went down", value: func(r *nodeRow) string { return count(r.Downs) }},
		{key: "downtime", label: "downtime", help: "how long it was down in all", value: func(r *nodeRow) string { return lasting(r.Downtime) }},
		{key: "generation", label: "generation", help: "grows when its connections are retired", value: func(r *nodeRow) string { return count(r.Generation) }},
		{key: "added", label: "added", help: "when the node was added; its counters run from then", as: asAgo, value: func(r *nodeRow) string { return stamp(r.Added) }},
	}},
	{"Checks", []column[nodeRow]{
		{key: "check", label: "last", help: "how the last probe went: passed, or the layer where it failed and the error; * while one is under way", value: (*nodeRow).lastProbe},
		{key: "checked", label: "ended", help: "when that probe ended", as: asAgo, slow: true, value: func(r *nodeRow) string { return stamp(r.LastProbe.Time) }},
		{key: "checktook", label: "took", help: "how long it took", slow: true, value: func(r *nodeRow) string { return tookIf(!r.LastProbe.Time.IsZero(), r.LastProbe.Took) }},
		{key: "next", label: "next", help: "when the next probe is due", as: asIn, slow: true, value: func(r *nodeRow) string { return stamp(r.NextCheck) }},
		{key: "probes", label: "done", help: "probes that have ended", slow: true, value: func(r *nodeRow) string { return count(r.Probes) }},
		{key: "probefails", label: "failed", help: "probes that failed", value: func(r *nodeRow) string { return count(r.ProbeErrors) }},
	}},
	{"Place", []column[nodeRow]{
		{key: "address", label: "address", help: "host and port of its DSN", value: func(r *nodeRow) string { return r.Address }},
		{key: "origin", label: "origin", help: "who added it: code, file, dsn, or the source that has found it", value: func(r *nodeRow) string { return r.Origin }},
		{key: "priority", label: "priority", help: "its tier: the lowest number is used first", value: func(r *nodeRow) string { return strconv.Itoa(r.Priority) }},
		{key: "weight", label: "weight", help: "its share in balanced", value: func(r *nodeRow) string { return strconv.Itoa(r.Weight) }},
		{key: "role", label: "role", help: "its part in replication, at the last look", value: func(r *nodeRow) string { return known(r.Role, clustersql.RoleUnknown) }},
		{key: "access", label: "access", help: "whether it takes writes, at the last look", value: func(r *nodeRow) string { return known(r.Access, clustersql.AccessUnknown) }},
		{key: "lag", label: "lag", help: "how far a replica was behind its primary", value: (*nodeRow).lag},
		{key: "view", label: "view", help: "the number of its view of the Galera group, or PostgreSQL's timeline", value: (*nodeRow).view},
		{key: "position", label: "position", help: "how far it is in what is replicated: Galera's wsrep_last_committed, PostgreSQL's LSN, or GTIDs", slow: true, value: func(r *nodeRow) string { return r.Position }},
		{key: "same", label: "same as", help: "another node that is the same server", value: func(r *nodeRow) string { return r.SameAs }},
	}},
	{"Connections", []column[nodeRow]{
		{key: "conns", label: "open", help: "connections that database/sql holds", value: func(r *nodeRow) string { return count(r.OpenConns) }},
		{key: "used", label: "in use", help: "of these, those that work", value: func(r *nodeRow) string { return count(max(0, r.OpenConns-r.IdleConns-r.RetiredConns)) }},
		{key: "idle", label: "idle", help: "those that lie in the pool", value: func(r *nodeRow) string { return count(r.IdleConns) }},
		{key: "retired", label: "retired", help: "those that finish their work and are not handed out again", value: func(r *nodeRow) string { return count(r.RetiredConns) }},
		{key: "cuttable", label: "cuttable", help: "those that the cluster can cut", value: func(r *nodeRow) string { return count(r.Cuttable) }},
		{key: "most", label: "most", help: "the most that were open at a time", value: func(r *nodeRow) string { return count(r.MostConns) }},
		{key: "load", label: "load", help: "what balanced compares: connections of the present generation and opens under way", value: func(r *nodeRow) string { return count(r.Load) }},
		{key: "won", label: "handed out", help: "connections handed to database/sql", value: func(r *nodeRow) string { return count(r.Won) }},
		{key: "lastopen", label: "last used", help: "when a connection was last handed out", as: asAgo, slow: true, value: func(r *nodeRow) string { return stamp(r.LastSuccess) }},
		{key: "closed", label: "closed by", help: "why connections were closed", value: func(r *nodeRow) string { return countsText(r.ClosedBy) }},
	}},
	{"Opens", []column[nodeRow]{
		{key: "rate", label: "per second", help: "connections handed out per second, lately", value: func(r *nodeRow) string { return r.rate }},
		{key: "chosen", label: "chosen", help: "opens that asked it", value: func(r *nodeRow) string { return count(r.Chosen) }},
		{key: "opens", label: "attempts", help: "attempts that were started", value: func(r *nodeRow) string { return count(r.Opens) }},
		{key: "lost", label: "lost", help: "attempts that ended because another node won or the caller left", value: func(r *nodeRow) string { return count(r.Lost) }},
		{key: "outrun", label: "outrun", help: "attempts that a node which was asked later has overtaken", value: func(r *nodeRow) string { return count(r.Outrun) }},
		{key: "hedged", label: "hedged reads", help: "reads that took long and were sent to another node too: all of them, and those that it has answered first", value: func(r *nodeRow) string { return hedgedText(r.HedgedReads) }},
		{key: "attempts", label: "in flight", help: "attempts under way, and the most that may be", value: func(r *nodeRow) string { return fmt.Sprintf("%d of %d", r.Attempts, r.maxOpens) }},
		{key: "deaf", label: "deaf", help: "attempts, probes and closes past their deadline whose backend has not come back", value: func(r *nodeRow) string { return count(r.Deaf) }},
	}},
	{"Errors", []column[nodeRow]{
		{key: "errors", label: "failed attempts", help: "attempts that failed", value: func(r *nodeRow) string { return count(r.Errors) }},
		{key: "classes", label: "by class", help: "attempts and probes that failed, by the class of the error", value: func(r *nodeRow) string { return countsText(r.ErrorsByClass) }},
		{key: "refused", label: "of statements", help: "errors of statements that say something about the node, by class", value: func(r *nodeRow) string { return countsText(r.RefusedByClass) }},
		{key: "moved", label: "moved unseen", help: "calls that it refused and another node could take", value: func(r *nodeRow) string { return count(r.Moved) }},
		{key: "unknown", label: "unknown outcome", help: "errors that were an ErrUnknownOutcome", value: func(r *nodeRow) string { return count(r.Unknown) }},
		{key: "lasterror", label: "last", help: "when an attempt, a probe or a statement last failed", as: asAgo, value: func(r *nodeRow) string { return stamp(r.LastError) }},
		{key: "lasterrortext", label: "its text", help: "the text of that error, redacted", value: func(r *nodeRow) string { return r.LastErrorMessage }},
	}},
}

// latencyColumns are the figures of the two plots.
func latencyColumns(prefix string, of func(*nodeRow) clustersql.Latency) []column[nodeRow] {
	percentile := func(p float64) func(*nodeRow) string {
		return func(r *nodeRow) string {
			l := of(r)
			return tookIf(l.Count() > 0, l.Percentile(p))
		}
	}
	return []column[nodeRow]{
		{key: prefix + "mean", label: "mean", help: "the moving average", slow: true, value: func(r *nodeRow) string {
			l := of(r)
			return tookIf(l.Count() > 0, l.Mean())
		}},
		{key: prefix + "p50", label: "p50", help: "half of the last 64 took no longer", slow: true, value: percentile(0.5)},
		{key: prefix + "p99", label: "p99", help: "99 percent of the last 64 took no longer", slow: true, value: percentile(0.99)},
		{key: prefix + "max", label: "max", help: "the longest of the last 64", slow: true, value: percentile(1)},
		{key: prefix + "plot", label: "plot", help: "the last 64, oldest left", as: asPath, slow: true, value: func(r *nodeRow) string { return plot(of(r).Samples()) }},
	}
}

var (
	probeColumns = latencyColumns("probe", func(r *nodeRow) clustersql.Latency { return r.ProbeLatency })
	openColumns  = latencyColumns("open", func(r *nodeRow) clustersql.Latency { return r.OpenLatency })
)

// nodeHead are the columns in the line of a node that is always shown, beside
// those that it takes from the groups.
var nodeHead = []column[nodeRow]{
	{key: "kind", as: asData, value: func(r *nodeRow) string { return string(r.Kind) }},
	{key: "level", as: asData, value: func(r *nodeRow) string { return r.Level.String() }},
	{key: "shape", as: asShape, value: func(r *nodeRow) string { return string(r.Kind) }},
	{key: "word", value: func(r *nodeRow) string { return r.Word }},
	{key: "since", as: asFor, value: func(r *nodeRow) string { return stamp(r.Since) }},
	{key: "where", value: (*nodeRow).where},
	{key: "why", value: func(r *nodeRow) string { return r.Why }},
	{key: "strip", as: asLabel, value: (*nodeRow).stripText},
	{key: "marks", as: asPath, value: func(r *nodeRow) string { return marksPath(r.marks, r.base) }},
}

// stripStates are the states in a strip, each with a path of its own.
var stripStates = []clustersql.State{
	clustersql.StateUnknown, clustersql.StateUp, clustersql.StateSuspect, clustersql.StateDown, clustersql.StateDraining,
}

// nodeColumns are all columns of a node.
var nodeColumns = func() []column[nodeRow] {
	all := slices.Clone(nodeHead)
	for _, state := range stripStates {
		all = append(all, column[nodeRow]{key: "strip" + state.String(), as: asPath, value: func(r *nodeRow) string {
			return stripPath(r.states, state, r.base)
		}})
	}
	for _, g := range nodeGroups {
		all = append(all, g.columns...)
	}
	return slices.Concat(all, probeColumns, openColumns)
}()

// clusterFigures are the figures beside a cluster's name.
var clusterFigures = []column[clusterRow]{
	{key: "usable", label: "usable", help: "nodes that opens go to", value: func(r *clusterRow) string { return fmt.Sprintf("%d of %d", r.Usable, len(r.Status.Nodes)) }},
	{key: "alldown", label: "none usable", help: "since when no node is usable", as: asFor, value: func(r *clusterRow) string { return stamp(r.AllDownSince) }},
	{key: "strategy", label: "strategy", help: "which nodes an open asks", value: func(r *clusterRow) string { return r.Strategy }},
	{key: "conns", label: "connections", help: "connections that database/sql holds", value: func(r *clusterRow) string { return count(r.conns()) }},
	{key: "rate", label: "opens / s", help: "connections handed out per second, lately", value: func(r *clusterRow) string { return r.rate }},
	{key: "waiting", label: "waiting", help: "opens that wait until a node may be asked", value: func(r *clusterRow) string { return count(r.Waiting) }},
	{key: "masked", label: "masked", help: "failures of nodes in opens that gave a connection all the same: the program did not see them", value: func(r *clusterRow) string { return count(r.Masked) }},
	{key: "moved", label: "moved", help: "calls that a node refused and another one could take", value: func(r *clusterRow) string { return count(r.Moved) }},
	{key: "met", label: "met no node", help: "opens that have met no usable node", value: func(r *clusterRow) string { return countIf(r.OpensAllDown) }},
	{key: "unknown", label: "unknown outcome", help: "errors that were an ErrUnknownOutcome", value: func(r *clusterRow) string { return countIf(r.Unknown) }},
}

// clusterColumns are all columns of a cluster.
var clusterColumns = slices.Concat([]column[clusterRow]{
	{key: "level", as: asData, value: func(r *clusterRow) string { return r.Level.String() }},
	{key: "shape", as: asShape, value: func(r *clusterRow) string { return r.Level.String() }},
	{key: "word", value: func(r *clusterRow) string { return r.Level.word() }},
	{key: "summary", value: func(r *clusterRow) string { return r.Summary }},
	{key: "hidden", value: (*clusterRow).hidden},
	{key: "sources", value: (*clusterRow).sources},
}, clusterFigures)

// pageColumns are those of the line at the top.
var pageColumns = []column[Snapshot]{
	{key: "level", as: asData, value: func(s *Snapshot) string { return s.Level.String() }},
	{key: "shape", as: asShape, value: func(s *Snapshot) string { return s.Level.String() }},
	{key: "word", value: func(s *Snapshot) string { return s.Level.word() }},
	{key: "summary", value: func(s *Snapshot) string { return s.Summary }},
}

// word returns the level as a heading has it.
func (l Level) word() string {
	return [...]string{LevelWell: "well", LevelWarn: "warning", LevelBad: "trouble"}[l]
}

// hedgedText returns what came of hedged reads; nothing where there was none.
func hedgedText(h clustersql.HedgedReads) string {
	if h.Launched == 0 {
		return ""
	}
	return fmt.Sprintf("%d, %d won", h.Launched, h.Won)
}

// known returns the word for a value, but for the one that stands for none.
func known[T interface {
	comparable
	String() string
}](v, none T) string {
	if v == none {
		return ""
	}
	return v.String()
}

// countIf returns a number, and nothing for 0: the page then leaves out its label.
func countIf(n uint64) string {
	if n == 0 {
		return ""
	}
	return count(n)
}

func tookIf(known bool, d time.Duration) string {
	if !known {
		return ""
	}
	return took(d)
}
