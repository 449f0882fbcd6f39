package balance

import (
	"math"
	"time"
)

// A Pace limits how fast connections give way. In one second it allows a fifth
// of the excess at the start, and at least one. Turns that are not used in time
// are lost. The zero Pace has not begun.
type Pace struct {
	start  int       // the excess at the start; 0 while there is none
	at     time.Time // when turns were last given
	credit float64   // the fraction of a turn that is carried over
}

const (
	// PaceFifth is the part of the excess that gives way in a second: one in
	// so many.
	PaceFifth = 5
	// paceLongest is the longest time that one call of Turns counts, in
	// seconds: a little over the longest jittered tick at the default interval.
	paceLongest = 1.25
)

// Begun reports whether connections have begun to give way.
func (p *Pace) Begun() bool { return p.start > 0 }

// Turns returns how many connections may give way now, when tooMany are too
// many.
func (p *Pace) Turns(tooMany int, now time.Time) int {
	if tooMany == 0 {
		*p = Pace{}
		return 0
	}
	if p.start == 0 {
		p.at = now.Add(-time.Second)
	}
	p.start = max(p.start, tooMany)
	rate := max(1, float64(p.start)/PaceFifth)
	p.credit += rate * min(now.Sub(p.at).Seconds(), paceLongest)
	p.at = now
	n := min(int(p.credit), tooMany)
	p.credit -= math.Floor(p.credit)
	return n
}
