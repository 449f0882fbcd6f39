package statuspage

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// count groups the digits of a number by narrow spaces.
func count[N int | uint64](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	if len(digits) <= 4 {
		return digits
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteRune('\u202f')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// took returns how long something took, with about three digits.
func took(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.2f s", ms/1000)
}

// lasting returns a time span as people say it: its two largest units. page.js
// has the same.
func lasting(d time.Duration) string {
	s := int64(max(0, d) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%d d %d h", s/86400, s%86400/3600)
}

// stamp is a point in time as the browser gets it: in milliseconds. It is empty
// for the zero time.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

// shown returns what stands in a cell. For times it depends on the moment; the
// browser does the same with the stamp.
func shown(as asWhat, value string, now time.Time) string {
	if as != asAgo && as != asFor && as != asIn {
		return value
	}
	ms, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return ""
	}
	at := time.UnixMilli(ms)
	switch as {
	case asAgo:
		return lasting(now.Sub(at)) + " ago"
	case asFor:
		return "for " + lasting(now.Sub(at))
	}
	if left := at.Sub(now); left > 0 {
		return "in " + lasting(left)
	}
	return "now"
}
