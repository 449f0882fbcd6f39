package mysql

import (
	"context"
	"database/sql/driver"
	"strconv"
	"strings"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
)

// membersQueries ask a server of MySQL's Group Replication what it knows of its
// group: the state and the role of each member, which one it is itself, the view
// that it has, and how many transactions wait there to be applied. The last two
// are in a table of their own. An account that may not see it is asked without. A
// server that leaves its group does not answer from that table until it has left. It
// answers all that time from the other one, whose rows say at once that it has left.
var membersQueries = []string{
	"SELECT m.MEMBER_STATE, m.MEMBER_ROLE, m.MEMBER_ID = @@GLOBAL.server_uuid, s.VIEW_ID, s.COUNT_TRANSACTIONS_REMOTE_IN_APPLIER_QUEUE" +
		" FROM performance_schema.replication_group_members m LEFT JOIN performance_schema.replication_group_member_stats s ON s.MEMBER_ID = m.MEMBER_ID",
	"SELECT MEMBER_STATE, MEMBER_ROLE, MEMBER_ID = @@GLOBAL.server_uuid, NULL, NULL FROM performance_schema.replication_group_members",
}

// hiddenTables say what each of the queries must be allowed.
var hiddenTables = []string{
	"the account may not see how far a member is: GRANT SELECT ON performance_schema.replication_group_member_stats",
	"the account may not see the group: GRANT SELECT ON performance_schema.replication_group_members",
}

// A circle is what a server tells of its group.
type circle struct {
	told    bool // it tells its members
	members []member
	hidden  string // why it does not tell all
}

// A member is one row of the group.
type member struct {
	state, role string
	self        bool
	view        string // such as 17959677978717625:16: when the group was made, and the number of the view
	queue       string
}

// mostMembers is how many rows are looked at. A group has nine members at most.
const mostMembers = 64

// askMembers asks for the members. brief says that only what is answered at any time
// is asked.
func askMembers(ctx context.Context, conn driver.Conn, brief bool) (c circle, err error) {
	for i, query := range membersQueries {
		if brief && i == 0 {
			continue
		}
		rows, err := dialect.QueryRows(ctx, conn, query, mostMembers)
		switch {
		case err == nil:
			for _, row := range rows {
				if len(row) == 5 {
					c.members = append(c.members, member{strings.ToUpper(row[0]), strings.ToUpper(row[1]), row[2] == "1", row[3], row[4]})
				}
			}
			c.told = true
			return c, nil
		case !ownFault(err) || ctx.Err() != nil || interrupted(err):
			return c, err
		}
		c.hidden = hiddenTables[i]
	}
	return c, nil
}

// join fills in what the members tell. A server that has left its group answers
// reads for ever, and what it answers is old. So does one that does not see the
// most of its group. The group itself sees to it that it has no two primaries of
// which one is old.
func join(r *health.Replication, name string, c circle) {
	r.Equal, r.Group, r.Hidden = true, name, c.hidden
	if !c.told {
		switch r.Access {
		case health.AccessWrite:
			r.Role = health.RolePrimary
		case health.AccessRead:
			r.Role = health.RoleReplica
		}
		return
	}
	own, away := member{state: "OFFLINE"}, 0
	for _, m := range c.members {
		if m.self {
			own = m
		}
		if m.state != "ONLINE" && m.state != "RECOVERING" {
			away++
		}
	}
	switch {
	case own.state == "OFFLINE" && len(c.members) < 2 && r.Access == health.AccessWrite:
		r.Role, r.Equal, r.Alone = health.RolePrimary, false, true // a server by itself, unless a fellow is in the group
		return
	case own.state != "ONLINE":
		r.Unfit = "the server's state in its replication group is " + word(own.state)
	case 2*away >= len(c.members):
		r.Unfit = "the server does not see the most of its replication group"
	}
	start, number, _ := strings.Cut(own.view, ":")
	if conf, err := strconv.ParseUint(number, 10, 64); err == nil {
		r.View = health.View{Group: start, Conf: conf}
	}
	switch own.role {
	case "PRIMARY":
		r.Role = health.RolePrimary
	case "SECONDARY":
		r.Role, r.Stream = health.RoleReplica, health.StreamRuns
	}
	reach(r, name, own.queue)
}

// reach fills in how far a member is. All transactions of a group have its name
// as their origin. It may be that there are none yet. A secondary has received
// those in its queue besides.
func reach(r *health.Replication, name, queue string) {
	if _, known := r.Position.Compare(health.Position{{Origin: name}}); !known {
		r.Position = health.NewPosition(append(r.Position, health.Mark{Origin: name}))
	}
	waiting, err := strconv.ParseUint(queue, 10, 32)
	for _, m := range r.Position {
		if m.Origin == name && err == nil && r.Role == health.RoleReplica {
			r.Received = health.Position{{Origin: name, At: m.At + waiting}}
		}
	}
}
