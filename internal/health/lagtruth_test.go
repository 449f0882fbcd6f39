package health

import (
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/seedtest"
)

// A model is a primary that writes, and a standby of PostgreSQL with its troubles,
// in steps of 100 ms.
type model struct {
	now      time.Time
	writes   []time.Time // when the primary wrote what; a place is their number
	received int
	applied  int
	idle     bool // the primary
	cut      bool // the standby receives nothing
	paused   bool // the standby applies nothing
}

func (m *model) step(busy bool) {
	m.now = m.now.Add(100 * time.Millisecond)
	if !m.cut {
		m.received = len(m.writes)
	}
	if !m.paused {
		m.applied = m.received
	}
	if !m.idle && busy {
		m.writes = append(m.writes, m.now)
	}
}

// lag is the age of the oldest write that the standby has not applied.
func (m *model) lag() time.Duration {
	if m.applied == len(m.writes) {
		return 0
	}
	return m.now.Sub(m.writes[m.applied])
}

func (m *model) standby() *Replication {
	r := &Replication{Role: RoleReplica, Position: at(uint64(m.applied + 1)), Received: at(uint64(m.received + 1)), Stream: StreamRuns}
	if m.applied > 0 {
		r.Age = max(1, m.now.Sub(m.writes[m.applied-1]))
	}
	if m.cut {
		r.Stream = StreamBroken
	}
	return r
}

// Whatever happens: the lag is never below the truth by more than the time between
// two looks, and a few parts of it where places were left out. It is above it by more
// only while the standby receives nothing, or after a time without a look, until it
// has caught up.
func TestLagIsNearTheTruth(t *testing.T) {
	draws := seedtest.Rand(t)
	for round := range 300 {
		m := &model{now: noon}
		var tracker LagTracker
		var primary Fellow
		frozen, unseen := false, false
		full, streamed := noon, noon // the last looks at which it had all, and received
		for range 50 {
			m.step(true)
		}
		for step := range 3000 {
			if draws.IntN(60) == 0 {
				switch draws.IntN(4) {
				case 0:
					m.idle = !m.idle
				case 1:
					m.cut = !m.cut
				case 2:
					m.paused = !m.paused
				case 3:
					frozen = !frozen
				}
			}
			unseen = unseen || frozen
			if frozen { // it neither receives nor applies, and is not looked at
				was := *m
				m.cut, m.paused = true, true
				m.step(draws.IntN(3) > 0)
				m.cut, m.paused = was.cut, was.paused
			} else {
				m.step(draws.IntN(3) > 0)
			}
			if step%10 == 3 {
				primary = Fellow{Name: "p", Looked: m.now, Replication: &Replication{Role: RolePrimary, Position: at(uint64(len(m.writes) + 1))}}
			}
			if step%10 != 7 || frozen || primary.Name == "" {
				continue
			}
			got, truth := tracker.Next(m.standby(), []Fellow{primary}, m.now), m.lag()
			most := truth
			if m.cut {
				most = max(most, m.now.Sub(streamed))
			} else {
				streamed = m.now
			}
			if unseen {
				most = max(most, m.now.Sub(full))
			}
			if own := m.standby(); own.Position[0].At >= primary.Replication.Position[0].At {
				full, unseen = primary.Looked, false
			}
			if between := 1100 * time.Millisecond; got.Known && (got.For < truth*7/8-between || got.For > most*5/4+3*between) {
				t.Fatalf("round %d, step %d: %s, and it is %s, at most %s: %+v", round, step, got.For, truth, most, m.standby())
			}
			if !got.Known && truth < time.Second {
				t.Fatalf("round %d, step %d: not known (%s), and it is %s", round, step, got.Why, truth)
			}
		}
	}
}
