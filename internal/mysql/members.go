package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"
	"strconv"
	"strings"

	"github.com/EnumApps/clustersql/internal/dialect"
)

const (
	// incomingQuery asks a Galera node for the addresses of all nodes.
	incomingQuery = "SHOW GLOBAL STATUS LIKE 'wsrep_incoming_addresses'"
	// groupMembersQuery asks a member of a replication group for all of them.
	groupMembersQuery = "SELECT MEMBER_HOST, MEMBER_PORT, MEMBER_STATE FROM performance_schema.replication_group_members"
	// replicasQuery asks a primary for the replicas that are connected to it.
	replicasQuery = "SHOW REPLICA HOSTS"
	// slavesQuery is the same for servers that are older.
	slavesQuery = "SHOW SLAVE HOSTS"
)

// mostTold bounds the rows that are read.
const mostTold = 1001

// Members asks for wsrep_incoming_addresses, then for the members of the replication
// group, and then for the replicas of a primary. The first of these that tells
// something counts.
func (Dialect) Members(ctx context.Context, conn driver.Conn) ([]string, []dialect.Unaddressed, error) {
	rows, err := ask(ctx, conn, incomingQuery, 1)
	if err != nil {
		return nil, nil, err
	}
	if len(rows) == 1 && len(rows[0]) == 2 && strings.TrimSpace(rows[0][1]) != "" {
		addrs, unused := incoming(rows[0][1])
		return addrs, unused, nil
	}
	if rows, err = ask(ctx, conn, groupMembersQuery, mostTold); err == nil {
		if addrs, unused := groupMembers(rows); len(addrs)+len(unused) > 0 {
			return addrs, unused, nil
		}
	} else if ctx.Err() != nil {
		return nil, nil, err
	}
	if rows, err = ask(ctx, conn, replicasQuery, mostTold); err != nil {
		if rows, err = ask(ctx, conn, slavesQuery, mostTold); err != nil {
			return nil, nil, err
		}
	}
	if addrs, unused := replicas(rows); len(addrs)+len(unused) > 0 {
		return addrs, unused, nil
	}
	return nil, nil, errors.New("the node is in no Galera cluster and in no replication group, and no replica is connected to it")
}

// incoming reads wsrep_incoming_addresses. A node that knows no address of its own
// says AUTO. garbd, which is a member and no server, has an empty element.
func incoming(list string) (addrs []string, unused []dialect.Unaddressed) {
	for _, word := range strings.Split(list, ",") {
		switch word = strings.TrimSpace(word); {
		case word == "":
		case strings.EqualFold(word, "AUTO"):
			unused = append(unused, dialect.Unaddressed{Told: word, Why: "a member does not know its address: set wsrep_node_incoming_address on the server"})
		default:
			if addr, ok := addressed(word, ""); ok {
				addrs = append(addrs, addr)
			} else {
				unused = append(unused, dialect.Unaddressed{Told: "(unreadable)", Why: "a member tells something that is no address"})
			}
		}
	}
	return addrs, unused
}

// groupMembers reads replication_group_members. Members that are neither ONLINE nor
// RECOVERING have left.
func groupMembers(rows [][]string) (addrs []string, unused []dialect.Unaddressed) {
	for _, row := range rows {
		if len(row) != 3 || row[0] == "" {
			continue
		}
		addr, ok := addressed(row[0], row[1])
		switch {
		case !ok:
			unused = append(unused, dialect.Unaddressed{Told: "(unreadable)", Why: "a member tells something that is no address"})
		case row[2] == "ONLINE", row[2] == "RECOVERING":
			addrs = append(addrs, addr)
		default:
			unused = append(unused, dialect.Unaddressed{Told: addr, Why: "the member has left its replication group"})
		}
	}
	return addrs, unused
}

// replicas reads SHOW REPLICA HOSTS: the number of the server, its host and port.
func replicas(rows [][]string) (addrs []string, unused []dialect.Unaddressed) {
	for _, row := range rows {
		if len(row) < 3 {
			continue
		}
		if row[1] == "" {
			unused = append(unused, dialect.Unaddressed{Told: "server " + row[0], Why: "a replica does not tell its address: set report_host on the server"})
		} else if addr, ok := addressed(row[1], row[2]); ok {
			addrs = append(addrs, addr)
		}
	}
	return addrs, unused
}

// addressed joins a host and a port. A host may hold its port. Without one it is
// mysql's, and so is 0.
func addressed(host, port string) (addr string, ok bool) {
	if len(host) > 300 || strings.ContainsAny(host, " \t\r\n/@()") {
		return "", false
	}
	if port == "" || port == "0" {
		port = defaultPort
	}
	full, err := withPort(host, port)
	if err != nil {
		return "", false
	}
	h, p, err := net.SplitHostPort(full)
	number, wrong := strconv.ParseUint(p, 10, 16)
	if err != nil || wrong != nil || h == "" {
		return "", false
	}
	if number == 0 {
		p = defaultPort
	}
	return net.JoinHostPort(h, p), true
}
