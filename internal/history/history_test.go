package history

import (
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// A node that changes all the time keeps as many changes as are drawn, and no more.
func TestPastOfAFlappingNode(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := Past{Added: now}
	for i := range 10 * ChangesKept {
		from, to := health.Up, health.Down
		if i%2 == 1 {
			from, to = to, from
		}
		p.Note(from, to, "silent", now.Add(time.Duration(i)*time.Second))
	}
	if len(p.States()) != ChangesKept || cap(p.states) > 4*ChangesKept {
		t.Errorf("%d states are kept, with room for %d", len(p.States()), cap(p.states))
	}
	if down := p.Downtime(now.Add(time.Hour)); p.Downs != 5*ChangesKept || down != 5*ChangesKept*time.Second {
		t.Errorf("down %d times, for %v", p.Downs, down)
	}
	if len(p.Changes) != 2 || p.Changes[0].Count != 5*ChangesKept {
		t.Errorf("changes: %+v", p.Changes)
	}
}

// The last events are kept, oldest first, and each has the number after that of the
// one before.
func TestLogKeepsTheLastEvents(t *testing.T) {
	var l Log[uint64]
	for n := range uint64(3*EventsKept + 7) {
		l.Note(func(seq uint64) uint64 { return seq })
		events := l.Recent()
		if len(events) != int(min(n+1, EventsKept)) || events[len(events)-1] != n+1 || events[0] != n+2-uint64(len(events)) {
			t.Fatalf("after %d: %v", n+1, events)
		}
	}
}
