package health

import "time"

// A Lag is how far a replica is behind its primary.
type Lag struct {
	For   time.Duration
	Known bool
	// Why says why it is not known.
	Why string
}

// A LagTracker works out the lag of one node. A replica's own account of it is
// not enough: a replica whose primary is dead or out of reach has applied all
// that it has received, and the time of its last transaction says nothing while
// the primary is idle. The tracker notes when the primary was seen to be where,
// by this program's clock: the lag is the time since the oldest place that the
// replica has not reached. It is the least that the lag can be; the lag may be
// longer by the time between two looks. After a longer time without a look, and at
// the first one, it is the most that the lag can be, by what the replica itself says.
//
// The zero LagTracker has seen nothing.
type LagTracker struct {
	source   string    // whose places they are
	places   []place   // not reached yet, oldest first
	since    time.Time // since when the replica lacks what is at the first of them; zero if nobody knows
	spacing  time.Duration
	complete time.Time     // when there was no more than the replica has; zero if it was never seen to have all
	turned   time.Time     // the replica lacked nothing older when its source changed, by the look before that
	looked   time.Time     // the last look
	last     Lag           // what was worked out then; unknown if the node may be an old primary
	gap      time.Duration // between that and the one before
	streams  time.Time     // the last look at which it received; zero if it never did
	broken   time.Time     // the first look at which it did not; zero while it does
	missed   bool          // nobody could look at it before the next look
}

// A place is where a log was at a time.
type place struct {
	at       time.Time
	end      bool // nobody in sight had more then
	anew     bool // there may have been others before it that nobody saw
	position Position
}

// mostPlaces bounds what a tracker keeps. When it is full, every second place
// goes, and the places are further apart from then on.
const mostPlaces = 32

// Missed says that the node could not be looked at for some time before the next look.
// What the primary wrote meanwhile may be as old as the last look at which the replica
// had all.
func (t *LagTracker) Missed() { t.missed = true }

// Next takes what a node has just said and returns its lag. fellows are the
// other nodes.
func (t *LagTracker) Next(own *Replication, fellows []Fellow, now time.Time) Lag {
	if own.Role == RoleReplica {
		lag := t.replica(own, fellows, now)
		t.looked, t.last, t.missed = now, lag, false
		return lag
	}
	_, receive := followers(own, fellows)
	closed := receive > 0 && primaryOf(own, fellows) == nil // a primary that takes no writes
	switch {
	case own.Equal, own.Role == RolePrimary && !own.Assumed, closed:
		t.lead(own, fellows, now)
		return Lag{Known: true}
	case own.between() && t.last.Known:
		return Lag{For: t.last.For + now.Sub(t.looked), Known: true}
	}
	*t = LagTracker{}
	return known(own)
}

// lead notes that the node has all that there is. That is not so of an old primary
// beside the new one, and not sure of a member of a group that may not serve.
func (t *LagTracker) lead(own *Replication, fellows []Fellow, now time.Time) {
	*t = LagTracker{}
	switch {
	case own.Equal && own.Unfit == "":
		t.complete, t.looked, t.last.Known = now, now, true
	case !own.Equal && primaryOf(own, fellows) == nil:
		t.looked, t.last.Known = now, true
	}
}

// replica is Next for a replica.
func (t *LagTracker) replica(own *Replication, fellows []Fellow, now time.Time) Lag {
	primary := primaryOf(own, fellows)
	source := primary != nil && !primary.Silent || anyStreams(fellows)
	stream := own.Stream
	strays := primary != nil && stream == StreamRuns && own.Timeline != 0 && own.Timeline < primary.Replication.Timeline
	var lag time.Duration
	var placed, unseen bool
	if strays { // what it receives is not what the primary writes: its place says nothing
		stream, t.places = StreamBroken, nil
	} else {
		lag, placed, unseen = t.behind(own, primary, now)
	}
	// While nobody is in sight who has more, it has all that there is.
	placed = placed || !source && (t.source != "" || stream == StreamBroken)
	cut := t.cutOff(stream, source, now)
	if !t.looked.IsZero() {
		t.gap = now.Sub(t.looked)
	}
	switch {
	case unseen, cut > 0 && !placed && t.streams.IsZero() && (own.Age == 0 || strays):
		return Lag{Why: "it has not all that its primary has, and since when was not seen"}
	case cut > 0 && placed && lag == 0:
		// It has all that the primary has: nothing was written since.
		return Lag{Known: true}
	case cut > 0 && t.streams.IsZero(): // nobody saw when it began
		return Lag{For: max(lag, cut, own.Age), Known: true}
	case cut > 0:
		return Lag{For: max(lag, cut), Known: true}
	case placed:
		return Lag{For: lag, Known: true}
	}
	said := known(own)
	if primary == nil && stream == StreamRuns && said.Known && said.For == 0 {
		t.complete = now // nobody in sight may write
	}
	return said
}

// known is the lag by the node's own account.
func known(own *Replication) Lag {
	if own.Told {
		return Lag{For: own.Said, Known: true}
	}
	why := own.Hidden
	if why == "" {
		why = "the node does not tell it, and no primary of the cluster does"
	}
	return Lag{Why: why}
}

// primaryOf returns the primary whose places a replica has to reach: of several
// the new one. It may not answer any more: what it was seen to have written was
// written. It is nil if no fellow was one.
func primaryOf(own *Replication, fellows []Fellow) (primary *Fellow) {
	for i := range fellows {
		f := &fellows[i]
		if f.Replication.Role != RolePrimary || own.Apart(f.Replication) || own.Group != "" && f.Replication.Alone {
			continue
		}
		if _, outranked := f.Replication.Outranked(f.Promoted, fellows); !outranked {
			primary = f
		}
	}
	return primary
}

func anyStreams(fellows []Fellow) bool {
	for i := range fellows {
		if r := fellows[i].Replication; !fellows[i].Silent && r.Role == RoleReplica && r.Stream == StreamRuns {
			return true
		}
	}
	return false
}

// behind returns the time since the oldest place that the replica has not
// reached. ok is false if no place can be compared with the replica's own. unseen
// says that nobody knows the time.
func (t *LagTracker) behind(own *Replication, primary *Fellow, now time.Time) (lag time.Duration, ok, unseen bool) {
	anew := t.missed || !t.looked.IsZero() && now.Sub(t.looked) > max(longGap, 3*t.gap)
	if primary != nil {
		last := len(t.places) - 1
		receded := last >= 0 && !covers(primary.Replication, t.places[last].position)
		if t.source != "" && t.source != primary.Name || receded { // places that may never be reached
			if t.last.Known && !anew {
				t.turned = t.looked.Add(-t.last.For)
			}
			anew, t.places, t.spacing = true, nil, 0
		}
		t.source = primary.Name
	}
	first := len(t.places) > 0 && !t.advance(own)
	if primary != nil {
		if _, ok = own.has(primary.Replication.Position); ok {
			t.see(own, place{at: primary.Looked, end: true, anew: anew, position: primary.Replication.Position})
		}
	}
	if _, known := own.has(own.Received); known && !ok {
		ok = own.Stream == StreamRuns
		t.see(own, place{at: now, end: ok, anew: anew, position: own.Received})
	}
	if len(t.places) == 0 {
		t.spacing = 0
		return 0, ok, false
	}
	if !first {
		t.since = t.lacksSince(own, t.places[0], now)
	}
	return max(0, now.Sub(t.since)), ok, t.since.IsZero()
}

// advance drops the places that the replica has reached. It reports whether there
// were any.
func (t *LagTracker) advance(own *Replication) (some bool) {
	for len(t.places) > 0 {
		if all, _ := own.has(t.places[0].position); !all {
			break
		}
		t.reach(t.places[0])
		t.places, some = t.places[1:], true
	}
	return some
}

// longGap is the least time without a look after which the primary may have been
// at places that nobody saw.
const longGap = 10 * time.Second

// covers reports whether a primary is at a place, or has passed it.
func covers(primary *Replication, place Position) bool {
	all, known := primary.Position.Compare(place)
	return all || !known
}

// reach notes that the replica has all that there is at a place.
func (t *LagTracker) reach(p place) {
	if p.end && p.at.After(t.complete) {
		t.complete = p.at
	}
}

// see notes a place if the replica has not reached it.
func (t *LagTracker) see(own *Replication, p place) {
	if all, _ := own.has(p.position); all {
		t.reach(p)
		return
	}
	p.anew = p.anew || len(t.places) == 0 && t.spacing > 0
	t.note(p)
}

// lacksSince returns since when a replica lacks what is at the first place that it
// has not reached. That may have been written at any time since the replica had all,
// but not before the last transaction that it has applied.
func (t *LagTracker) lacksSince(own *Replication, p place, now time.Time) time.Time {
	applied := now.Add(-own.Age)
	if own.Age == 0 {
		applied = now.Add(-own.Said)
	}
	switch {
	case own.Age == 0 && !own.Told && t.complete.IsZero():
		return time.Time{}
	case own.Age == 0 && p.anew && !t.complete.IsZero(): // its own word is not enough
		if t.turned.After(t.complete) {
			return t.turned
		}
		return t.complete
	case own.Age == 0 && !own.Told, !applied.Before(p.at):
		return p.at
	case applied.Before(t.complete):
		applied = t.complete
	}
	if applied.Before(p.at) {
		return applied
	}
	return p.at
}

// note keeps a place, unless the one before it is nearly as new.
func (t *LagTracker) note(p place) {
	if n := len(t.places); n > 0 {
		last := t.places[n-1]
		if !p.at.After(last.at.Add(t.spacing)) {
			return
		}
	}
	if len(t.places) == mostPlaces {
		kept := make([]place, 0, mostPlaces)
		for i := 0; i < len(t.places); i += 2 {
			kept = append(kept, t.places[i])
		}
		t.spacing = 2 * max(t.spacing, p.at.Sub(t.places[0].at)/mostPlaces)
		t.places = kept
	}
	t.places = append(t.places, p)
}

// cutOff returns how long a replica has received nothing while there is a source
// to receive from. While no primary is in sight and no fellow receives anything,
// it is not the replica that is cut off.
func (t *LagTracker) cutOff(stream Stream, source bool, now time.Time) time.Duration {
	switch {
	case stream == StreamRuns:
		t.streams, t.broken = now, time.Time{}
		return 0
	case stream == StreamUnknown:
		return 0
	case !source:
		if t.broken.IsZero() && !t.streams.IsZero() {
			t.streams = now // until now it has missed nothing
		}
		return 0
	case t.broken.IsZero():
		t.broken = now
		if !t.streams.IsZero() {
			t.broken = t.streams
		}
	}
	return max(1, now.Sub(t.broken))
}
