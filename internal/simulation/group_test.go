package simulation

import (
	"database/sql/driver"
	"strconv"
	"strings"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A group is what a Galera node says of the group that it is in.
type group struct {
	uuid  string
	conf  int
	size  int
	alone time.Time // since when it has been in a group of its own; zero: it is not
}

const (
	mainGroup = "6a1fb0a5-0000-11f0-9e5c-000000000001"
	ownGroup  = "c3d2e1f0-0000-11f0-8a4b-000000000002"
)

// isGalera reports whether the nodes of the schedule are Galera nodes.
func (w *world) isGalera() bool { return w.plan.flavour == twoGroups }

// wsrep answers a query of a Galera node's status.
func (w *world) wsrep(node, query string) ([][]driver.Value, bool) {
	if !w.isGalera() || !strings.HasPrefix(query, "SHOW GLOBAL STATUS") {
		return nil, false
	}
	w.mu.Lock()
	g := *w.groups[node]
	w.mu.Unlock()
	var rows [][]driver.Value
	for _, v := range [][2]string{
		{"wsrep_provider_name", "Galera"}, {"wsrep_cluster_status", "Primary"}, {"wsrep_ready", "ON"}, {"wsrep_local_state", "4"},
		{"wsrep_cluster_state_uuid", g.uuid}, {"wsrep_cluster_conf_id", strconv.Itoa(g.conf)},
		{"wsrep_cluster_size", strconv.Itoa(g.size)}, {"wsrep_last_committed", "1000"},
	} {
		if strings.Contains(query, "'"+v[0]+"'") {
			rows = append(rows, []driver.Value{v[0], v[1]})
		}
	}
	return rows, true
}

// start of a node that has died: it joins the others, or forms a group of its own
// with those that do the same.
func (w *world) startNodes(nodes []string, own bool) {
	w.mu.Lock()
	conf := 0
	for _, g := range w.groups {
		if g.uuid == mainGroup {
			conf = max(conf, g.conf)
		}
	}
	for _, n := range nodes {
		g := w.groups[n]
		*g = group{uuid: mainGroup, size: len(w.groups)}
		if own {
			*g = group{uuid: ownGroup, conf: 2, size: len(nodes), alone: time.Now()}
		}
	}
	for _, g := range w.groups {
		if g.uuid == mainGroup {
			g.conf = conf + 1
		}
	}
	w.mu.Unlock()
	w.setMood(nodes, w.well())
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range nodes {
		w.truths[n].established.set(own, time.Now()) // a node that is not to be used
	}
}

// judgeGroup judges a conn on its way to database/sql: the larger group alone is
// used, since the other one has come to be.
func (w *world) judgeGroup(node string, began time.Time) {
	if !w.isGalera() {
		return
	}
	w.mu.Lock()
	alone := w.groups[node].alone
	w.mu.Unlock()
	if !alone.IsZero() && alone.Before(began) {
		w.violate("an open was given %s, which has been in a group of its own for %s", node, time.Since(alone))
	}
}

// drawGroups draws that some nodes, fewer than half of them, die, form a group of
// their own, and join the others later.
func (s *schedule) drawGroups(at time.Duration) {
	nodes := s.sick[:1+s.rand.IntN((s.settings.nodes-1)/2)]
	names := strings.Join(nodes, ", ")
	for _, own := range []bool{true, false} {
		s.add(at, func(w *world) {
			w.setMood(nodes, mood{"dead", fakedb.Mood{Dial: errRefused, Delay: s.settings.pace}, false})
			w.lose(nodes, errReset, false)
		}, "%s: dead", names)
		at += s.settings.lag() + s.between(1, 4*time.Second)
		s.add(at, func(w *world) { w.startNodes(nodes, own) }, "%s: started, in a group of their own %t", names, own)
		for range 4 {
			s.drawCalls(at + s.within(20*time.Second))
		}
		at += 20 * time.Second
	}
}

// drawGalera makes the nodes Galera nodes.
func (s *schedule) drawGalera() {
	s.settings.nodes = 3 + s.rand.IntN(3)
	if s.oneIn(2) {
		s.settings.cfg.Check = clustersql.CheckGalera
	}
}
