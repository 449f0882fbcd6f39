package balance

// An Order is how a strategy ranks the members.
type Order uint8

const (
	Together    Order = iota // as Race
	ByRoundTrip              // as Hedged
	ByWindow                 // as Balanced
	ByTurn                   // as Ordered
)

// A Behind says why a member is not among those that an open asks first.
type Behind uint8

const (
	InFront         Behind = iota // it is
	BehindSuspect                 // it is suspect, and the first one is not
	BehindRole                    // it is not of the preferred role
	BehindReturning               // it came back a short time ago
	BehindTier                    // its priority is a later one
	BehindUnknown                 // it was never heard of, or not measured yet
	BehindSlower                  // its round trip is longer
	BehindName                    // its name is a later one
)

// Front says of every member why it is not among those that an open asks first,
// and which member is one that it asks first. Without members first is -1.
func Front(members []Member, order Order) (why []Behind, first int) {
	why = make([]Behind, len(members))
	var plan []Launch
	switch order {
	case Together:
		plan = Race(members)
	case ByTurn:
		plan = InTurn(members)
	default:
		plan = byLatency(members)
	}
	if len(plan) == 0 {
		return why, -1
	}
	first = plan[0].At
	near := make([]bool, len(members))
	if order == ByWindow {
		for _, i := range withinWindow(members, plan) {
			near[plan[i].At] = true
		}
	}
	start := startingPriority(members)
	for i := range members {
		if i == first || near[i] {
			continue
		}
		why[i] = behind(&members[i], &members[first], order, start)
	}
	return why, first
}

// behind says by what m comes after the first.
func behind(m, first *Member, order Order, start int) Behind {
	if order == Together {
		if max(m.Priority, start) > max(first.Priority, start) {
			return BehindTier
		}
		return InFront
	}
	switch {
	case m.suspect() && !first.suspect():
		return BehindSuspect
	case m.Second && !first.Second:
		return BehindRole
	case order == ByTurn && m.Returning && !first.Returning:
		return BehindReturning
	case m.Priority > first.Priority:
		return BehindTier
	case order == ByTurn:
		return BehindName
	case rank(m) > rank(first):
		return BehindUnknown
	case m.RoundTrip.Mean() > first.RoundTrip.Mean():
		return BehindSlower
	}
	return BehindName
}
