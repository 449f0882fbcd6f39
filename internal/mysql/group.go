package mysql

import (
	"context"
	"database/sql/driver"
	"strings"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
)

// membersQuery asks a server of MySQL's Group Replication what it knows of its
// group: the state and the role of each member, and which one it is itself.
const membersQuery = "SELECT MEMBER_STATE, MEMBER_ROLE, MEMBER_ID = @@GLOBAL.server_uuid FROM performance_schema.replication_group_members"

// A member is one row of the group.
type member struct {
	state, role string
	self        bool
}

// mostMembers is how many rows are looked at. A group has nine members at most.
const mostMembers = 64

// askMembers asks for the members. hidden says why the server does not tell.
func askMembers(ctx context.Context, conn driver.Conn) (members []member, hidden string, err error) {
	rows, err := dialect.QueryRows(ctx, conn, membersQuery, mostMembers)
	switch {
	case err == nil:
	case !ownFault(err) || ctx.Err() != nil || interrupted(err):
		return nil, "", err
	default:
		return nil, "the account may not see the group: GRANT SELECT ON performance_schema.replication_group_members", nil
	}
	for _, row := range rows {
		if len(row) == 3 {
			members = append(members, member{strings.ToUpper(row[0]), strings.ToUpper(row[1]), row[2] == "1"})
		}
	}
	return members, "", nil
}

// join fills in what the members tell. A server that has left its group answers
// reads for ever, and what it answers is old. So does one that does not see the
// most of its group. The group itself sees to it that it has no two primaries of
// which one is old.
func join(r *health.Replication, members []member, hidden string) {
	r.Equal, r.Group, r.Hidden = true, true, hidden
	if hidden != "" {
		switch r.Access {
		case health.AccessWrite:
			r.Role = health.RolePrimary
		case health.AccessRead:
			r.Role = health.RoleReplica
		}
		return
	}
	own, away := member{state: "OFFLINE"}, 0
	for _, m := range members {
		if m.self {
			own = m
		}
		if m.state != "ONLINE" && m.state != "RECOVERING" {
			away++
		}
	}
	switch {
	case own.state == "OFFLINE" && len(members) < 2 && r.Access == health.AccessWrite:
		r.Role, r.Equal, r.Group = health.RolePrimary, false, false // the group was never started: a server by itself
		return
	case own.state != "ONLINE":
		r.Unfit = "the server's state in its replication group is " + word(own.state)
	case 2*away >= len(members):
		r.Unfit = "the server does not see the most of its replication group"
	}
	switch own.role {
	case "PRIMARY":
		r.Role = health.RolePrimary
	case "SECONDARY":
		r.Role, r.Stream = health.RoleReplica, health.StreamRuns
	}
}
