package gate

import "testing"

// A guest of these tests asks the hosts from a number on.
type guest struct {
	seat Seat[int]
	from int
}

func (g *guest) Seat() *Seat[int]  { return &g.seat }
func (g *guest) MayAsk(h int) bool { return h >= g.from }
func (g *guest) calls() (n int)    { return len(g.seat.called) }
func guests(from ...int) (gs []*guest) {
	for _, f := range from {
		gs = append(gs, &guest{from: f})
	}
	return gs
}

// called takes the calls, and returns the indexes of those who got one.
func called(gs []*guest) (who []int) {
	for i, g := range gs {
		select {
		case <-g.seat.Called():
			who = append(who, i)
		default:
		}
	}
	return who
}

// A host has room for one and calls the oldest guest. That one departs before it has
// asked, so the next one is called. A guest that has asked passes on nothing.
func TestCallIsPassedOn(t *testing.T) {
	var room Room[int, *guest]
	gs := guests(1, 1, 1)
	for _, g := range gs {
		if !room.Enter(g) || room.Enter(g) {
			t.Error("a guest waits twice")
		}
	}
	room.Invite(1, 1)
	if who := called(gs); len(who) != 1 || who[0] != 0 {
		t.Errorf("%v were called", who)
	}
	room.Depart(gs[0])
	if who := called(gs); len(who) != 1 || who[0] != 1 {
		t.Errorf("%v were called instead of the one that departed", who)
	}
	room.Leave(gs[1])
	room.Depart(gs[1])
	if who := called(gs); len(who) != 0 || room.Waiting() != 1 {
		t.Errorf("%v were called, %d wait", who, room.Waiting())
	}
}

// A host does not call a guest to whom it is of no use. The others are called, up to
// the room that there is.
func TestOnlyThoseWhoMayAskAreCalled(t *testing.T) {
	var room Room[int, *guest]
	gs := guests(2, 1, 1, 1)
	for _, g := range gs {
		room.Enter(g)
	}
	room.Invite(1, 2)
	if gs[0].calls() != 0 || gs[1].calls() != 1 || gs[2].calls() != 1 || gs[3].calls() != 0 || room.Waiting() != 2 {
		t.Error("called:", gs[0].calls(), gs[1].calls(), gs[2].calls(), gs[3].calls())
	}
}
