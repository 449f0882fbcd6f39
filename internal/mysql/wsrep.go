package mysql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/EnumApps/clustersql/internal/health"
)

// wsrepQuery asks for all fields of a wsrepStatus in one round trip. SHOW
// STATUS needs no right and no table.
const wsrepQuery = "SHOW GLOBAL STATUS WHERE Variable_name IN " +
	"('wsrep_cluster_status', 'wsrep_ready', 'wsrep_local_state', 'wsrep_provider_name', " + viewNames + ")"

// viewQuery asks for the node's view alone.
const (
	viewQuery = "SHOW GLOBAL STATUS WHERE Variable_name IN (" + viewNames + ")"
	viewNames = "'wsrep_cluster_conf_id', 'wsrep_cluster_state_uuid', 'wsrep_cluster_size', 'wsrep_gcomm_uuid', 'wsrep_last_committed'"
)

// A wsrepStatus is what a Galera node says about itself. Fields that were not
// in the answer are empty.
type wsrepStatus struct {
	provider string // wsrep_provider_name
	cluster  string // wsrep_cluster_status
	ready    string // wsrep_ready
	state    string // wsrep_local_state
	conf     uint64 // wsrep_cluster_conf_id, the number of the group's view
	group    string // wsrep_cluster_state_uuid
	member   string // wsrep_gcomm_uuid, the node's own
	size     int    // wsrep_cluster_size, how many nodes are in the view
	seqno    uint64 // wsrep_last_committed; 0 for a node that has none and says -1
}

// askWsrep runs wsrepQuery or viewQuery.
func askWsrep(ctx context.Context, conn driver.Conn, query string) (s wsrepStatus, err error) {
	rows, err := ask(ctx, conn, query, 16)
	for _, row := range rows {
		if len(row) == 2 {
			s.set(row[0], row[1])
		}
	}
	return s, err
}

// set takes one row of the answer.
func (s *wsrepStatus) set(name, value string) {
	switch strings.ToLower(name) {
	case "wsrep_provider_name":
		s.provider = value
	case "wsrep_cluster_status":
		s.cluster = value
	case "wsrep_ready":
		s.ready = value
	case "wsrep_local_state":
		s.state = value
	case "wsrep_cluster_state_uuid":
		s.group = value
	case "wsrep_gcomm_uuid":
		s.member = value
	case "wsrep_cluster_size":
		s.size, _ = strconv.Atoi(value)
	case "wsrep_cluster_conf_id":
		s.conf, _ = strconv.ParseUint(value, 10, 64)
	case "wsrep_last_committed":
		s.seqno, _ = strconv.ParseUint(value, 10, 64)
	}
}

const (
	wsrepDonor  = "2" // sends its state to a joiner, or was desynced by hand
	wsrepJoined = "3" // catches up with the group
	wsrepSynced = "4"
)

// view returns the node's view of its group. It is nil outside the primary
// component: there the server gives the largest number that there is.
func (s wsrepStatus) view() *health.View {
	if s.conf == 0 || s.conf == math.MaxUint64 {
		return nil
	}
	return &health.View{Group: s.group, Conf: s.conf, Seqno: s.seqno, Size: s.size, Member: s.member}
}

// provided reports whether the server runs a wsrep provider.
func (s wsrepStatus) provided() bool {
	return s.provider != "" || s.state != "" && strings.EqualFold(s.ready, "ON")
}

// verdict is the decision of the galera check. It returns nil for a node that
// is fit, and donor for one that is fit but to be used last. A donor is a full
// member of the group, but may lag. So may a node that has been a donor or
// desynced and catches up: its state is Joined, and it does work. A node that
// has got its state from a donor is Joined too, and its wsrep_ready is OFF. If
// donors are allowed, they count like any other node.
func (s wsrepStatus) verdict(allowDonor bool) (donor bool, err error) {
	switch {
	case !s.provided():
		return false, &health.Unfit{Class: health.Misconfigured, Need: health.ScopeStatus, Text: "check \"galera\": the server runs no wsrep provider, so it is no Galera node: use check = \"do1\", or set wsrep_on and wsrep_provider on the server"}
	case !strings.EqualFold(s.cluster, "Primary"):
		return false, s.unfit("wsrep_cluster_status", s.cluster)
	case !strings.EqualFold(s.ready, "ON"):
		return false, s.unfit("wsrep_ready", s.ready)
	case s.state == wsrepDonor, s.state == wsrepJoined:
		return !allowDonor, nil
	case s.state != wsrepSynced:
		return false, s.unfit("wsrep_local_state", s.state)
	}
	return false, nil
}

func (s wsrepStatus) unfit(variable, value string) error {
	return &health.Unfit{Class: health.NotReady, Need: health.ScopeStatus, Text: fmt.Sprintf("%s is %q", variable, value)}
}
