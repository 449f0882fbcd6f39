package mysql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/health"
)

// wsrepQuery asks for all that a wsrepStatus holds in one round trip. SHOW
// STATUS needs no right and no table.
const wsrepQuery = "SHOW GLOBAL STATUS WHERE Variable_name IN " +
	"('wsrep_cluster_status', 'wsrep_ready', 'wsrep_local_state', 'wsrep_provider_name', " + viewNames + ")"

// viewQuery asks for a view alone.
const (
	viewQuery = "SHOW GLOBAL STATUS WHERE Variable_name IN (" + viewNames + ")"
	viewNames = "'wsrep_cluster_conf_id', 'wsrep_cluster_state_uuid', 'wsrep_last_committed'"
)

// A wsrepStatus is what a Galera node says of itself. Empty fields were not in
// the answer.
type wsrepStatus struct {
	provider string // wsrep_provider_name
	cluster  string // wsrep_cluster_status
	ready    string // wsrep_ready
	state    string // wsrep_local_state
	conf     uint64 // wsrep_cluster_conf_id, which counts the group's views
	group    string // wsrep_cluster_state_uuid
	seqno    uint64 // wsrep_last_committed; 0 for -1, of a node that has none
}

// askWsrep runs one of the queries here.
func askWsrep(ctx context.Context, conn driver.Conn, query string) (s wsrepStatus, err error) {
	rows, err := dialect.QueryRows(ctx, conn, query, 16)
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
	case "wsrep_cluster_conf_id":
		s.conf, _ = strconv.ParseUint(value, 10, 64)
	case "wsrep_last_committed":
		s.seqno, _ = strconv.ParseUint(value, 10, 64)
	}
}

const (
	wsrepDonor  = "2" // giving its state to a joiner, or desynced by hand
	wsrepSynced = "4"
)

// view is what it says of the group. Outside the primary component that is
// nothing: the server gives the largest number there is.
func (s wsrepStatus) view() *health.View {
	if s.conf == 0 || s.conf == math.MaxUint64 {
		return nil
	}
	return &health.View{Group: s.group, Conf: s.conf, Seqno: s.seqno}
}

// verdict is the galera check's decision: a nil error is fit, donor is fit but
// to be used last. A donor is a member in good standing that may lag; where
// donors are allowed it counts as any other.
func (s wsrepStatus) verdict(allowDonor bool) (donor bool, err error) {
	switch {
	case s.provider == "" && s.state == "" || s.provider == "" && !strings.EqualFold(s.ready, "ON"):
		return false, &health.Unfit{Class: health.Misconfigured, Need: health.ScopeStatus, Text: "check \"galera\": the server runs no wsrep provider, so it is no Galera node: use check = \"do1\", or set wsrep_on and wsrep_provider on the server"}
	case !strings.EqualFold(s.cluster, "Primary"):
		return false, s.unfit("wsrep_cluster_status", s.cluster)
	case !strings.EqualFold(s.ready, "ON"):
		return false, s.unfit("wsrep_ready", s.ready)
	case s.state == wsrepDonor:
		return !allowDonor, nil
	case s.state != wsrepSynced:
		return false, s.unfit("wsrep_local_state", s.state)
	}
	return false, nil
}

func (s wsrepStatus) unfit(variable, value string) error {
	return &health.Unfit{Class: health.NotReady, Need: health.ScopeStatus, Text: fmt.Sprintf("%s is %q", variable, value)}
}
