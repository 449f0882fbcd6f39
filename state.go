package clustersql

import "fmt"

// State is what a cluster thinks of one of its nodes.
type State uint8

const (
	// StateUnknown is a node that was never heard of.
	StateUnknown State = iota
	// StateUp is a node whose last check passed.
	StateUp
	// StateSuspect is a node with one sign of trouble; it is still used and
	// is being checked.
	StateSuspect
	// StateDown is a node that refused, or kept silent; it is left out of
	// opens while another node is usable, and tested in the background.
	StateDown
	// StateDraining is a node that the program drains or has removed: opens
	// do not go there, and what runs there may end.
	StateDraining
)

// String returns the state's name in lower case.
func (s State) String() string {
	names := [...]string{"unknown", "up", "suspect", "down", "draining"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}
