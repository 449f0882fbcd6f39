package clustersql

import "time"

// ClusterStatus is a snapshot of a cluster.
type ClusterStatus struct {
	Name  string
	Nodes []NodeStatus // sorted by name
}

// NodeStatus is a snapshot of one node. Counters run from the moment the node
// was added.
type NodeStatus struct {
	Name     string
	Priority int // see [NodeConfig]
	Weight   int

	State     State
	Reason    string    // why the node is suspect or down, redacted; empty when up
	Since     time.Time // of State
	Returning bool      // back for less than failback_after: Ordered asks it after the others
	Full      bool      // it has lately refused a connection for want of room (error 1040): asked last, and by one open at a time
	Donor     bool      // by its own account a Galera donor or desynced: asked last, unless Config.AllowDonor
	ConfID    uint64    // wsrep_cluster_conf_id at the last look: the number of its view of the Galera group; 0 if none was told
	NextCheck time.Time // when the next probe is due; zero while no connector is open

	// Generation grows by one whenever the node goes down, is drained or removed.
	// Connections of an older generation are not handed out of the pool again.
	Generation uint64
	OpenConns  int // connections handed to database/sql and not closed yet
	Cuttable   int // of these, those that the cluster can cut; see Dial
	// Load is what Balanced compares: open connections of the present
	// generation, and launches of opens that have not ended.
	Load     int
	Attempts int // opens in flight
	Deaf     int // of these and of the probe, those past their deadline whose backend has not come back

	Opens  uint64 // attempts started
	Won    uint64 // connections handed to database/sql
	Lost   uint64 // attempts that another node overtook, whose caller left, or that a Close found under way
	Errors uint64 // attempts that failed

	Probes      uint64 // background checks ended
	ProbeErrors uint64 // of these, failed ones

	Added            time.Time
	LastSuccess      time.Time // of a connection handed out
	LastError        time.Time // of an attempt, a probe or a statement
	LastErrorMessage string    // redacted

	ProbeLatency Latency // of checks on the lasting probe connection
	OpenLatency  Latency // of fresh connections: dial, handshake and check

	class     class     // what took the node down
	lastErr   error     // what LastErrorMessage tells of; nil where no error did
	chances   uint64    // grows when an open that failed here may ask again: with good checks, connections handed out, and backoffs of a full node
	fullUntil time.Time // no open before that; zero while there is room
	confSeen  time.Time // of ConfID
	group     string    // whose view that is
	seqno     uint64    // committed at that look
	current   int       // connections of the present generation
	back      time.Time // when it last came back; zero if it never did
}
