package statuspage

import (
	"strconv"
	"time"

	"github.com/EnumApps/clustersql"
)

// The size of a plot in its own units: a unit across for each sample.
const (
	plotWidth  = 64
	plotHeight = 20
)

// plot returns the path of a line through the samples, oldest first. The newest
// one is at the right edge, the largest at the top, and zero at the bottom.
func plot(samples []time.Duration) string {
	if len(samples) == 0 {
		return ""
	}
	most := time.Duration(1)
	for _, s := range samples {
		most = max(most, s)
	}
	path := make([]byte, 0, 8*len(samples))
	for i, s := range samples {
		step := byte('L')
		if i == 0 {
			step = 'M'
		}
		path = append(path, step)
		path = strconv.AppendInt(path, int64(plotWidth-len(samples)+i), 10)
		path = append(path, ' ')
		y := plotHeight - 0.5 - (plotHeight-1)*float64(s)/float64(most)
		path = strconv.AppendFloat(path, y, 'f', 1, 64)
	}
	if len(samples) == 1 {
		path = append(path, "h1"...)
	}
	return string(path)
}

// stripSpan is how much time a strip shows. It shows less in a process that has
// not run for so long; see reach.
const stripSpan = 15 * time.Minute

// reaches are the spans of strips. page.js has the same.
var reaches = []time.Duration{time.Minute, 2 * time.Minute, 5 * time.Minute, stripSpan}

// reach returns the time that strips show if the oldest node has the given age.
func reach(age time.Duration) time.Duration {
	for _, r := range reaches {
		if age <= r {
			return r
		}
	}
	return stripSpan
}

// stripPath returns the path of the times in one state, in seconds since base. A
// state that lasts is drawn a year long, so that time alone changes no path.
func stripPath(states []clustersql.StateSince, state clustersql.State, base time.Time) string {
	var path []byte
	for i, s := range states {
		if s.State != state {
			continue
		}
		end := s.Since.Add(365 * 24 * time.Hour)
		if i+1 < len(states) {
			end = states[i+1].Since
		}
		path = append(path, 'M')
		path = strconv.AppendFloat(path, s.Since.Sub(base).Seconds(), 'f', 1, 64)
		path = append(path, " 5H"...)
		path = strconv.AppendFloat(path, end.Sub(base).Seconds(), 'f', 1, 64)
	}
	return string(path)
}

// marksPath returns the path of short marks at points in time.
func marksPath(times []time.Time, base time.Time) string {
	var path []byte
	for _, t := range times {
		path = append(path, 'M')
		path = strconv.AppendFloat(path, t.Sub(base).Seconds(), 'f', 1, 64)
		path = append(path, " 0v10"...)
	}
	return string(path)
}
