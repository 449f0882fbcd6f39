package roles

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
)

// longest is the longest lag that is noted.
const longest = 365 * 24 * time.Hour

// readRole reads the answer to role_query: one row, with a word for the role and
// perhaps whether the node takes writes.
func readRole(p *health.Replication, rows [][]string) {
	p.Role, p.Access, p.Equal, p.Assumed = health.RoleUnknown, health.AccessUnknown, false, false
	if len(rows) == 1 && len(rows[0]) > 0 {
		switch strings.ToLower(strings.TrimSpace(rows[0][0])) {
		case "primary":
			p.Role, p.Access = health.RolePrimary, health.AccessWrite
		case "standby", "replica":
			p.Role, p.Access = health.RoleReplica, health.AccessRead
		}
	}
	switch {
	case p.Role == health.RoleUnknown:
		p.Hidden = "role_query: the answer is not one row with \"primary\", \"standby\" or \"replica\""
	case len(rows[0]) < 2, rows[0][1] == "":
	case dialect.IsTrue(rows[0][1]):
		p.Access = health.AccessWrite
	default:
		p.Access = health.AccessRead
	}
}

// readLag reads the answer to lag_query: one row with a number of seconds, which is
// below 0 where two clocks differ. It replaces what the dialect knows of the lag.
func readLag(p *health.Replication, rows [][]string) {
	p.Position, p.Received, p.Stream, p.Told = nil, nil, health.StreamUnknown, false
	p.Hidden = "lag_query: the answer is not one row with a number of seconds"
	if len(rows) != 1 || len(rows[0]) == 0 {
		return
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(rows[0][0]), 64)
	if err == nil && !math.IsNaN(seconds) {
		seconds = min(max(seconds, 0), longest.Seconds())
		p.Said, p.Told, p.Hidden = time.Duration(seconds*float64(time.Second)), true, ""
	}
}
