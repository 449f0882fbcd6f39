package integration

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/go-sql-driver/mysql"
)

// A toll is what a client lost though its nodes were good.
//
// A session is lost if the cluster cut or retired its connection, or if the
// connection broke under a statement, on a node that was good the whole time.
// Connections that give way, are drained or grow too old do not count: the
// program has asked for that. A node is taken down if the cluster shows it as
// down while it is good.
type toll struct {
	sessions, nodes int
	why             []string
}

// A sighting is that a node's status said down.
type sighting struct {
	node   string
	at     time.Time
	since  time.Time // when it went down
	reason string
}

// downsOf returns the nodes that are down now.
func downsOf(d clustersql.Driver) []sighting {
	var downs []sighting
	for _, n := range d.Status().Nodes {
		if n.State == clustersql.StateDown {
			downs = append(downs, sighting{n.Name, time.Now(), n.Since, n.Reason})
		}
	}
	return downs
}

// An account is what a client says of its sessions and nodes.
type account struct {
	client   string
	writes   bool          // it uses only nodes that take writes
	interval time.Duration // probe_interval
	timeout  time.Duration // probe_timeout
	events   []clustersql.Event
	downs    []sighting
	failed   []op           // statements
	closed   map[string]int // sessions that ended without an event, by node
}

// usual has the settings of a client that changes none.
var usual = clustersql.DefaultConfig()

// comesBack is how long it may take until a node that answers again is up.
var comesBack = health.BackoffMost + time.Duration(usual.Rise)*health.BackoffFirst + usual.ProbeInterval

// toll counts what a client lost within a span.
func (k *lookout) toll(a account, p span) toll {
	var t toll
	told, broken := make(map[string]int), make(map[string]int)
	down := make(map[string]bool)
	for _, e := range a.events {
		if !p.has(e.Time) || asked(e.Reason) || k.outlasted(a, e.Node, e.Time) || k.unsuited(a, e.Node, e.Reason, e.Time) {
			continue
		}
		switch {
		case e.Kind == clustersql.EventState && e.To == clustersql.StateDown && k.good(a, e.Node, itself, e.Time):
			down[e.Node] = true
			t.note(e.Time, e.Node, "down: "+e.Reason)
		case (e.Kind == clustersql.EventCut || e.Kind == clustersql.EventRetired || e.Kind == clustersql.EventLost) && k.good(a, e.Node, sessions, e.Time):
			told[e.Node] += e.Conns
			t.note(e.Time, e.Node, fmt.Sprintf("%d connections %s: %s", e.Conns, e.Kind, e.Reason))
		}
	}
	for _, s := range a.downs {
		if p.has(s.at) && !down[s.node] && k.good(a, s.node, itself, s.at) && !k.wasOutlasted(a, s) && !k.unsuited(a, s.node, s.reason, s.at) {
			down[s.node] = true
			t.note(s.at, s.node, "its status says down")
		}
	}
	for _, o := range a.failed {
		if p.has(o.end) && breaks(o.err) && k.good(a, o.node, sessions, o.end) {
			broken[o.node]++
			t.note(o.end, o.node, o.err.Error())
		}
	}
	for node, n := range a.closed {
		if n > 0 && k.good(a, node, sessions, p.to) && !(a.writes && k.refused(node, p)) {
			told[node] += n
			t.note(p.to, node, fmt.Sprintf("%d connections ended without an event", n))
		}
	}
	// A connection that breaks is in an event and in a statement's error.
	for node := range told {
		t.sessions += max(told[node], broken[node])
		delete(broken, node)
	}
	for _, n := range broken {
		t.sessions += n
	}
	t.nodes = len(down)
	return t
}

func (t *toll) note(at time.Time, node, what string) {
	if len(t.why) < 50 {
		t.why = append(t.why, fmt.Sprintf("%s %s: %s", at.Format("05.000"), node, what))
	}
}

func (t *toll) add(u toll) {
	t.sessions, t.nodes = t.sessions+u.sessions, t.nodes+u.nodes
	t.why = append(t.why, u.why...)
}

func (t toll) ok() bool { return t.sessions == 0 && t.nodes == 0 }

func (t toll) String() string {
	return fmt.Sprintf("%d good sessions lost, %d good nodes taken down", t.sessions, t.nodes)
}

func (t toll) told() string { return strings.Join(t.why, "\n") }

// good reports whether a node was good for a client at some time: nothing was
// done to it, and a plain client was answered within probe_timeout for as long
// as the cluster needs to find a silent node, and once more after that: a node
// that leaves its primary component says so itself. For an error without a node all
// nodes must have been good.
func (k *lookout) good(a account, node string, of harmed, at time.Time) bool {
	if node == "" {
		return !slices.ContainsFunc(k.nodes, func(name string) bool { return !k.good(a, name, of, at) })
	}
	return k.unharmed(node, a.client, of, at) && k.answered(node, span{at.Add(-a.finds()), at.Add(a.timeout)}, a.timeout)
}

// finds returns how long it takes to find a silent node: it falls silent just
// after a probe, and the next ones end in vain.
func (a *account) finds() time.Duration { return a.interval*6/5 + time.Duration(usual.Fall)*a.timeout }

// outlasted reports whether a node has been a donor for over donor_after. Such
// a node is drained while there is another good one.
func (k *lookout) outlasted(a account, node string, at time.Time) bool {
	return k.donated(node, span{at.Add(-usual.DonorAfter), at}) &&
		slices.ContainsFunc(k.nodes, func(other string) bool { return other != node && k.good(a, other, itself, at) })
}

// wasOutlasted reports whether a node that was down had gone down as such a donor,
// and has not been none for longer than a node needs to come back.
func (k *lookout) wasOutlasted(a account, s sighting) bool {
	return k.outlasted(a, s.node, s.since) && slices.ContainsFunc(k.during(s.node, span{s.at.Add(-comesBack), s.at}), func(l look) bool { return l.donor })
}

// unsuited reports whether a client that writes left a node out which took no
// writes.
func (k *lookout) unsuited(a account, node, reason string, at time.Time) bool {
	return a.writes && strings.HasPrefix(reason, "read-only: ") && k.refused(node, span{at.Add(-a.finds()), at.Add(2 * lookEvery)})
}

// asked reports whether connections ended for a reason for which the program
// has asked.
func asked(reason string) bool {
	return slices.ContainsFunc([]string{
		"other nodes are to have them", "more than its share", "a node that has come back has none",
		"another node has come back", "older than max_age", "drained by the program", "the node was removed",
		"the node is full, and opens wait", "the server has its share under another name",
	}, func(text string) bool { return strings.Contains(reason, text) })
}

// breaks reports whether a statement's error says that its connection broke. An
// open that failed had no connection, and one whose caller left broke it.
func breaks(err error) bool {
	var open *clustersql.OpenError
	if errors.As(err, &open) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var network net.Error
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.As(err, &network) || err != nil && strings.Contains(err.Error(), "clustersql cut the connection")
}

// has reports whether a moment is within the span.
func (p span) has(at time.Time) bool { return !at.Before(p.from) && !at.After(p.to) }
