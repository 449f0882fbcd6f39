package statuspage

import (
	"fmt"
	"time"

	"github.com/EnumApps/clustersql"
)

// A Snapshot is what the page shows at one moment. It is what ?format=json
// returns, and package encoding/json can read it again. It is never changed after
// it was taken.
type Snapshot struct {
	Time     time.Time `json:"time"`
	Process  string    `json:"process,omitempty"` // the program, its host and its number there
	Level    Level     `json:"level"`             // the worst of the clusters
	Summary  string    `json:"summary"`           // why, in words
	Clusters []Cluster `json:"clusters"`          // sorted by ID
}

// A Cluster is one cluster in a [Snapshot].
type Cluster struct {
	Level   Level  `json:"level"`   // bad if a node is, or none is usable
	Summary string `json:"summary"` // why, in words

	Status  clustersql.ClusterStatus `json:"status"`
	Nodes   []Node                   `json:"nodes"`   // in the order of Status.Nodes
	Events  []clustersql.Event       `json:"events"`  // the last ones, oldest first
	History []clustersql.NodeHistory `json:"history"` // in the order of Status.Nodes
}

// A Node is what the page makes of the status of a node.
type Node struct {
	Name  string `json:"name"`
	Level Level  `json:"level"`
	Kind  Kind   `json:"kind"` // what the page's colour stands for
	Word  string `json:"word"` // the state in a word or two
	Why   string `json:"why"`  // why it is not used, or not first; empty if it is
}

// Level is how well a cluster or a node is.
type Level uint8

const (
	// LevelWell is for nodes that are used, or would be if a better one were not.
	LevelWell Level = iota
	// LevelWarn is for nodes that are used last or not yet, or that nobody has
	// heard of.
	LevelWarn
	// LevelBad is for nodes that are down.
	LevelBad
)

// String returns the level's name in lower case.
func (l Level) String() string {
	names := [...]string{"well", "warn", "bad"}
	if int(l) < len(names) {
		return names[l]
	}
	return fmt.Sprintf("Level(%d)", uint8(l))
}

// MarshalText returns the level's name.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads a level's name.
func (l *Level) UnmarshalText(text []byte) error {
	for level := LevelWell; level <= LevelBad; level++ {
		if level.String() == string(text) {
			*l = level
			return nil
		}
	}
	return fmt.Errorf("statuspage: there is no level %q", text)
}

// Kind is what HAProxy's users know as the colour of a server.
type Kind string

// These are the kinds.
const (
	KindUp        Kind = "up"
	KindGoingDown Kind = "going-down" // still used, and being checked
	KindGoingUp   Kind = "going-up"   // down and its last check passed, or not long back
	KindDown      Kind = "down"
	KindDrain     Kind = "drain"
	KindStandby   Kind = "standby" // used when no better node is, or not of the role that the cluster requires
	KindHold      Kind = "hold"    // it answers, and is held back or used last
	KindUnknown   Kind = "unknown" // never heard of
)
