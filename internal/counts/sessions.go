package counts

import "sync/atomic"

// Sessions counts the calls of sessions on one node; see SessionReads of the root.
type Sessions struct {
	Known, Asked, Waited, Moved atomic.Uint64
	Positions, Missed           atomic.Uint64
	Time                        atomic.Int64 // of those in Waited and Moved, in nanoseconds
}
