package health

import (
	"testing"
	"time"
)

func TestCompareGroups(t *testing.T) {
	view := func(group string, conf uint64, size int) View { return View{Group: group, Conf: conf, Size: size} }
	used := func(v View) Peer { return Peer{View: v, Usable: true} }
	held := func(v View) Peer { return Peer{View: v} }
	a, b := view("a", 31, 2), view("b", 2, 1)
	split := view("a", 2, 1)
	cases := []struct {
		name  string
		own   *View
		used  bool
		mixed bool
		peers []Peer
		want  standing
	}{
		{name: "no other node", own: &a},
		{name: "no Galera nodes"},
		{name: "one group", own: &a, used: true, peers: []Peer{used(a), used(a)}},
		{name: "a node of its own among two", own: &b, peers: []Peer{used(a), used(a)}, want: another},
		{name: "also when it was asked first", own: &b, used: true, peers: []Peer{used(a), held(a)}, want: another},
		{name: "and the two beside it", own: &a, used: true, peers: []Peer{used(a), held(b)}},
		{name: "one against one: the one in use", own: &b, peers: []Peer{used(a)}, want: another},
		{name: "one against one: the one in use is this", own: &b, used: true, peers: []Peer{held(a)}},
		{name: "one against one, none in use: the larger view", own: &b, peers: []Peer{held(a)}, want: another},
		{name: "one against one, none in use, seen from there", own: &a, peers: []Peer{held(b)}},
		{name: "the larger group is not in use yet", own: &a, peers: []Peer{held(a), used(b)}},
		{name: "and the smaller one is", own: &b, used: true, peers: []Peer{held(a), held(a)}, want: another},
		{name: "the same history, bootstrapped again", own: &split, peers: []Peer{used(a), used(a)}, want: unsettled},
		{name: "no view beside nodes that have one", peers: []Peer{used(a)}, want: another},
		{name: "no view beside nodes that are not in use", peers: []Peer{held(a)}},
		{name: "allowed", own: &b, mixed: true, peers: []Peer{used(a), used(a)}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			p := &Peers{Nodes: tc.peers, Mixed: tc.mixed}
			if got, _ := p.compare(tc.own, tc.used); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

// Views of one history that differ are another group only if they stay so.
func TestViewsThatDifferMustStaySo(t *testing.T) {
	now := time.Unix(100, 0)
	own := &View{Group: "a", Conf: 30, Size: 3}
	looked := time.Time{}
	at := func(h Health) (Health, Evidence, Effects) {
		e := Evidence{OK: true, Saw: ScopeView, View: own, Peers: &Peers{Hold: 8 * time.Second, Nodes: []Peer{
			{View: View{Group: "a", Conf: 31, Size: 3}, Looked: looked, Usable: true},
			{View: View{Group: "a", Conf: 31, Size: 3}, Looked: looked, Usable: true},
		}}}
		eff := h.Apart(&e, now)
		return h, e, eff
	}
	h, e, eff := at(Health{State: Up, EverUp: true})
	if !e.OK || !eff.Compare || !h.Differs() {
		t.Errorf("at first %+v, %+v", e, eff)
	}
	now = now.Add(8*time.Second - 1)
	looked = now
	if h, e, _ = at(h); !e.OK {
		t.Error("too early")
	}
	now = now.Add(1)
	if _, e, _ = at(h); e.OK || e.Class != NotReady || e.Need != ScopeView {
		t.Errorf("after 8 s %+v", e)
	}
	looked = time.Unix(99, 0)
	if _, e, _ = at(h); !e.OK {
		t.Error("the others have not looked since")
	}
	own.Conf = 31
	if h, e, _ = at(h); !e.OK || h.Differs() {
		t.Error("the views are the same")
	}
}
