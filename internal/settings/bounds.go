package settings

import (
	"fmt"
	"time"
)

// Duration returns what is wrong with a duration that must be at least a millisecond,
// and the remedy; empty if nothing is.
func Duration(d, most time.Duration) (problem string) {
	switch {
	case d <= 0:
		return fmt.Sprintf("%s is not a positive duration: write one with a unit, as in \"1.5s\"", d)
	case d < time.Millisecond:
		return fmt.Sprintf("%s is under a millisecond: write the duration with its unit, as in \"1.5s\"", d)
	}
	return tooLong(d, most)
}

// Limit is Duration for one that is 0, for no limit, or at least so long.
func Limit(d, least, most time.Duration) (problem string) {
	if d < 0 || d > 0 && d < least {
		return fmt.Sprintf("%s is too short: write at least \"%s\", or \"0s\" for no limit", d, least)
	}
	return tooLong(d, most)
}

func tooLong(d, most time.Duration) string {
	if d <= most {
		return ""
	}
	return fmt.Sprintf("%s is too long: write \"%dh\" at most", d, most/time.Hour)
}

// Count is Duration for a number that must be at least 1.
func Count(n, most int) (problem string) {
	switch {
	case n < 1:
		return fmt.Sprintf("%d is too small: it must be at least 1", n)
	case n > most:
		return fmt.Sprintf("%d is too large: write a number from 1 to %d", n, most)
	}
	return ""
}
