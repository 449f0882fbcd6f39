package pgcluster

import "github.com/EnumApps/clustersql/internal/throwaway"

// A link is the way from a standby to the node that it follows.
type link struct {
	*throwaway.Relay
	to *Node
}

// newLink starts a relay. Whoever made it must close it.
func newLink(to *Node) (*link, error) {
	r, err := throwaway.NewRelay(to.Addr())
	if err != nil {
		return nil, err
	}
	return &link{r, to}, nil
}
