package clustersql

import (
	"fmt"
	"time"
)

// A Strategy plans one open: it returns which of the nodes are asked, in
// which order, and how long to wait before each. It is given the snapshots of
// the usable nodes, sorted by name: those that are neither down nor draining,
// or all but the draining ones where none is better. It must be pure: no
// side effect, no waiting, safe for concurrent use. A plan may leave nodes
// out; it is asked twice where some are donors, whose launches follow those of
// the others; names it does not know, and a node's second launch, are passed over.
type Strategy func(nodes []NodeStatus) []Launch

// A Launch is one entry of a plan.
type Launch struct {
	// Node is the name of the node to ask.
	Node string
	// Wait is how long after the launch before it this one starts, the
	// connection attempt delay of RFC 8305. An earlier launch that failed
	// starts it at once.
	Wait time.Duration
}

// Race asks every usable node at once and takes the first connection: the
// lowest latency of an open, at the price of a connection opened and closed
// again on each of the other nodes. It is the default.
func Race(nodes []NodeStatus) []Launch {
	plan := make([]Launch, len(nodes))
	for i := range nodes {
		plan[i].Node = nodes[i].Name
	}
	return plan
}

// UnmarshalText sets the strategy by its name in config.toml.
func (s *Strategy) UnmarshalText(text []byte) error {
	switch string(text) {
	case "race":
		*s = Race
	default:
		return fmt.Errorf("unknown strategy %q: use \"race\"", text)
	}
	return nil
}
