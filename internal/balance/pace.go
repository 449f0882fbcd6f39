package balance

import (
	"math"
	"time"
)

// A Pace spreads giving way over time: in a second, a fifth of what was too
// many at the start, and at least one. What is not used in its time is lost.
// The zero Pace has not begun.
type Pace struct {
	start  int       // the excess at the start; 0 while there is none
	at     time.Time // of the last turns
	credit float64   // a part of a turn, carried over
}

const (
	PaceFifth   = 5
	paceLongest = 1.25 // seconds that count at a time, a little over the longest jittered tick at the default interval
)

// Begun reports whether connections give way.
func (p *Pace) Begun() bool { return p.start > 0 }

// Turns returns how many connections may give way now, of so many too many.
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
