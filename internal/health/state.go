package health

// State is what a cluster thinks of one of its nodes.
type State uint8

const (
	Unknown  State = iota // nothing has been heard of it yet
	Up                    // the last check passed
	Suspect               // one sign of trouble: still used, ranked last, and being checked
	Down                  // refused or silent: not used while another node is usable
	Draining              // drained or removed by the program
)

// String returns the state's name in lower case.
func (s State) String() string {
	return [...]string{"unknown", "up", "suspect", "down", "draining"}[s]
}

// Usable reports whether opens go to a node in this state.
func (s State) Usable() bool { return s != Down && s != Draining }
