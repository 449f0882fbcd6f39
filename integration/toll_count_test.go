package integration

import (
	"database/sql/driver"
	"fmt"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
)

// A lookout's toll has what a good node's sessions suffered, and nothing else.
func TestToll(t *testing.T) {
	begin := time.Now()
	at := func(seconds float64) time.Time { return begin.Add(time.Duration(seconds * float64(time.Second))) }
	down := func(reason string) account {
		return account{events: []clustersql.Event{{Time: at(9), Node: "n2", Kind: clustersql.EventState, To: clustersql.StateDown, Reason: reason}}}
	}
	writing := down("read-only: Error 1290")
	writing.writes = true
	told := func(kind clustersql.EventKind, conns int, reason string) account {
		return account{events: []clustersql.Event{{Time: at(9), Node: "n2", Kind: kind, Conns: conns, Reason: reason}}}
	}
	seen := func(node string, when, since float64) sighting {
		return sighting{node: node, at: at(when), since: at(since)}
	}
	broken := func(node string, err error) account {
		return account{failed: []op{{begin: at(8), end: at(9), node: node, err: err}}}
	}
	for name, tc := range map[string]struct {
		account
		look            func(*look)
		harm            harm
		sessions, nodes int
	}{
		"nothing":                                 {},
		"down":                                    {account: down("silent"), nodes: 1},
		"down by its status":                      {account: account{downs: []sighting{seen("n2", 9, 9), seen("n2", 9.1, 9)}}, nodes: 1},
		"down after a fault":                      {account: down("silent"), harm: harm{node: "n2", of: all, span: span{from: at(8)}}},
		"down before a fault":                     {account: down("silent"), harm: harm{node: "n2", of: all, span: span{from: at(9.5)}}, nodes: 1},
		"down after another node's fault":         {account: down("silent"), harm: harm{node: "n1", of: all, span: span{from: at(8)}}, nodes: 1},
		"down after its sessions' fault":          {account: down("silent"), harm: harm{node: "n2", of: sessions, span: span{from: at(8)}}, nodes: 1},
		"down after another client's fault":       {account: down("silent"), harm: harm{node: "n2", client: "other", of: all, span: span{from: at(8)}}, nodes: 1},
		"down, and a plain client fails":          {account: down("silent"), look: func(l *look) { l.err = driver.ErrBadConn }},
		"down, and a plain client waits":          {account: down("silent"), look: func(l *look) { l.end = l.due.Add(time.Second) }},
		"down, and a plain client may write":      {account: writing, nodes: 1},
		"down, and a plain client may not":        {account: writing, look: func(l *look) { l.readOnly = true }},
		"down, and it does not write":             {account: down("read-only: Error 1290"), look: func(l *look) { l.readOnly = true }, nodes: 1},
		"down, and a long-lasting donor":          {account: down("not ready"), look: func(l *look) { l.donor = true }},
		"down, and the last one, a donor":         {account: down("not ready"), look: func(l *look) { l.donor = true }, harm: harm{node: "n1", of: all, span: span{from: at(5)}}, nodes: 1},
		"down by its status, a donor until then":  {account: account{downs: []sighting{seen("n2", 9.4, 8.5)}}, look: func(l *look) { l.donor = true }},
		"down by its status, before it was donor": {account: account{downs: []sighting{seen("n2", 9.4, 2)}}, look: func(l *look) { l.donor = true }, nodes: 1},
		"cut":                            {account: told(clustersql.EventCut, 3, "silent"), sessions: 3},
		"retired":                        {account: told(clustersql.EventRetired, 3, "not ready"), sessions: 3},
		"lost":                           {account: told(clustersql.EventLost, 3, "EOF"), sessions: 3},
		"gave way":                       {account: told(clustersql.EventRetired, 3, "9 are more than its share of 6.0")},
		"lost after a fault":             {account: told(clustersql.EventLost, 3, "EOF"), harm: harm{node: "n2", of: sessions, span: span{from: at(8)}}},
		"down before the fault was over": {account: down("silent"), harm: harm{node: "n2", of: all, span: span{at(8), at(9)}}},
		"down after the fault was over":  {account: down("silent"), harm: harm{node: "n2", of: all, span: span{at(7), at(8)}}, nodes: 1},
		"lost while logins are refused":  {account: told(clustersql.EventLost, 3, "EOF"), harm: harm{node: "n2", of: itself, span: span{from: at(8)}}, sessions: 3},
		"broken under a statement":       {account: broken("n2", driver.ErrBadConn), sessions: 1},
		"broken, nobody knows where":     {account: broken("", driver.ErrBadConn), sessions: 1},
		"broken, maybe by a fault":       {account: broken("", driver.ErrBadConn), harm: harm{node: "n1", of: all, span: span{from: at(8)}}},
		"a statement's own error":        {account: broken("n2", fmt.Errorf("duplicate key"))},
		"an open that failed":            {account: broken("n2", &clustersql.OpenError{Attempts: []clustersql.AttemptError{{Node: "n2", Err: driver.ErrBadConn}}})},
		"ended without an event":         {account: account{closed: map[string]int{"n2": 2}}, sessions: 2},
	} {
		t.Run(name, func(t *testing.T) {
			k := &lookout{nodes: []string{"n1", "n2"}, looks: make(map[string][]look)}
			for _, node := range k.nodes {
				for s := 0.0; s < 10; s += 0.1 {
					l := look{due: at(s), end: at(s + 0.01)}
					if tc.look != nil && node == "n2" && s > 3 && s < 9 {
						tc.look(&l)
					}
					k.looks[node] = append(k.looks[node], l)
				}
			}
			k.harms = append(k.harms, tc.harm)
			tc.client, tc.interval, tc.timeout = "client", usual.ProbeInterval, usual.ProbeTimeout
			if got := k.toll(tc.account, span{begin, at(10)}); got.sessions != tc.sessions || got.nodes != tc.nodes {
				t.Errorf("%s, not %d and %d:\n%s", got, tc.sessions, tc.nodes, got.told())
			}
		})
	}
}

// What was done in a lookout's sight is not forgotten too early.
func TestLookoutForgets(t *testing.T) {
	k := &lookout{nodes: []string{"n1"}, looks: make(map[string][]look)}
	begin := time.Now()
	for i := range 100 {
		due := begin.Add(time.Duration(i) * lookEvery)
		k.looks["n1"] = append(k.looks["n1"], look{due: due, end: due.Add(time.Millisecond)})
	}
	k.harm(all, "", &galera.Node{Name: "n1"})
	end := begin.Add(100 * lookEvery)
	if k.unharmed("n1", "", sessions, end) {
		t.Error("the harm is not known")
	}
	k.heal(end)
	k.forget(end.Add(-2 * time.Second))
	if k.unharmed("n1", "", sessions, end) || !k.unharmed("n1", "", sessions, end.Add(time.Second)) {
		t.Error("the harm has no end, or was forgotten")
	}
	if !k.answered("n1", span{end.Add(-time.Second), end}, usual.ProbeTimeout) || k.answered("n1", span{end.Add(-time.Second), end.Add(time.Second)}, usual.ProbeTimeout) {
		t.Error("the looks of the last second are wrong")
	}
}
