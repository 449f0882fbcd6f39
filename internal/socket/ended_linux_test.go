package socket

import "testing"

// A system that gives no state ends no connection.
func TestOver(t *testing.T) {
	const established, closed, closeWait = 1, 7, 8
	for state, want := range map[byte]bool{0: false, established: false, closed: true, closeWait: true} {
		if got := over(state); got != want {
			t.Errorf("state %d: %v", state, got)
		}
	}
}
