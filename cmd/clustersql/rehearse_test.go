package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"

	"github.com/EnumApps/clustersql/internal/relay"
)

// What is seen of a loss is judged: what was under way may fail, and nothing else.
func TestLossIsJudged(t *testing.T) {
	good := call{took: time.Millisecond}
	bad := call{took: time.Second, err: errors.New("lost")}
	many := func(c call, n int) (all []call) {
		for range n {
			all = append(all, c)
		}
		return all
	}
	well := func(fault relay.State) loss {
		return loss{fault: fault, calls: many(good, 100), later: many(good, 100), down: time.Second, back: true, delay: time.Millisecond}
	}
	for _, c := range []struct {
		name   string
		fault  relay.State
		change func(*loss)
		want   verdict
		say    string
	}{
		{"well", relay.Refused, func(*loss) {}, isOK, "200 statements, 0 failed"},
		{"slow and well", relay.Slow, func(l *loss) { l.down = -1 }, isOK, "0 failed"},
		{"those under way fail", relay.Silent, func(l *loss) { l.calls = append(l.calls, many(bad, clients)...) }, isOK, "5 failed, longest 1s"},
		{"one more fails", relay.Silent, func(l *loss) { l.calls = append(l.calls, many(bad, clients+1)...) }, isFailed, "room"},
		{"one fails later", relay.Silent, func(l *loss) { l.later = append(l.later, bad) }, isFailed, "other nodes work"},
		{"one fails of a slow node", relay.Slow, func(l *loss) { l.calls = append(l.calls, bad) }, isFailed, "other nodes work"},
		{"nothing works", relay.Refused, func(l *loss) { l.later = nil }, isFailed, "no statement"},
		{"not taken down", relay.Silent, func(l *loss) { l.down = -1 }, isFailed, "probe_timeout"},
		{"not back", relay.Refused, func(l *loss) { l.back = false }, isFailed, "rise"},
		{"slower than an open", relay.Silent, func(l *loss) { l.calls = append(l.calls, call{took: time.Hour}) }, isWarning, "deadline"},
		{"no relay", relay.Refused, func(l *loss) { l.err = errors.New("no port") }, isFailed, "no port"},
	} {
		l := well(c.fault)
		c.change(&l)
		r := &report{cluster: &cluster{config: clustersql.DefaultConfig()}}
		r.judgeLoss("n1", l)
		if got := r.rows[0]; got.Verdict != c.want || !strings.Contains(got.Have+got.Note, c.say) || got.Check != "failover: "+faultName(c.fault) {
			t.Errorf("%s: %+v, want %s with %q", c.name, got, c.want, c.say)
		}
	}
}
