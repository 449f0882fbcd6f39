package counts

import (
	"encoding/json"
	"sync/atomic"
	"time"

	"github.com/EnumApps/clustersql/internal/jsonform"
)

// Sessions counts the calls of sessions on one node; see SessionReads of the root.
type Sessions struct {
	Known, Asked, Waited, Moved atomic.Uint64
	Positions, Missed           atomic.Uint64
	Time                        atomic.Int64 // of those in Waited and Moved, in nanoseconds
}

// Reads returns the counts as they are now.
func (c *Sessions) Reads() SessionReads {
	return SessionReads{
		Known: c.Known.Load(), Asked: c.Asked.Load(), Waited: c.Waited.Load(), Moved: c.Moved.Load(),
		WaitTime: time.Duration(c.Time.Load()), Positions: c.Positions.Load(), Missed: c.Missed.Load(),
	}
}

// SessionReads are the counts of one moment. The fields are those of the root's
// SessionReads.
type SessionReads struct {
	Known  uint64 `json:"known"`
	Asked  uint64 `json:"asked"`
	Waited uint64 `json:"waited"`
	Moved  uint64 `json:"moved"`

	WaitTime  time.Duration `json:"-"`
	Positions uint64        `json:"positions"`
	Missed    uint64        `json:"missed"`
}

type plainSessionReads SessionReads

type sessionJSON struct {
	*plainSessionReads
	WaitTime jsonform.Seconds `json:"wait_seconds"`
}

// MarshalJSON writes the counts with the names that the manual has.
func (r SessionReads) MarshalJSON() ([]byte, error) {
	return json.Marshal(sessionJSON{(*plainSessionReads)(&r), jsonform.Seconds(r.WaitTime)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *SessionReads) UnmarshalJSON(text []byte) error {
	in := sessionJSON{plainSessionReads: new(plainSessionReads)}
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	*r = SessionReads(*in.plainSessionReads)
	r.WaitTime = time.Duration(in.WaitTime)
	return nil
}
