package balance

import (
	"fmt"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// A step has a head start over those of later waves alone: the wait before the next wave.
func TestHeadStart(t *testing.T) {
	p := Plan[string]{{Node: "a", Wait: 9}, {Node: "b"}, {Node: "c", Wait: 2}, {Node: "d"}, {Node: "e", Wait: 3, Reserve: true}}
	want := [][]time.Duration{
		{0, 0, 2, 2, 2},
		{0, 0, 2, 2, 2},
		{0, 0, 0, 0, 3},
		{0, 0, 0, 0, 3},
		{0, 0, 0, 0, 0},
	}
	for step := range p {
		for other := range p {
			if got := p.HeadStart(step, other); got != want[step][other] {
				t.Errorf("%s before %s: %d, want %d", p[step].Node, p[other].Node, got, want[step][other])
			}
		}
	}
	if !p.Waits() || p[1:2].Waits() {
		t.Error("waits")
	}
	if p.Enough(2) != 5 || p.Enough(4) != 1 {
		t.Errorf("%d, %d", p.Enough(2), p.Enough(4))
	}
}

// Nodes of last resort are told apart, if there are better ones.
func TestRosterSplits(t *testing.T) {
	up, suspect := Member{State: health.Up}, Member{State: health.Suspect}
	full, donor, second := up, up, up
	full.Full, donor.Donor, second.Second = true, true, true
	for i, tc := range []struct {
		members []Member
		mixed   bool
	}{
		{nil, false}, {[]Member{up, suspect}, false}, {[]Member{full, donor, second}, false},
		{[]Member{suspect, donor}, false}, {[]Member{full, up}, true}, {[]Member{up, suspect, second}, true},
	} {
		r := Roster[int]{Members: tc.members}
		for n := range tc.members {
			r.Nodes = append(r.Nodes, n)
		}
		if r.Mixed() != tc.mixed {
			t.Errorf("%d: mixed is %v", i, r.Mixed())
		}
	}
	r := Roster[int]{Nodes: []int{1, 2, 3, 4, 5}, Members: []Member{full, up, donor, suspect, second}}
	others, rest := r.Split()
	if fmt.Sprint(others.Nodes, rest.Nodes) != "[2 4] [1 3 5]" || len(others.Members) != 2 || !rest.Members[1].Donor {
		t.Error(others.Nodes, rest.Nodes)
	}
	if r.Clear(); len(r.Nodes)+len(r.Members) != 0 || cap(r.Nodes) < 5 {
		t.Error("it is not empty, or has no room")
	}
}
