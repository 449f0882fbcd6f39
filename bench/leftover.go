package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A Leftover is what is left after a contestant's Close: at once, and after
// waits.
type Leftover struct {
	Contestant  string
	After       []time.Duration
	Client      []Left
	End         Left // after as long as it takes, up to a limit
	ServerConns int  // this contestant's connections at the nodes, once the network is healthy again
}

// leftovers closes each contestant, one at a time, after a series of opens.
// During the opens one node is a black hole that answers none.
func (r *rig) leftovers(ctx context.Context) (results []*Leftover, err error) {
	for _, c := range contestants {
		if c.name == plainDo1 || c.name == plainAgain || slices.Contains(settingsOnly, c.name) {
			continue
		}
		r.say("what is left after Close, %s", c.name)
		of, err := r.leftover(ctx, c.name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		results = append(results, of)
	}
	return results, nil
}

func (r *rig) leftover(ctx context.Context, name string) (*Leftover, error) {
	before, err := r.appConns(ctx)
	if err != nil {
		return nil, err
	}
	t, err := r.newTeam(field{relays: true}, func(c contestant) bool { return c.name == name })
	if err != nil {
		return nil, err
	}
	defer t.end()
	m := t.members[0]
	silent := 2 // the last node, because the plain driver uses a healthy one
	if err := r.setFault(Fault{Silent: true}, m.host(silent)...); err != nil {
		return nil, err
	}
	opens, err := m.paced(time.Second, 20*time.Millisecond)
	if err != nil || len(opens) == 0 {
		return nil, fmt.Errorf("no opens: %w", err)
	}
	of := &Leftover{Contestant: name, After: []time.Duration{0}}
	for _, wait := range r.plan.leftWaits {
		of.After = append(of.After, of.After[len(of.After)-1]+wait)
	}
	var closed Closed
	if err := m.client.call.Call("Role.Close", r.plan.leftWaits, &closed); err != nil {
		return nil, err
	}
	of.Client, of.End = closed.After, closed.End
	// The servers learn what was closed in the black hole when the black hole
	// ends.
	if err := r.setFault(Fault{}, m.relays...); err != nil {
		return nil, err
	}
	for late := time.Now().Add(usualTimeout); ; {
		after, err := r.appConns(ctx)
		of.ServerConns = max(0, after-before) // connections of the checks come and go
		if err != nil || of.ServerConns <= 0 || time.Now().After(late) {
			return of, err
		}
		time.Sleep(settle)
	}
}

func (r *rig) appConns(ctx context.Context) (sum int, err error) {
	for _, n := range r.cluster.Nodes {
		count, err := n.AppConns(ctx)
		if err != nil {
			return 0, err
		}
		sum += count
	}
	return sum, nil
}
