package health

import (
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func at(place uint64) Position { return Position{{At: place}} }

// A lagSight is what one look finds, some seconds after noon.
type lagSight struct {
	after    float64
	primary  uint64 // its place, seen half a second before; 0: there is none
	timeline uint64 // of the primary
	own      Replication
	fellow   bool // another replica receives
	absent   bool // it did not answer before
	want     float64
	unknown  bool
}

func TestLag(t *testing.T) {
	replica := func(place uint64, s Stream) Replication {
		return Replication{Role: RoleReplica, Position: at(place), Received: at(place), Stream: s}
	}
	said := func(r Replication, seconds float64) Replication {
		r.Said, r.Told = time.Duration(seconds*float64(time.Second)), true
		return r
	}
	onTimeline := func(r Replication, timeline uint64) Replication { r.Timeline = timeline; return r }
	aged := func(r Replication, age time.Duration) Replication { r.Age = age; return r }
	behind := func(place, received uint64) Replication {
		r := replica(place, StreamRuns)
		r.Received = at(received)
		return r
	}
	for name, looks := range map[string][]lagSight{
		"follows": {
			{after: 1, primary: 100, own: replica(100, StreamRuns)}, {after: 2, primary: 200, own: replica(200, StreamRuns)},
			{after: 3, primary: 300, own: replica(310, StreamRuns)},
		},
		"a step behind, always": { // it lacks what the primary had half a second before
			{after: 1, primary: 100, own: replica(90, StreamRuns), unknown: true}, {after: 2, primary: 200, own: replica(190, StreamRuns), want: 0.5},
			{after: 3, primary: 300, own: replica(290, StreamRuns), want: 0.5},
		},
		"stands still": {
			{after: 1, primary: 100, own: replica(100, StreamRuns)}, {after: 2, primary: 200, own: replica(100, StreamRuns), want: 0.5},
			{after: 3, primary: 300, own: replica(100, StreamRuns), want: 1.5}, {after: 9, primary: 300, own: replica(100, StreamRuns), want: 7.5},
			{after: 10, primary: 300, own: replica(299, StreamRuns), want: 7.5}, {after: 11, primary: 300, own: replica(300, StreamRuns)},
		},
		"was behind from the start": {
			{after: 1, primary: 100, own: aged(replica(50, StreamRuns), time.Hour), want: 3600},
			{after: 2, primary: 100, own: replica(100, StreamRuns)},
		},
		"was away for long": {
			{after: 1, primary: 100, own: replica(100, StreamRuns)}, {after: 60, primary: 200, own: replica(100, StreamRuns), absent: true, want: 59},
			{after: 61, primary: 200, own: replica(200, StreamRuns)},
		},
		"was away, and has all": {
			{after: 1, primary: 100, own: replica(100, StreamRuns)}, {after: 60, primary: 200, own: replica(200, StreamRuns), absent: true},
		},
		"idle from the start": {{after: 1, primary: 100, own: aged(replica(100, StreamRuns), time.Hour)}},
		"cut off, and all looks perfect": {
			{after: 1, primary: 100, own: replica(100, StreamRuns)}, {after: 2, primary: 100, own: replica(100, StreamBroken)},
			{after: 3, primary: 200, own: replica(100, StreamBroken), want: 2}, {after: 9, primary: 200, own: replica(100, StreamBroken), want: 8},
			{after: 10, primary: 200, own: replica(200, StreamRuns)},
		},
		"cut off from the start": {{after: 1, primary: 100, own: aged(replica(50, StreamBroken), time.Minute), want: 60}},
		"cut off, its primary is not in the cluster": {
			{after: 1, own: replica(100, StreamRuns), fellow: true}, {after: 5, own: replica(100, StreamBroken), fellow: true, want: 4},
		},
		"its primary is dead": {
			{after: 1, primary: 100, own: replica(100, StreamRuns)}, {after: 2, own: replica(100, StreamBroken)},
			{after: 60, own: replica(100, StreamBroken)},
		},
		"its primary is dead, and a fellow is promoted": {
			{after: 1, primary: 100, own: replica(100, StreamRuns)}, {after: 2, own: replica(100, StreamBroken)},
			{after: 60, own: replica(100, StreamBroken)}, {after: 61, primary: 200, own: replica(100, StreamBroken), want: 1},
		},
		"it follows an old primary": {
			{after: 1, primary: 100, own: replica(100, StreamRuns)},
			{after: 2, primary: 200, timeline: 2, own: onTimeline(replica(900, StreamRuns), 1), want: 1}, {after: 9, primary: 300, timeline: 2, own: onTimeline(replica(999, StreamRuns), 1), want: 8},
			{after: 10, primary: 400, timeline: 2, own: onTimeline(replica(400, StreamRuns), 2)},
		},
		"its primary is dead, and it has not all that it was seen to have": {
			{after: 1, primary: 100, own: replica(100, StreamRuns)}, {after: 2, primary: 200, own: replica(150, StreamRuns), want: 0.5},
			{after: 3, own: replica(150, StreamBroken), want: 1.5},
		},
		"no primary, and it applies what it receives": {
			{after: 1, own: behind(100, 100)}, {after: 2, own: behind(100, 200)}, {after: 4, own: behind(150, 300), want: 2}, {after: 5, own: behind(300, 300)},
		},
		"its own word": {{after: 1, own: said(Replication{Role: RoleReplica}, 3), want: 3}},
		"its own word beside places": {
			{after: 1, primary: 100, own: said(replica(100, StreamRuns), 3)},
		},
		"nobody tells": {{after: 1, own: Replication{Role: RoleReplica}, unknown: true}},
		"no right, and the primary is seen": {
			{after: 1, primary: 100, own: replica(100, StreamUnknown)}, {after: 3, primary: 200, own: replica(100, StreamUnknown), want: 0.5},
		},
		"other origins": {{after: 1, primary: 100, own: Replication{Role: RoleReplica, Position: Position{{Origin: "x", At: 100}}}, unknown: true}},
		"primary":       {{after: 1, own: Replication{Role: RolePrimary}}},
		"unknown role":  {{after: 1, own: Replication{}, unknown: true}},
	} {
		t.Run(name, func(t *testing.T) {
			var tracker LagTracker
			for _, l := range looks {
				now := noon.Add(time.Duration(l.after * float64(time.Second)))
				var fellows []Fellow
				if l.primary > 0 {
					fellows = append(fellows, Fellow{Name: "p", Answers: true, Looked: now.Add(-time.Second / 2), Replication: &Replication{Role: RolePrimary, Timeline: l.timeline, Position: at(l.primary)}})
				}
				if l.fellow {
					fellows = append(fellows, Fellow{Name: "r", Answers: true, Looked: now, Replication: &Replication{Role: RoleReplica, Stream: StreamRuns}})
				}
				got := tracker.Next(&l.own, fellows, l.absent, now)
				if got.Known == l.unknown || got.For.Seconds() != l.want || got.Known != (got.Why == "") {
					t.Errorf("after %v s: %+v, want %v s, unknown %v", l.after, got, l.want, l.unknown)
				}
			}
		})
	}
}

// However long a replica is behind, the tracker keeps few places, and is wrong by
// no more than a few parts of the lag.
func TestLagTrackerIsSmall(t *testing.T) {
	var tracker LagTracker
	const applied = 3600 // seconds behind, all the time from then on
	for second := range 5 * applied {
		now := noon.Add(time.Duration(second) * time.Second)
		own := Replication{Role: RoleReplica, Position: at(uint64(max(1, second-applied))), Stream: StreamRuns}
		fellows := []Fellow{{Name: "p", Answers: true, Looked: now, Replication: &Replication{Role: RolePrimary, Position: at(uint64(second + 1))}}}
		got := tracker.Next(&own, fellows, false, now)
		if len(tracker.places) > mostPlaces {
			t.Fatalf("%d places", len(tracker.places))
		}
		if lag := got.For.Seconds(); second > 2*applied && (lag > applied+1 || lag < applied*3/4) {
			t.Fatalf("%v s after %d s, want %d", lag, second, applied)
		}
	}
}

func TestOutranked(t *testing.T) {
	primary := func(timeline uint64, server string) *Replication {
		return &Replication{Role: RolePrimary, System: "s", Timeline: timeline, Server: server}
	}
	follower := Fellow{Name: "r", Answers: true, Replication: &Replication{Role: RoleReplica, Source: "2", Stream: StreamRuns}}
	other := *primary(9, "")
	other.System = "t"
	equal := Replication{Role: RolePrimary, Equal: true}
	for name, tc := range map[string]struct {
		own      *Replication
		promoted time.Time
		fellows  []Fellow
		want     bool
	}{
		"alone":                      {own: primary(1, "")},
		"an older timeline":          {own: primary(1, ""), fellows: []Fellow{{Name: "q", Replication: primary(2, "")}}, want: true},
		"a newer timeline":           {own: primary(2, ""), fellows: []Fellow{{Name: "q", Replication: primary(1, ""), Promoted: noon}}},
		"two names of one, promoted": {own: primary(2, ""), fellows: []Fellow{{Name: "q", Replication: primary(2, ""), Promoted: noon}}},
		"one number, promoted":       {own: primary(0, "1"), fellows: []Fellow{{Name: "q", Replication: primary(0, "1"), Promoted: noon}}},
		"two names of one server":    {own: primary(2, "1"), fellows: []Fellow{{Name: "q", Replication: primary(2, "1")}}},
		"the other was promoted":     {own: primary(0, "1"), fellows: []Fellow{{Name: "q", Replication: primary(0, "2"), Promoted: noon}}, want: true},
		"this one was promoted":      {own: primary(0, "1"), promoted: noon, fellows: []Fellow{{Name: "q", Replication: primary(0, "2")}}},
		"promoted before the other":  {own: primary(0, "1"), promoted: noon, fellows: []Fellow{{Name: "q", Replication: primary(0, "2"), Promoted: noon.Add(1)}}, want: true},
		"others follow the other":    {own: primary(0, "1"), fellows: []Fellow{{Name: "q", Replication: primary(0, "2")}, follower}, want: true},
		"others follow this one":     {own: primary(0, "2"), fellows: []Fellow{{Name: "q", Replication: primary(0, "1")}, follower}},
		"nothing tells":              {own: primary(0, "1"), fellows: []Fellow{{Name: "q", Replication: primary(0, "2")}}},
		"other data":                 {own: primary(1, ""), fellows: []Fellow{{Name: "q", Replication: &other}}},
		"equals":                     {own: &equal, fellows: []Fellow{{Name: "q", Replication: &equal, Promoted: noon}}},
		"a replica":                  {own: &Replication{Role: RoleReplica}, fellows: []Fellow{{Name: "q", Replication: primary(2, "")}}},
	} {
		if _, got := tc.own.Outranked(tc.promoted, tc.fellows); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A server is out of its group if a fellow is in it, and the server is in none.
// One that comes back is also out if the fellow has a later view.
func TestOutside(t *testing.T) {
	member := func(number uint64) *Replication {
		return &Replication{Equal: true, Group: "g", View: View{Group: "17", Conf: number}}
	}
	changed := func(r *Replication, change func(*Replication)) *Replication { change(r); return r }
	alone := func() *Replication { return &Replication{Group: "g", Alone: true} }
	for name, tc := range map[string]struct {
		own, fellow *Replication
		used, back  bool // whether it is out of its group where it is in use, and where it is not
	}{
		"in the same view":              {own: member(5), fellow: member(5)},
		"the first in a new view":       {own: member(6), fellow: member(5)},
		"in an older view":              {own: member(4), fellow: member(5), back: true},
		"the fellow does not serve":     {own: member(4), fellow: changed(member(5), func(r *Replication) { r.Unfit = "it is not online" })},
		"of a group made before":        {own: member(4), fellow: changed(member(5), func(r *Replication) { r.View.Group = "18" })},
		"of another group":              {own: member(4), fellow: changed(member(5), func(r *Replication) { r.Group = "h" })},
		"it does not tell its view":     {own: changed(member(0), func(r *Replication) { r.View = View{} }), fellow: member(5)},
		"the fellow does not tell":      {own: member(4), fellow: changed(member(0), func(r *Replication) { r.View = View{} })},
		"in no group":                   {own: alone(), fellow: member(5), used: true, back: true},
		"in no group, nor the fellow":   {own: alone(), fellow: alone()},
		"in no group, beside another":   {own: alone(), fellow: changed(member(5), func(r *Replication) { r.Group = "h" })},
		"no member of any":              {own: &Replication{}, fellow: member(5)},
		"beside one who is in no group": {own: member(4), fellow: alone()},
	} {
		fellows := []Fellow{{Name: "p", Replication: &Replication{}}, {Name: "q", Replication: tc.fellow}}
		if used, back := tc.own.Outside(true, fellows), tc.own.Outside(false, fellows); used != tc.used || back != tc.back {
			t.Errorf("%s: in use %t, else %t", name, used, back)
		}
	}
}

// A server that is in no group is not the source of a member's lag.
func TestAServerInNoGroupIsNoSource(t *testing.T) {
	var tracker LagTracker
	own := Replication{Role: RoleReplica, Group: "g", Position: at(100), Received: at(100), Stream: StreamRuns}
	stray := Fellow{Name: "p", Looked: noon, Replication: &Replication{Role: RolePrimary, Group: "g", Alone: true, Position: at(200)}}
	for _, after := range []time.Duration{0, time.Minute} {
		if got := tracker.Next(&own, []Fellow{stray}, false, noon.Add(after)); got != (Lag{Known: true}) {
			t.Errorf("%+v", got)
		}
	}
}

func TestElsewhere(t *testing.T) {
	node := func(system string, usable bool) Fellow {
		return Fellow{Replication: &Replication{System: system}, Answers: true, Usable: usable}
	}
	for name, tc := range map[string]struct {
		own     string
		used    bool
		fellows []Fellow
		want    bool
	}{
		"alone":                    {own: "a"},
		"together":                 {own: "a", fellows: []Fellow{node("a", true), node("a", true)}},
		"the only one of its kind": {own: "b", used: true, fellows: []Fellow{node("a", true), node("a", true)}, want: true},
		"one of the most":          {own: "a", fellows: []Fellow{node("a", false), node("b", true)}},
		"one against one, in use":  {own: "b", used: true, fellows: []Fellow{node("a", false)}},
		"one against one, not":     {own: "a", fellows: []Fellow{node("b", true)}, want: true},
		"it does not say":          {fellows: []Fellow{node("b", true)}},
		"the other does not say":   {own: "a", fellows: []Fellow{node("", true), node("", true)}},
	} {
		own := Replication{System: tc.own}
		if got := own.Elsewhere(tc.used, tc.fellows); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
