package health

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Role is the part that a node has in replication.
type Role uint8

const (
	RoleUnknown Role = iota // it does not say
	RolePrimary             // it follows no other server
	RoleReplica             // it follows another server: a standby
)

// String returns the role's name in lower case.
func (r Role) String() string { return [...]string{"unknown", "primary", "replica"}[r] }

// Access says whether transactions on a node may write.
type Access uint8

const (
	AccessUnknown Access = iota // it does not say
	AccessWrite
	AccessRead
)

// String returns libpq's word for it.
func (a Access) String() string { return [...]string{"unknown", "read-write", "read-only"}[a] }

// A Stream says whether a replica receives and applies what its source writes.
type Stream uint8

const (
	StreamUnknown Stream = iota // it does not say, or may not say it to this account
	StreamRuns
	StreamBroken
)

// A Replication is what a node says of its part in replication. The dialect
// fills it in, and nobody changes it after that.
type Replication struct {
	Role   Role
	Access Access
	// Assumed says that the node does not tell whom it follows, if anybody: Role is
	// what Access suggests.
	Assumed bool
	// Equal says that several nodes may be primaries at once, as in Galera, or
	// that their group sees to it that there is one.
	Equal bool
	Unfit string // why the node says that it may not serve; "" if it may

	// Group is the name of the group that the node is set up for, and whose
	// members decide who may serve: to be looked at by every probe. "" if none.
	Group string
	Alone bool // it is not in that group, and takes writes
	View  View // of a member; its Group tells a group from those of the same name before it

	System   string // nodes with another one have other data: PostgreSQL's system_identifier; "" if unknown
	Timeline uint64 // grows with every promotion; 0 if unknown
	Server   string // the node's own number among its fellows; "" if unknown
	Source   string // of a replica: the Server that it follows; "" if unknown

	Position Position // what a primary has written, or a replica has applied
	Whole    bool     // Position leaves no origin out: of one that is not there it has nothing
	Received Position // what a replica has received
	Stream   Stream   // of a replica
	Fault    string   // of a stream that is broken: what the node says; "" if nothing

	// Said is the lag by the node's own account, if Told.
	Said time.Duration
	Told bool
	// Age is the age of the last transaction that a replica has applied, by the
	// node's clock. It is no lag where the primary is idle. 0 if unknown.
	Age time.Duration
	// Hidden says why the node does not tell all, such as a missing right.
	Hidden string
}

// Completed returns what a node says, with what it said before where it does not
// tell all now, for a reason of its own: a question that got no answer, or a right.
func (r Replication) Completed(before *Replication) Replication {
	if r.Hidden == "" || before == nil {
		return r
	}
	if (r.Role == RoleUnknown || r.Assumed) && r.Access == before.Access {
		r.Role, r.Assumed = before.Role, before.Assumed
	}
	if r.Group == before.Group && r.View.Conf == 0 {
		r.View = before.View
	}
	if r.Role == before.Role {
		r.System, r.Timeline = cmp.Or(r.System, before.System), cmp.Or(r.Timeline, before.Timeline)
	}
	return r
}

// between reports whether a node says that it follows nobody and takes no writes, as
// between two roles. It gets nothing new meanwhile.
func (r *Replication) between() bool {
	return r.Role == RoleUnknown && r.Access == AccessRead && r.Hidden == "" && r.Unfit == ""
}

// A Position is how far a node is in what is replicated: for each origin of
// transactions how many there are. It is sorted by origin.
type Position []Mark

// A Mark is how far a node is with the transactions of one origin: a place in
// the log, or their number.
type Mark struct {
	Origin string
	At     uint64
}

// NewPosition returns the position with these marks. It keeps marks.
func NewPosition(marks []Mark) Position {
	slices.SortFunc(marks, func(a, b Mark) int { return cmp.Compare(a.Origin, b.Origin) })
	return marks
}

// shownMarks is how many origins of a position are shown.
const shownMarks = 4

// String returns the position for people: each origin with how far it is, and the
// place in a log that has no origins as PostgreSQL writes it.
func (p Position) String() string {
	var b strings.Builder
	shown := 0
	for i, m := range p {
		switch {
		case m.At == 0:
			continue
		case shown == shownMarks:
			fmt.Fprintf(&b, ", and %d more", len(p)-i)
			return b.String()
		case shown > 0:
			b.WriteString(", ")
		}
		shown++
		if m.Origin == "" {
			fmt.Fprintf(&b, "%X/%X", m.At>>32, uint32(m.At))
			continue
		}
		fmt.Fprintf(&b, "%s:%d", m.Origin, m.At)
	}
	return b.String()
}

// Place returns how far the node is in what is replicated, for people. A node of a
// Galera group says that with its view.
func (r *Replication) Place(v View) string {
	if v.Seqno > 0 {
		return strconv.FormatUint(v.Seqno, 10)
	}
	return r.Position.String()
}

// Compare says whether p has all of what q has. Origins that p does not know may
// be filtered: they are left out. known is false if they have none in common.
func (p Position) Compare(q Position) (reached, known bool) {
	reached, _, known = p.compare(q)
	return reached, known
}

// compare is Compare. whole says that p knows all origins of q.
func (p Position) compare(q Position) (reached, whole, known bool) {
	reached, whole = true, true
	for _, m := range q {
		i, ok := slices.BinarySearchFunc(p, m.Origin, func(own Mark, origin string) int { return cmp.Compare(own.Origin, origin) })
		if !ok {
			whole = false
			continue
		}
		known = true
		reached = reached && p[i].At >= m.At
	}
	return reached, whole, known
}

// has says whether the node has all that there is at a place. known is false if
// that cannot be compared.
func (r *Replication) has(place Position) (all, known bool) {
	reached, whole, known := r.Position.compare(place)
	return reached && (whole || !r.Whole || !known), known
}

// A Fellow is another node of the cluster that has told its part in replication.
type Fellow struct {
	Name        string
	Replication *Replication // what it said last
	Looked      time.Time
	Usable      bool      // opens may go to it
	Silent      bool      // it has given no good answer since
	Gone        bool      // and not for so long that it is not waited for
	Promoted    time.Time // when it was first seen as a primary after it was a replica; zero: it never was
}

// Apart reports whether two nodes say that they have other data.
func (r *Replication) Apart(q *Replication) bool {
	return r.System != "" && q.System != "" && r.System != q.System
}

// Outranked returns the node to which a primary gives way: of two primaries of
// the same data one is an old one, and what is written there is lost. The one
// with the later timeline is the new one. Where there are no timelines it is the one
// that was promoted later, as this cluster has seen it, then the one that others
// follow. ok is false if there is none, or if nothing tells which is which: they
// may be two names of one server. promoted is when the node itself was promoted.
func (r *Replication) Outranked(promoted time.Time, fellows []Fellow) (f Fellow, ok bool) {
	if r.Role != RolePrimary || r.Equal {
		return Fellow{}, false
	}
	for _, f := range fellows {
		if q := f.Replication; q.Role == RolePrimary && !q.Equal && !r.Apart(q) && r.older(promoted, &f, fellows) {
			return f, true
		}
	}
	return Fellow{}, false
}

// Passed returns a replica that shows that a primary of the same data is an old one:
// it streams on a later timeline, so another server was promoted, whether anybody has
// seen that server or not. A replica that receives nothing shows that only if it is
// the one named rival, to which the primary has given way before: its timeline may be
// one that nobody serves.
func (r *Replication) Passed(rival string, fellows []Fellow) (f Fellow, ok bool) {
	if r.Role != RolePrimary || r.Equal || r.Timeline == 0 {
		return Fellow{}, false
	}
	for _, f := range fellows {
		if q := f.Replication; q.Role == RoleReplica && !r.Apart(q) && q.Timeline > r.Timeline && (q.Stream == StreamRuns || f.Name == rival) {
			return f, true
		}
	}
	return Fellow{}, false
}

// FollowsAnother reports whether a replica is known to follow a server that is not
// this one.
func (r *Replication) FollowsAnother(replica *Replication) bool {
	return replica.Role == RoleReplica && replica.Source != "" && r.Server != "" && replica.Source != r.Server
}

// Outside reports whether the group that a node is set up for runs without it, by
// what its fellows in the group show. A node that is in none says so. A member that
// was frozen says for seconds that it is in, and what it has is old: its view is
// older than theirs. That is asked only of a node that is not in use: members do
// not install a view at the same moment.
func (r *Replication) Outside(used bool, fellows []Fellow) bool {
	for _, f := range fellows {
		q := f.Replication
		if r.Group == "" || q.Group != r.Group || q.Alone || q.Unfit != "" {
			continue
		}
		if r.Alone || !used && r.View.Conf != 0 && r.View.Group == q.View.Group && r.View.Conf < q.View.Conf {
			return true
		}
	}
	return false
}

// older reports whether another primary of the same data is the new one.
func (r *Replication) older(promoted time.Time, f *Fellow, fellows []Fellow) bool {
	q := f.Replication
	switch order := f.Promoted.Compare(promoted); {
	case r.Timeline != 0 && q.Timeline != 0: // two servers never have the same one
		return q.Timeline > r.Timeline
	case r.Server != "" && r.Server == q.Server:
		return false
	case order != 0:
		return order > 0
	}
	own, ownRuns := followers(r, fellows)
	theirs, theirsRun := followers(q, fellows)
	if theirsRun != ownRuns {
		return theirsRun > ownRuns
	}
	return theirs > own
}

// followers counts the replicas that follow a primary, by what they have said last,
// and those of them that answer and receive: of a primary that is dead nobody
// receives.
func followers(r *Replication, fellows []Fellow) (all, receive int) {
	for _, f := range fellows {
		if q := f.Replication; r.Server != "" && q.Role == RoleReplica && q.Source == r.Server {
			if all++; !f.Silent && q.Stream == StreamRuns {
				receive++
			}
		}
	}
	return all, receive
}

// Elsewhere reports whether a node has other data than most of its fellows. Of
// two halves the one that is in use counts as most, then the one that comes first
// by name of the data. used says that the node itself is in use.
func (r *Replication) Elsewhere(used bool, fellows []Fellow) bool {
	if r.System == "" {
		return false
	}
	parties := add(nil, &View{Group: r.System}, used)
	for _, f := range fellows {
		if f.Replication.System != "" {
			parties = add(parties, &View{Group: f.Replication.System}, f.Usable)
		}
	}
	for i := range parties {
		if parties[i].outranks(&parties[0]) {
			return true
		}
	}
	return false
}
