package balance

import (
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// A Step is a [Launch] of a node that exists, in the plan of an open. It starts when its
// wait is over, or when earlier ones have failed.
type Step[N any] struct {
	Node N
	Wait time.Duration // after the step before it
	// Reserve means that failures start this step early only when all steps before it
	// have failed.
	Reserve bool
}

// A Plan is what one open does, step by step. Steps without a wait start together with
// the one before them: they are one wave.
type Plan[N any] []Step[N]

// Waits reports whether any step waits.
func (p Plan[N]) Waits() bool {
	for i := range p {
		if p[i].Wait > 0 {
			return true
		}
	}
	return false
}

// Enough returns with how many steps that have not failed the step next starts early.
func (p Plan[N]) Enough(next int) int {
	if p[next].Reserve {
		return len(p) - next
	}
	return len(p)
}

// HeadStart returns for how long a step had the open to itself before the next wave, if
// another step is of a later wave; else 0.
func (p Plan[N]) HeadStart(step, other int) time.Duration {
	for i := step + 1; i <= other; i++ {
		if p[i].Wait > 0 {
			return p[i].Wait
		}
	}
	return 0
}

// A Roster holds usable nodes, and what the strategy gets to know about each.
type Roster[N any] struct {
	Nodes   []N
	Members []Member
}

// Clear empties the roster. It keeps its room.
func (r *Roster[N]) Clear() {
	clear(r.Nodes)
	clear(r.Members)
	r.Nodes, r.Members = r.Nodes[:0], r.Members[:0]
}

// Mixed reports whether there are nodes of last resort, and others that are preferred.
func (r *Roster[N]) Mixed() bool { return r.has(lastResort) && r.has(preferred) }

// has reports whether there is a node of a kind.
func (r *Roster[N]) has(kind func(m *Member) bool) bool {
	for i := range r.Members {
		if kind(&r.Members[i]) {
			return true
		}
	}
	return false
}

// Split returns the nodes of last resort and the others apart.
func (r *Roster[N]) Split() (others, rest *Roster[N]) {
	others, rest = new(Roster[N]), new(Roster[N])
	for i := range r.Members {
		part := others
		if lastResort(&r.Members[i]) {
			part = rest
		}
		part.Nodes, part.Members = append(part.Nodes, r.Nodes[i]), append(part.Members, r.Members[i])
	}
	return others, rest
}

// lastResort reports whether the node is asked after the others, whatever order
// the strategy gives.
func lastResort(m *Member) bool { return m.Donor || m.Full || m.Second }

// preferred reports whether the node is up and not one of last resort.
func preferred(m *Member) bool { return m.State == health.Up && !lastResort(m) }
