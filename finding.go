package clustersql

import (
	"context"
	"errors"
)

// sight is a set of things that a check may look at. A node that was taken
// down by what only one of them shows comes up by a check that looked at it.
type sight uint8

const (
	sawWork   sight = 1 << iota // whether the node does work: DO 1
	sawStatus                   // the node's own status: the galera check's query
	sawView                     // the number of its view of the group
)

// statusEvery is how many probes of a node that is well have one status query.
const statusEvery = 5

// A finding goes with one run of a check, in its context: what the check is
// asked to look at, and what it saw. It is used by the goroutine of that run
// alone.
type finding struct {
	want       sight
	allowDonor bool

	saw   sight
	donor bool // fit, but to be used last
	view  *view
}

type findingKey struct{}

// withFinding returns a context for one run of a check.
func withFinding(ctx context.Context, want sight) (context.Context, *finding) {
	f := &finding{want: want}
	return context.WithValue(ctx, findingKey{}, f), f
}

// findingOf returns the run's finding; a check that is called from elsewhere
// looks at everything.
func findingOf(ctx context.Context) *finding {
	if f, ok := ctx.Value(findingKey{}).(*finding); ok {
		return f
	}
	return &finding{want: sawWork | sawStatus | sawView}
}

// evidence is what a check that passed says about the node.
func (f *finding) evidence() evidence {
	return evidence{ok: true, saw: f.saw, donor: f.donor, view: f.view}
}

// An unfitError is a check's own judgement, where no error of the backend
// tells the class.
type unfitError struct {
	class class
	need  sight // what a check must look at to see this
	text  string
}

func (e *unfitError) Error() string { return e.text }

// needOf says what a check must look at to see the fault that err told of.
func needOf(err error) sight {
	var unfit *unfitError
	switch {
	case errors.As(err, &unfit):
		return unfit.need
	case classify(err) == classNotReady:
		return sawWork
	}
	return 0
}
