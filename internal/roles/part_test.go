package roles

import (
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

var noon = time.Unix(1e9, 0)

func primary(change func(*health.Replication)) *health.Replication {
	r := &health.Replication{Role: health.RolePrimary, Access: health.AccessWrite, Server: "1"}
	if change != nil {
		change(r)
	}
	return r
}

func replica(change func(*health.Replication)) *health.Replication {
	r := &health.Replication{Role: health.RoleReplica, Access: health.AccessRead, Server: "2", Source: "1", Stream: health.StreamRuns}
	if change != nil {
		change(r)
	}
	return r
}

// A part remembers since when it has its role, and whether it was promoted. Rivals are
// asked when a primary is new, and when a replica shows that another one is.
func TestTake(t *testing.T) {
	const unheard = false
	var m Memory
	up := &health.Health{State: health.Up}
	p, turned, rivals := m.Take(replica(nil), nil, up, nil, unheard, noon)
	if role, since := p.Taken(); !turned || rivals || role != health.RoleReplica || since != noon || !p.Promoted.IsZero() {
		t.Errorf("the first answer: %+v, %v, %v", p, turned, rivals)
	}
	later := noon.Add(time.Second)
	again, turned, rivals := m.Take(replica(func(r *health.Replication) { r.Timeline = 2 }), p, up, nil, unheard, later)
	if turned || !rivals || again.Since != noon || again.At != later {
		t.Errorf("a replica on another timeline: %+v, %v, %v", again, turned, rivals)
	}
	silent, turned, rivals := m.Take(&health.Replication{}, again, up, nil, unheard, later)
	if turned || rivals || silent.Told != again.Told || silent.Since != noon {
		t.Errorf("a node that says nothing: %+v, %v, %v", silent, turned, rivals)
	}
	promoted, turned, rivals := m.Take(primary(nil), silent, up, nil, unheard, later)
	if !turned || !rivals || promoted.Since != later || promoted.Promoted != later {
		t.Errorf("promoted: %+v, %v, %v", promoted, turned, rivals)
	}
	if role, since := (*Part)(nil).Taken(); role != health.RoleUnknown || !since.IsZero() || (*Part)(nil).Grouped() {
		t.Error("a node that has told nothing has a part")
	}
}

// A replica that receives nothing has no known lag while a node was not heard of: that
// may be its primary.
func TestTakeOfABrokenStream(t *testing.T) {
	broken := replica(func(r *health.Replication) { r.Stream = health.StreamBroken })
	for _, unheard := range []bool{false, true} {
		var m Memory
		p, _, _ := m.Take(broken, nil, &health.Health{State: health.Up}, nil, unheard, noon)
		if p.Lag.Known == unheard {
			t.Errorf("unheard %v: %+v", unheard, p.Lag)
		}
	}
}

// Each thing that a part may show against its node has its class and its words, and
// some hold it back.
func TestJudge(t *testing.T) {
	alive := health.Fellow{Name: "n2", Replication: primary(func(r *health.Replication) { r.Server = "2" }), Promoted: noon, Usable: true}
	gone := alive
	gone.Silent, gone.Gone, gone.Usable = true, true, false
	other := health.Fellow{Name: "n3", Replication: primary(func(r *health.Replication) { r.System = "b" }), Usable: true}
	lag := func(d time.Duration) health.Lag { return health.Lag{For: d, Known: true} }
	for name, tc := range map[string]struct {
		w       Wanted
		said    *health.Replication
		lag     health.Lag
		h       health.Health
		fellows []health.Fellow
		class   health.Class
		text    string
		held    bool
	}{
		"nothing":               {said: primary(nil)},
		"unfit":                 {said: primary(func(r *health.Replication) { r.Unfit = "it leaves" }), class: health.NotReady, text: "it leaves"},
		"a misfit":              {w: Wanted{Require: Primary}, said: replica(nil), class: health.WrongRole, text: "the server is a standby"},
		"an old primary":        {w: Wanted{Require: Primary}, said: primary(nil), fellows: []health.Fellow{alive}, class: health.WrongRole, text: "n2 is the new primary", held: true},
		"one for all":           {said: primary(nil), fellows: []health.Fellow{alive}},
		"its rival is gone":     {w: Wanted{Require: PreferPrimary}, said: primary(nil), fellows: []health.Fellow{gone}},
		"for writers it counts": {w: Wanted{Require: ReadWrite}, said: primary(nil), fellows: []health.Fellow{gone}, class: health.WrongRole, text: "n2 is the new primary", held: true},
		"groups do not matter":  {w: Wanted{Require: Primary, Mixed: true}, said: primary(nil), fellows: []health.Fellow{alive}},
		"other data":            {said: primary(func(r *health.Replication) { r.System = "a" }), fellows: []health.Fellow{other}, class: health.WrongRole, text: "other data", held: true},
		"other data is meant":   {w: Wanted{Mixed: true}, said: primary(func(r *health.Replication) { r.System = "a" }), fellows: []health.Fellow{other}},
		"in time":               {w: Wanted{MaxLag: 10 * time.Second}, said: replica(nil), lag: lag(9 * time.Second)},
		"late":                  {w: Wanted{MaxLag: 10 * time.Second}, said: replica(func(r *health.Replication) { r.Fault = "broken" }), lag: lag(11 * time.Second), class: health.Lagging, text: "max_lag (10s): broken"},
		"not quite there":       {w: Wanted{MaxLag: 10 * time.Second}, said: replica(nil), lag: lag(9 * time.Second), h: health.Health{State: health.Down, Class: health.Lagging}, class: health.Lagging, text: "max_lag (10s)"},
		"there again":           {w: Wanted{MaxLag: 10 * time.Second}, said: replica(nil), lag: lag(8 * time.Second), h: health.Health{State: health.Down, Class: health.Lagging}},
		"nobody knows":          {w: Wanted{MaxLag: 10 * time.Second}, said: replica(nil), lag: health.Lag{Why: "no right"}, class: health.Lagging, text: "not known, and max_lag is set: no right"},
	} {
		m := Memory{Verdict: &health.Unfit{Text: "before"}}
		held := tc.w.Judge(&m, &Part{Replication: *tc.said, Lag: tc.lag}, &tc.h, tc.fellows)
		switch v := m.Verdict; {
		case v == nil && tc.class == health.Neutral && !held:
		case v == nil || v.Class != tc.class || held != tc.held || !strings.HasPrefix(v.Text, tc.class.String()+": ") || !strings.Contains(v.Text, tc.text) || v.Need != health.ScopeRole:
			t.Errorf("%s: %+v, held %v", name, v, held)
		}
	}
}

// A primary that has given way stays out when its rival follows another server.
func TestOutrankedByOneThatFollowsAnother(t *testing.T) {
	w, m := Wanted{Require: Primary}, Memory{}
	p := &Part{Replication: *primary(nil)}
	rival := health.Fellow{Name: "n2", Replication: primary(func(r *health.Replication) { r.Server = "2" }), Promoted: noon}
	if why, ok := w.Outranked(&m, p, []health.Fellow{rival}); !ok || why != "n2 is the new primary" {
		t.Fatal(why, ok)
	}
	rival.Replication, rival.Promoted = replica(func(r *health.Replication) { r.Source = "3" }), time.Time{}
	for range 2 {
		if why, ok := w.Outranked(&m, p, []health.Fellow{rival}); !ok || why != "n2 was the new primary, and follows another one" {
			t.Fatal(why, ok)
		}
	}
	rival.Replication = replica(nil) // of this one
	if why, ok := w.Outranked(&m, p, []health.Fellow{rival}); ok {
		t.Fatal(why)
	}
}

// A lag that is not told for longer than max_lag is evidence, of a server that works.
func TestMiss(t *testing.T) {
	w, p := Wanted{MaxLag: time.Second}, &Part{Replication: *replica(nil), At: noon}
	for name, tc := range map[string]struct {
		e    health.Evidence
		p    *Part
		now  time.Time
		want health.Class
	}{
		"it works":        {health.Evidence{Class: health.Failed, Spoke: true}, p, noon.Add(2 * time.Second), health.Lagging},
		"not for so long": {health.Evidence{Class: health.Failed, Spoke: true}, p, noon.Add(time.Second), health.Failed},
		"who knows":       {health.Evidence{Class: health.Failed}, p, noon.Add(2 * time.Second), health.Failed},
		"silent":          {health.Evidence{Class: health.Silent, Spoke: true}, p, noon.Add(2 * time.Second), health.Silent},
		"never told":      {health.Evidence{Class: health.Failed, Spoke: true}, nil, noon.Add(2 * time.Second), health.Failed},
		"a primary":       {health.Evidence{Class: health.Failed, Spoke: true}, &Part{Replication: *primary(nil), At: noon}, noon.Add(2 * time.Second), health.Failed},
	} {
		if w.Miss(&tc.e, tc.p, tc.now); tc.e.Class != tc.want || tc.e.Class == health.Lagging && !tc.e.Spent {
			t.Errorf("%s: %+v", name, tc.e)
		}
	}
}

// What a node hides is told once, and only where it is wanted.
func TestHides(t *testing.T) {
	p := &Part{Replication: *replica(func(r *health.Replication) { r.Hidden = "no right" })}
	var m Memory
	for i, tc := range []struct {
		w    Wanted
		want bool
	}{{Wanted{}, false}, {Wanted{MaxLag: 1}, true}, {Wanted{MaxLag: 1}, false}} {
		if tc.w.Hides(&m, p) != tc.want {
			t.Error(i)
		}
	}
}
