package health

// sight is a set of things that a check may look at. A node that was taken
// down by what only one of them shows comes up by a check that looked at it.
type Scope uint8

const (
	ScopeWork   Scope = 1 << iota // whether the node does work: DO 1
	ScopeStatus                   // the node's own status: the galera check's query
	ScopeView                     // the number of its view of the group
)

// statusEvery is how many probes of a node that is well have one status query.
const StatusEvery = 5

// A finding goes with one run of a check, in its context: what the check is
// asked to look at, and what it saw. It is used by the goroutine of that run
// alone.
type Report struct {
	Want       Scope
	AllowDonor bool

	Saw   Scope
	Donor bool // fit, but to be used last
	View  *View
}

// evidence is what a check that passed says about the node.
func (f *Report) Evidence() Evidence {
	return Evidence{OK: true, Saw: f.Saw, Donor: f.Donor, View: f.View}
}
