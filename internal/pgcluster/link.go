package pgcluster

import "github.com/EnumApps/clustersql/internal/relay"

// A link is the way from a standby to the node that it follows.
type link struct {
	*relay.Relay
	to *Node
}

// newLink starts a relay. Whoever made it must close it.
func newLink(to *Node) (*link, error) {
	r, err := relay.New("tcp", to.Addr())
	if err != nil {
		return nil, err
	}
	return &link{r, to}, nil
}
