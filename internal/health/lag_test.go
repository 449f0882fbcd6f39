package health

import (
	"reflect"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func at(place uint64) Position { return Position{{At: place}} }

// A lagSight is what one look finds, some seconds after noon.
type lagSight struct {
	after   float64
	primary uint64 // its place, seen half a second before; 0: there is none
	own     Replication
	fellow  bool // another replica receives
	want    float64
	unknown bool
}

func TestLag(t *testing.T) {
	replica := func(place uint64, s Stream) Replication {
		return Replication{Role: RoleReplica, Position: at(place), Received: at(place), Stream: s}
	}
	said := func(r Replication, seconds float64) Replication {
		r.Said, r.Told = time.Duration(seconds*float64(time.Second)), true
		return r
	}
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
			{after: 1, primary: 100, own: said(replica(90, StreamRuns), 0), want: 0.5}, {after: 2, primary: 200, own: replica(190, StreamRuns), want: 0.5},
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
		"was behind from the start, by its own word": {
			{after: 1, primary: 100, own: said(replica(50, StreamRuns), 3600), want: 3600},
			{after: 2, primary: 150, own: said(replica(60, StreamRuns), 0), want: 3601}, {after: 3, primary: 150, own: replica(150, StreamRuns)},
		},
		"was behind from the start, and the primary came into sight later": {
			{after: 1, own: aged(behind(50, 60), time.Hour), want: 3600}, {after: 2, primary: 100, own: aged(behind(50, 60), time.Hour), want: 3601},
		},
		"was behind from the start, and nobody knows since when": {
			{after: 1, primary: 100, own: replica(50, StreamUnknown), unknown: true}, {after: 9, primary: 200, own: replica(60, StreamUnknown), unknown: true},
			{after: 10, primary: 200, own: replica(110, StreamUnknown), want: 1.5}, {after: 11, primary: 200, own: replica(200, StreamUnknown)},
		},
		"idle, then a write": {
			{after: 1, primary: 100, own: aged(replica(100, StreamRuns), time.Hour)}, {after: 2, primary: 200, own: aged(replica(100, StreamRuns), time.Hour), want: 1.5},
		},
		"frozen": {
			{after: 1, primary: 100, own: replica(100, StreamRuns)}, {after: 2, primary: 100, own: replica(100, StreamRuns)},
			{after: 602, primary: 900, own: aged(replica(100, StreamRuns), 10*time.Minute), want: 600},
		},
		"frozen, and its own word is wrong": {
			{after: 1, primary: 100, own: replica(100, StreamRuns)}, {after: 2, primary: 100, own: replica(100, StreamRuns)},
			{after: 602, primary: 900, own: said(replica(100, StreamRuns), 0), want: 600.5}, {after: 603, primary: 900, own: replica(900, StreamRuns)},
			{after: 604, primary: 950, own: said(replica(900, StreamRuns), 0), want: 0.5},
		},
		"the primary was restored from a backup": {
			{after: 1, primary: 100, own: replica(100, StreamRuns)}, {after: 2, primary: 900, own: replica(100, StreamRuns), want: 0.5},
			{after: 3, primary: 50, own: replica(50, StreamRuns)}, {after: 9, primary: 60, own: replica(60, StreamRuns)},
		},
		"its primary is dead, and a new one is not in the cluster": {
			{after: 1, primary: 100, own: replica(100, StreamRuns), fellow: true}, {after: 9, own: replica(100, StreamBroken), fellow: true, want: 8},
		},
		"idle from the start": {{after: 1, primary: 100, own: aged(replica(100, StreamRuns), time.Hour)}},
		"cut off, and all looks perfect": {
			{after: 1, primary: 100, own: replica(100, StreamRuns)}, {after: 2, primary: 100, own: replica(100, StreamBroken)},
			{after: 3, primary: 200, own: replica(100, StreamBroken), want: 2}, {after: 9, primary: 200, own: replica(100, StreamBroken), want: 8},
			{after: 10, primary: 200, own: replica(200, StreamRuns)},
		},
		"its primary was down for long, and has just begun to write": {
			{after: 1, primary: 100, own: replica(100, StreamRuns)}, {after: 2, own: replica(100, StreamBroken)}, {after: 60, own: replica(100, StreamBroken)},
			{after: 61, primary: 110, own: replica(100, StreamBroken), want: 1}, {after: 62, primary: 120, own: replica(120, StreamRuns)},
		},
		"cut off from the start": {{after: 1, primary: 100, own: aged(replica(50, StreamBroken), time.Minute), want: 60}},
		"cut off from the start, and nobody knows since when": {
			{after: 1, primary: 100, own: replica(50, StreamBroken), unknown: true}, {after: 60, primary: 100, own: replica(50, StreamBroken), unknown: true},
			{after: 61, primary: 100, own: replica(100, StreamBroken)},
		},
		"cut off, its primary is not in the cluster": {
			{after: 1, own: replica(100, StreamRuns), fellow: true}, {after: 5, own: replica(100, StreamBroken), fellow: true, want: 4},
		},
		"its primary is dead": {
			{after: 1, primary: 100, own: replica(100, StreamRuns)}, {after: 2, own: replica(100, StreamBroken)},
			{after: 60, own: replica(100, StreamBroken)},
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
					fellows = append(fellows, Fellow{Name: "p", Looked: now.Add(-time.Second / 2), Replication: &Replication{Role: RolePrimary, Position: at(l.primary)}})
				}
				if l.fellow {
					fellows = append(fellows, Fellow{Name: "r", Looked: now, Replication: &Replication{Role: RoleReplica, Stream: StreamRuns}})
				}
				got := tracker.Next(&l.own, fellows, now)
				if got.Known == l.unknown || got.For.Seconds() != l.want || got.Known != (got.Why == "") {
					t.Errorf("after %v s: %+v, want %v s, unknown %v", l.after, got, l.want, l.unknown)
				}
			}
		})
	}
}

// Two names of one primary, of which one answers or the other, are no reason to
// forget how far a replica is behind.
func TestLagOfAPrimaryWithTwoNames(t *testing.T) {
	var tracker LagTracker
	for second := range 60 {
		now := noon.Add(time.Duration(second) * time.Second)
		own := Replication{Role: RoleReplica, Position: at(100), Stream: StreamRuns, Told: true}
		fellows := []Fellow{{Name: []string{"p", "q"}[second%2], Looked: now, Replication: &Replication{Role: RolePrimary, Position: at(uint64(100 + second))}}}
		if got := tracker.Next(&own, fellows, now); second > 1 && (got.For < now.Sub(noon)-time.Second || got.For > now.Sub(noon)) {
			t.Errorf("after %d s: %+v", second, got)
		}
	}
}

// A replica that lacks all of an origin lacks what its primary has written there,
// unless it may have been told to leave the origin out. What a standby receives from
// a primary of an older timeline is not what the new one writes.
func TestLagOfWhatDoesNotCome(t *testing.T) {
	for name, tc := range map[string]struct {
		own, primary Replication
		lags         bool
	}{
		"an origin is not there": {
			own:     Replication{Position: Position{{"a", 9}}, Whole: true},
			primary: Replication{Position: Position{{"a", 9}, {"b", 5}}, Whole: true}, lags: true,
		},
		"an origin is left out": {
			own:     Replication{Position: Position{{"0", 9}}},
			primary: Replication{Position: Position{{"0", 9}, {"1", 5}}},
		},
		"an older timeline": {
			own:     Replication{Position: at(900), Timeline: 1},
			primary: Replication{Position: at(100), Timeline: 2}, lags: true,
		},
		"the same timeline": {
			own:     Replication{Position: at(900), Timeline: 2},
			primary: Replication{Position: at(100), Timeline: 2},
		},
	} {
		tracker, began := LagTracker{streams: noon, complete: noon}, noon
		tc.own.Role, tc.own.Stream, tc.own.Told, tc.primary.Role = RoleReplica, StreamRuns, true, RolePrimary
		for second := range 10 {
			now := began.Add(time.Duration(second) * time.Second)
			got := tracker.Next(&tc.own, []Fellow{{Name: "p", Looked: now, Replication: &tc.primary}}, now)
			if lags := got.For > 0 || !got.Known; lags != tc.lags && second > 1 || got.For > max(1, now.Sub(began)) {
				t.Errorf("%s: after %d s: %+v", name, second, got)
			}
		}
	}
}

// A server that follows nobody and takes no writes is a primary in the middle of a
// switchover as long as others follow it. Beside a new primary it is behind.
func TestLagOfAReadOnlyPrimary(t *testing.T) {
	own := Replication{Access: AccessRead, Server: "1", Position: at(100)}
	follower := Fellow{Replication: &Replication{Role: RoleReplica, Source: "1", Stream: StreamRuns}}
	primary := Fellow{Replication: &Replication{Role: RolePrimary, Server: "2", Position: at(100)}}
	for name, tc := range map[string]struct {
		fellows []Fellow
		known   bool
	}{
		"followed": {[]Fellow{follower}, true}, "alone": {nil, false}, "beside a primary": {[]Fellow{follower, primary}, false},
	} {
		var tracker LagTracker
		if got := tracker.Next(&own, tc.fellows, noon); got.Known != tc.known || got.For != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Between two roles a server follows nobody and takes no writes. Its lag grows from what
// it was. Of one that may be an old primary nobody knows it.
func TestLagBetweenRoles(t *testing.T) {
	closed := &Replication{Access: AccessRead, Server: "1", Position: at(100)}
	primary := &Replication{Role: RolePrimary, Access: AccessWrite, Server: "1", Position: at(100)}
	replica := &Replication{Role: RoleReplica, Access: AccessRead, Server: "1", Source: "2", Stream: StreamRuns, Position: at(100)}
	rival := &Replication{Role: RolePrimary, Access: AccessWrite, Server: "2", Position: at(200)}
	hidden := &Replication{Access: AccessRead, Server: "1", Position: at(100), Hidden: "it does not tell"}
	unfit := &Replication{Access: AccessRead, Server: "1", Position: at(100), Unfit: "it has left"}
	type looks []*Replication
	for name, tc := range map[string]struct {
		looks  looks // one a second; the last one is judged
		before bool  // the rival is seen from the beginning
		want   float64
		known  bool
	}{
		"was a replica":           {looks: looks{replica, closed}, want: 1, known: true},
		"for longer":              {looks: looks{replica, closed, closed, closed}, want: 3, known: true},
		"was a replica, behind":   {looks: looks{replica, replica, replica, closed}, before: true}, // nobody knows since when
		"was the primary":         {looks: looks{primary, closed}, want: 1, known: true},
		"was an old primary":      {looks: looks{primary, closed}, before: true},
		"does not tell":           {looks: looks{replica, hidden}},
		"is out of its group":     {looks: looks{replica, unfit}},
		"says so from the start":  {looks: looks{closed}},
		"after it did not tell":   {looks: looks{replica, hidden, closed}},
		"the primary again":       {looks: looks{primary, closed, primary}, known: true},
		"a replica of the rival":  {looks: looks{replica, closed, replica}, want: 0.5, known: true},
		"the rival was seen late": {looks: looks{primary, closed, closed}, want: 2, known: true},
	} {
		var tracker LagTracker
		var got Lag
		for i, own := range tc.looks {
			now := noon.Add(time.Duration(i) * time.Second)
			var fellows []Fellow
			if tc.before || i > 0 && i == len(tc.looks)-1 {
				fellows = []Fellow{{Name: "q", Looked: now.Add(-500 * time.Millisecond), Replication: rival}}
			} else if i == 0 && own == replica {
				fellows = []Fellow{{Name: "q", Looked: now, Replication: &Replication{Role: RolePrimary, Access: AccessWrite, Server: "2", Position: at(100)}}}
			}
			got = tracker.Next(own, fellows, now)
		}
		if got.For.Seconds() != tc.want || got.Known != tc.known || got.Known != (got.Why == "") {
			t.Errorf("%s: %+v, want %v s, known: %v", name, got, tc.want, tc.known)
		}
	}
}

// Members of a group may all be equal, and only the primary has all that there is.
func TestLagOfAMember(t *testing.T) {
	member := func(role Role, own, waiting uint64) *Replication {
		r := &Replication{Role: role, Equal: true, Group: "g", Position: at(own)}
		if role == RoleReplica {
			r.Stream, r.Received = StreamRuns, at(own+waiting)
		}
		return r
	}
	for name, tc := range map[string]struct {
		looks   []*Replication // one a second
		primary []uint64       // its place half a second before; 0: it is not in sight
		want    []float64
	}{
		"stands still": {
			looks:   []*Replication{member(RoleReplica, 7, 0), member(RoleReplica, 7, 1), member(RoleReplica, 7, 2), member(RoleReplica, 9, 0)},
			primary: []uint64{7, 8, 9, 9}, want: []float64{0, 0.5, 1.5, 0},
		},
		"stands still where the primary is not in sight": {
			looks:   []*Replication{member(RoleReplica, 7, 0), member(RoleReplica, 7, 1), member(RoleReplica, 7, 2), member(RoleReplica, 9, 0)},
			primary: []uint64{0, 0, 0, 0}, want: []float64{0, 0, 1, 0},
		},
		"was the primary": {
			looks:   []*Replication{member(RolePrimary, 7, 0), member(RoleReplica, 7, 1), member(RoleReplica, 7, 2)},
			primary: []uint64{0, 8, 9}, want: []float64{0, 0.5, 1.5},
		},
	} {
		var tracker LagTracker
		for i, own := range tc.looks {
			now := noon.Add(time.Duration(i) * time.Second)
			var fellows []Fellow
			if tc.primary[i] > 0 {
				fellows = []Fellow{{Name: "p", Looked: now.Add(-500 * time.Millisecond), Replication: member(RolePrimary, tc.primary[i], 0)}}
			}
			if got := tracker.Next(own, fellows, now); got.For.Seconds() != tc.want[i] || !got.Known {
				t.Errorf("%s, look %d: %+v, want %v s", name, i+1, got, tc.want[i])
			}
		}
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
		fellows := []Fellow{{Name: "p", Looked: now, Replication: &Replication{Role: RolePrimary, Position: at(uint64(second + 1))}}}
		got := tracker.Next(&own, fellows, now)
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
	follower := Fellow{Name: "r", Replication: &Replication{Role: RoleReplica, Source: "2", Stream: StreamRuns}}
	silent := Fellow{Name: "r", Silent: true, Replication: follower.Replication}
	broken := Fellow{Name: "r2", Replication: &Replication{Role: RoleReplica, Source: "2", Stream: StreamBroken}}
	other := *primary(9, "")
	other.System = "t"
	equal := Replication{Role: RolePrimary, Equal: true}
	for name, tc := range map[string]struct {
		own      *Replication
		promoted time.Time
		fellows  []Fellow
		want     bool
	}{
		"alone":                     {own: primary(1, "")},
		"an older timeline":         {own: primary(1, ""), fellows: []Fellow{{Name: "q", Replication: primary(2, "")}}, want: true},
		"a newer timeline":          {own: primary(2, ""), fellows: []Fellow{{Name: "q", Replication: primary(1, ""), Promoted: noon}}},
		"two names of one server":   {own: primary(2, "1"), fellows: []Fellow{{Name: "q", Replication: primary(2, "1")}}},
		"the other was promoted":    {own: primary(0, "1"), fellows: []Fellow{{Name: "q", Replication: primary(0, "2"), Promoted: noon}}, want: true},
		"this one was promoted":     {own: primary(0, "1"), promoted: noon, fellows: []Fellow{{Name: "q", Replication: primary(0, "2")}}},
		"promoted before the other": {own: primary(0, "1"), promoted: noon, fellows: []Fellow{{Name: "q", Replication: primary(0, "2"), Promoted: noon.Add(1)}}, want: true},
		"two names, promoted apart": {own: primary(2, ""), promoted: noon, fellows: []Fellow{{Name: "q", Replication: primary(2, ""), Promoted: noon.Add(1)}}},
		"two names, no timelines":   {own: primary(0, "1"), promoted: noon, fellows: []Fellow{{Name: "q", Replication: primary(0, "1"), Promoted: noon.Add(1)}}},
		"followed by a silent one":  {own: primary(0, "1"), fellows: []Fellow{{Name: "q", Replication: primary(0, "2")}, silent}, want: true},
		"followed by a broken one":  {own: primary(0, "1"), fellows: []Fellow{{Name: "q", Silent: true, Replication: primary(0, "2")}, broken}, want: true},
		"one that receives counts":  {own: primary(0, "2"), fellows: []Fellow{{Name: "q", Replication: primary(0, "3")}, silent, broken, {Name: "r3", Replication: &Replication{Role: RoleReplica, Source: "3", Stream: StreamRuns}}}, want: true},
		"others follow the other":   {own: primary(0, "1"), fellows: []Fellow{{Name: "q", Replication: primary(0, "2")}, follower}, want: true},
		"others follow this one":    {own: primary(0, "2"), fellows: []Fellow{{Name: "q", Replication: primary(0, "1")}, follower}},
		"nothing tells":             {own: primary(0, "1"), fellows: []Fellow{{Name: "q", Replication: primary(0, "2")}}},
		"other data":                {own: primary(1, ""), fellows: []Fellow{{Name: "q", Replication: &other}}},
		"equals":                    {own: &equal, fellows: []Fellow{{Name: "q", Replication: &equal, Promoted: noon}}},
		"a replica":                 {own: &Replication{Role: RoleReplica}, fellows: []Fellow{{Name: "q", Replication: primary(2, "")}}},
	} {
		if _, got := tc.own.Outranked(tc.promoted, tc.fellows); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestPassed(t *testing.T) {
	own := &Replication{Role: RolePrimary, System: "s", Timeline: 2}
	replica := func(timeline uint64, system string, stream Stream) Replication {
		return Replication{Role: RoleReplica, System: system, Timeline: timeline, Stream: stream}
	}
	for name, tc := range map[string]struct {
		fellow Replication
		before bool // the primary gave way to that node
		want   bool
	}{
		"a later timeline":            {fellow: replica(3, "s", StreamRuns), want: true},
		"its own timeline":            {fellow: replica(2, "s", StreamRuns)},
		"other data":                  {fellow: replica(3, "t", StreamRuns), before: true},
		"it does not tell its data":   {fellow: replica(3, "", StreamRuns), want: true},
		"no timeline":                 {fellow: replica(0, "s", StreamRuns), before: true},
		"no replica":                  {fellow: Replication{System: "s", Timeline: 3, Stream: StreamRuns}, before: true},
		"it receives nothing":         {fellow: replica(3, "s", StreamBroken)},
		"it does not tell the stream": {fellow: replica(3, "s", StreamUnknown)},
		"the one it gave way to":      {fellow: replica(3, "s", StreamBroken), before: true, want: true},
		"that one follows it by now":  {fellow: replica(2, "s", StreamRuns), before: true},
		"that one has an earlier one": {fellow: replica(1, "s", StreamBroken), before: true},
	} {
		if _, got := own.Passed(map[bool]string{true: "q"}[tc.before], []Fellow{{Name: "q", Replication: &tc.fellow}}); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if _, got := (&Replication{Role: RolePrimary}).Passed("q", []Fellow{{Name: "q", Replication: &Replication{Role: RoleReplica, Timeline: 3, Stream: StreamRuns}}}); got {
		t.Error("a primary without a timeline is passed")
	}
}

func TestFollowsAnother(t *testing.T) {
	own := &Replication{Role: RolePrimary, Server: "1"}
	for name, tc := range map[string]struct {
		own   *Replication
		other Replication
		want  bool
	}{
		"it follows this one":       {own, Replication{Role: RoleReplica, Server: "2", Source: "1"}, false},
		"it follows another":        {own, Replication{Role: RoleReplica, Server: "2", Source: "9"}, true},
		"it does not say":           {own, Replication{Role: RoleReplica, Server: "2"}, false},
		"this one has no number":    {&Replication{Role: RolePrimary}, Replication{Role: RoleReplica, Source: "9"}, false},
		"it is a primary":           {own, Replication{Role: RolePrimary, Server: "2"}, false},
		"a primary that follows it": {own, Replication{Role: RolePrimary, Server: "2", Source: "9"}, false},
	} {
		if got := tc.own.FollowsAnother(&tc.other); got != tc.want {
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
		if got := tracker.Next(&own, []Fellow{stray}, noon.Add(after)); got != (Lag{Known: true}) {
			t.Errorf("%+v", got)
		}
	}
}

func TestElsewhere(t *testing.T) {
	node := func(system string, usable bool) Fellow {
		return Fellow{Replication: &Replication{System: system}, Usable: usable}
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

// What a node does not tell now counts as before. What it tells counts.
func TestCompleted(t *testing.T) {
	before := &Replication{Role: RolePrimary, Access: AccessWrite, System: "s", Timeline: 2}
	for name, tc := range map[string]struct{ now, want Replication }{
		"nothing told":    {Replication{Access: AccessWrite, Hidden: "h"}, Replication{Role: RolePrimary, Access: AccessWrite, System: "s", Timeline: 2, Hidden: "h"}},
		"role alone":      {Replication{Role: RolePrimary, Access: AccessRead, Hidden: "h"}, Replication{Role: RolePrimary, Access: AccessRead, System: "s", Timeline: 2, Hidden: "h"}},
		"another role":    {Replication{Role: RoleReplica, Access: AccessRead, Hidden: "h"}, Replication{Role: RoleReplica, Access: AccessRead, Hidden: "h"}},
		"other access":    {Replication{Access: AccessRead, Hidden: "h"}, Replication{Access: AccessRead, Hidden: "h"}},
		"all told":        {Replication{Access: AccessWrite}, Replication{Access: AccessWrite}},
		"a new timeline":  {Replication{Role: RolePrimary, Access: AccessWrite, Timeline: 3, Hidden: "h"}, Replication{Role: RolePrimary, Access: AccessWrite, System: "s", Timeline: 3, Hidden: "h"}},
		"only as it acts": {Replication{Role: RoleReplica, Assumed: true, Access: AccessWrite, Hidden: "h"}, Replication{Role: RolePrimary, Access: AccessWrite, System: "s", Timeline: 2, Hidden: "h"}},
	} {
		if got := tc.now.Completed(before); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, tc.want)
		}
		if got := tc.now.Completed(nil); !reflect.DeepEqual(got, tc.now) {
			t.Errorf("%s, never before: %+v", name, got)
		}
	}
}

// In a switchover no server takes writes for some seconds. A replica has all that there
// is then, by its own account, and lacks what the new primary writes from there on.
func TestLagBeginsWithTheNewPrimary(t *testing.T) {
	var tracker LagTracker
	own := Replication{Role: RoleReplica, Position: at(100), Stream: StreamRuns, Told: true}
	primary := func(name string, place uint64, now time.Time) []Fellow {
		return []Fellow{{Name: name, Looked: now, Replication: &Replication{Role: RolePrimary, Position: at(place)}}}
	}
	if got := tracker.Next(&own, primary("n1", 100, noon), noon); got != (Lag{Known: true}) {
		t.Fatalf("%+v", got)
	}
	now := noon
	for range 8 {
		now = now.Add(time.Second)
		closed := []Fellow{
			{Name: "n1", Looked: now, Replication: &Replication{Role: RoleUnknown, Access: AccessRead, Position: at(100)}},
			{Name: "n3", Looked: now, Replication: &own},
		}
		if got := tracker.Next(&own, closed, now); got != (Lag{Known: true}) {
			t.Fatalf("%+v", got)
		}
	}
	now = now.Add(time.Second)
	if got := tracker.Next(&own, primary("n2", 110, now), now); got != (Lag{For: time.Second, Known: true}) {
		t.Errorf("%+v", got)
	}
}

// Of what a new primary has, a replica lacks nothing that is older than what it lacked at
// its look before, also where the old primary was not looked at since.
func TestLagIsNoLongerWithTheNewPrimary(t *testing.T) {
	for _, tc := range []struct {
		place uint64        // of the replica at the second look
		want  time.Duration // at the third
	}{
		{100, 1100 * time.Millisecond}, // it lacked nothing at the second
		{98, 2100 * time.Millisecond},  // it lacked what the old primary had at the first
	} {
		var tracker LagTracker
		look := func(after time.Duration, own uint64, name string, place uint64, looked time.Duration) Lag {
			primary := Fellow{Name: name, Looked: noon.Add(looked), Replication: &Replication{Role: RolePrimary, Position: at(place)}}
			return tracker.Next(&Replication{Role: RoleReplica, Position: at(own), Stream: StreamRuns}, []Fellow{primary}, noon.Add(after))
		}
		look(-time.Second, 97, "n1", 97, -time.Second)
		look(0, 98, "n1", 100, 0)
		look(time.Second, tc.place, "n1", 100, 0)
		if got, want := look(2100*time.Millisecond, 119, "n2", 120, 2*time.Second), (Lag{For: tc.want, Known: true}); got != want {
			t.Errorf("at %d: %+v, want %+v", tc.place, got, want)
		}
	}
}
