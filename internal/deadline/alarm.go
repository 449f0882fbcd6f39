package deadline

import "time"

// An Alarm tells one goroutine that a time has come, again and again with one timer. The
// zero Alarm is off.
type Alarm struct {
	Last  time.Time // when it goes off at the latest; zero if there is no such time
	timer *time.Timer
}

// At returns a channel that receives at the given time, or at the last one if that is
// earlier. at may be zero: then it is for the last one alone. If there is none, the
// channel is nil. An earlier alarm is off then.
func (a *Alarm) At(at time.Time) <-chan time.Time {
	if at.IsZero() || !a.Last.IsZero() && a.Last.Before(at) {
		at = a.Last
	}
	if at.IsZero() {
		return nil
	}
	wait := max(time.Until(at), 1)
	if a.timer == nil {
		a.timer = time.NewTimer(wait)
	} else {
		a.timer.Reset(wait)
	}
	return a.timer.C
}

// Over reports whether the last time has come.
func (a *Alarm) Over() bool { return !a.Last.IsZero() && !time.Now().Before(a.Last) }

// Stop puts the alarm off.
func (a *Alarm) Stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}
