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
// longer by the time between two looks.
//
// The zero LagTracker has seen nothing.
type LagTracker struct {
	source  string  // whose places they are
	places  []place // not reached yet, oldest first
	spacing time.Duration
	looked  time.Time // the last look; zero before the first
	caught  bool      // it has reached a place
	streams time.Time // the last look at which it received; zero if it never did
	broken  time.Time // the first look at which it did not; zero while it does
}

// A place is where a log was at a time.
type place struct {
	at       time.Time
	position Position
}

// mostPlaces bounds what a tracker keeps. When it is full, every second place
// goes, and the places are further apart from then on.
const mostPlaces = 32

// Next takes what a node has just said and returns its lag. fellows are the
// other nodes. absent says that the node did not answer before: what its primary
// did meanwhile counts from the last look on.
func (t *LagTracker) Next(own *Replication, fellows []Fellow, absent bool, now time.Time) Lag {
	switch own.Role {
	case RolePrimary:
		*t = LagTracker{}
		return Lag{Known: true}
	case RoleUnknown:
		*t = LagTracker{}
		return known(own)
	}
	var since time.Time // if it has not all, it may have lacked something since then
	switch {
	case t.looked.IsZero():
		since = now.Add(-own.Age)
	case absent:
		since = t.looked
	}
	t.looked = now
	primary := primaryOf(own, fellows)
	source := primary != nil && primary.Answers || anyStreams(fellows)
	stream := own.Stream
	lag, placed := t.behind(own, primary, since, now)
	if primary != nil && stream == StreamRuns && own.Timeline != 0 && own.Timeline < primary.Replication.Timeline {
		stream, lag, placed = StreamBroken, 0, false // it follows an old primary: its place says nothing
	}
	// While nobody is in sight who has more, it has all that there is.
	placed = placed || primary == nil && t.source != "" || !source && stream == StreamBroken
	cut := t.cutOff(stream, source, now)
	switch {
	case cut > 0 && placed && lag == 0:
		// It has all that the primary has: nothing was written since.
		return Lag{Known: true}
	case placed && lag > 0 && !t.caught && own.Age == 0 && own.Said == 0:
		return Lag{Why: "the node is behind, and does not tell since when"}
	case placed && lag > 0 && !t.caught: // nobody saw when it began
		return Lag{For: max(lag, cut, own.Age, own.Said), Known: true}
	case cut > 0 && t.streams.IsZero():
		return Lag{For: max(lag, cut, own.Age), Known: true}
	case cut > 0:
		return Lag{For: max(lag, cut), Known: true}
	case placed:
		return Lag{For: lag, Known: true}
	}
	return known(own)
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
		if f.Replication.Role != RolePrimary || own.apart(f.Replication) || own.Group != "" && f.Replication.Alone {
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
		if r := fellows[i].Replication; fellows[i].Answers && r.Role == RoleReplica && r.Stream == StreamRuns {
			return true
		}
	}
	return false
}

// behind returns the time since the oldest place that the replica has not
// reached. ok is false if no place can be compared with the replica's own.
func (t *LagTracker) behind(own *Replication, primary *Fellow, since, now time.Time) (lag time.Duration, ok bool) {
	if primary != nil {
		if primary.Name != t.source { // the places of an old primary may never be reached
			t.source, t.places, t.spacing = primary.Name, nil, 0
		}
		var reached bool
		if reached, ok = own.Position.Compare(primary.Replication.Position); ok {
			at := primary.Looked
			if !since.IsZero() && since.Before(at) && !reached {
				at = since
			}
			t.note(place{at, primary.Replication.Position})
		}
	}
	if _, known := own.Position.Compare(own.Received); known && !ok {
		ok = own.Stream == StreamRuns
		t.note(place{now, own.Received})
	}
	for len(t.places) > 0 {
		if reached, _ := own.Position.Compare(t.places[0].position); !reached {
			return max(0, now.Sub(t.places[0].at)), ok
		}
		t.places, t.caught = t.places[1:], true
	}
	return 0, ok
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
