package main

import (
	"context"
	"time"
)

// A NodeSpread says how many connections of a contestant were on each node.
type NodeSpread struct {
	Nodes, Contestant string
	Conns             []int
	Failed            int
	Err               string
}

// Hold opens connections at once, counts them by the port of their node, and
// returns them.
func (c *Client) Hold(n int, ports *map[int]int) error {
	*ports = make(map[int]int)
	results := make(chan int)
	errs := make(chan error)
	release := make(chan struct{})
	ctx, cancel := context.WithTimeout(context.Background(), usualTimeout)
	defer cancel()
	for range n {
		go func() {
			conn, err := c.db.Conn(ctx)
			if err != nil {
				errs <- err
				return
			}
			defer conn.Close()
			var port int
			if err := conn.QueryRowContext(ctx, probeRead).Scan(&port); err != nil {
				errs <- err
				return
			}
			results <- port
			<-release
		}()
	}
	defer close(release)
	var failed error
	for range n {
		select {
		case port := <-results:
			(*ports)[port]++
		case failed = <-errs:
		}
	}
	return failed
}

// fields are the sets of nodes over which connections are spread.
var fields = []struct {
	name    string
	weights []int
	slower  time.Duration // the delay of the first node's answers
}{
	{name: "equal"},
	{name: "n1 slower by 30 ms", slower: 30 * time.Millisecond},
	{name: "weights 2, 1, 1", weights: []int{2, 1, 1}},
}

// spreads counts on which nodes the connections are that are opened at once.
func (r *rig) spreads(ctx context.Context) (results []*NodeSpread, err error) {
	for _, f := range fields {
		r.say("spread, nodes: %s", f.name)
		t, err := r.newTeam(field{relays: true, weights: f.weights}, but(append([]string{plainDo1, plainAgain}, settingsOnly...)...))
		if err != nil {
			return nil, err
		}
		of, err := r.spread(ctx, t, f.name, f.slower)
		t.end()
		if err != nil {
			return nil, err
		}
		results = append(results, of...)
	}
	return results, nil
}

// probed is long enough for probes to see what a relay does: for two of them
// and some more.
const probed = 3 * time.Second

func (r *rig) spread(ctx context.Context, t *team, name string, slower time.Duration) (results []*NodeSpread, err error) {
	for _, m := range t.members {
		if err := r.setFault(Fault{Delay: slower}, m.host(0)...); err != nil {
			return nil, err
		}
	}
	if slower > 0 && r.plan.spreadConns > len(r.cluster.Nodes) {
		pause(ctx, probed)
	}
	for _, m := range t.members {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		of := &NodeSpread{Nodes: name, Contestant: m.name, Conns: make([]int, len(r.cluster.Nodes))}
		var ports map[int]int
		if err := m.client.call.Call("Role.Hold", r.plan.spreadConns, &ports); err != nil {
			of.Err = err.Error()
		}
		of.Failed = r.plan.spreadConns
		for port, n := range ports {
			of.Conns[r.ports[port]] += n
			of.Failed -= n
		}
		results = append(results, of)
	}
	return results, nil
}
