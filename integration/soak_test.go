package integration

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/go-sql-driver/mysql"
)

var (
	soakFor  = flag.Duration("soak.for", 0, "how long TestSoak goes on; 0: two episodes")
	soakSeed = flag.Uint64("soak.seed", 0, "of TestSoak's faults; 0: a new one, or 1 where it is short")
)

// A soak is a ledger under random faults, one episode after the other. After
// each episode it checks the books and what is held.
type soak struct {
	*testing.T
	c       *galera.Cluster
	ledger  *ledger
	lookout *lookout
	rested  time.Time // when the last rest ended
	random  *rand.Rand
	counts  map[string]int // how often each mischief happened
	held    []holdings
}

// The seed decides the faults, but not at which moments they meet the load.
func TestSoak(t *testing.T) {
	_ = mysql.SetLogger(&mysql.NopLogger{}) // it would write a line for every lost connection
	seed := *soakSeed
	switch {
	case seed == 0 && *soakFor > 0:
		seed = rand.Uint64()
	case seed == 0:
		seed = 1
	}
	t.Logf("-soak.seed %d", seed)
	c := galera.StartT(t, galera.Options{})
	makeUser(t, c, "lookout")
	before := stand(t, c)
	s := &soak{T: t, c: c, ledger: openLedger(t, c, seed), random: rand.New(rand.NewPCG(seed, 0)), counts: make(map[string]int)}
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	t.Cleanup(work.Wait) // after stop, also if a check ends the test
	t.Cleanup(stop)
	s.lookout = keepLookout(ctx, t, c, &work)
	s.ledger.begin(ctx, &work)
	began := time.Now()
	s.rested = began
	s.rest("warm")
	for n := 1; n <= 2 || time.Since(began) < *soakFor; n++ {
		what := s.episode(t)
		s.rest(fmt.Sprintf("%s, episode %d (%s)", time.Since(began).Round(time.Second), n, what))
		if t.Failed() {
			break
		}
	}
	stop()
	work.Wait()
	s.flat(t)
	t.Log(s.report(time.Since(began)))
	for _, u := range s.ledger.users {
		u.close()
		u.d.Close()
	}
	before.left(t, c)
}

// rest waits until every node is up for every user and some work was done on
// the whole cluster. It then stops the load for a moment, and checks the books
// and the holdings.
func (s *soak) rest(what string) {
	s.Helper()
	for _, u := range s.ledger.users {
		waitOr(s.T, "the nodes to be up", func() bool { return up(u.d) == len(s.c.Nodes) }, func() string {
			return fmt.Sprintf("%s: %+v", u.name, u.d.Status().Nodes)
		})
		now := u.transfers.count(acknowledged)
		waitFor(s.T, "transfers to go on", func() bool { return u.transfers.count(acknowledged) > now })
	}
	time.Sleep(s.dwell() / 5)
	locked := make(chan struct{})
	go func() { s.ledger.gate.Lock(); close(locked) }()
	select {
	case <-locked:
	case <-time.After(time.Minute):
		s.Fatalf("operations hang:\n%s", stacks())
	}
	defer s.ledger.gate.Unlock()
	s.must(s.c.WaitSynced(context.Background()))
	s.ledger.check(s.T)
	s.Logf("%s: %s", what, s.take(s.T))
	s.reckon()
}

// reckon asserts that since the last rest no user lost a good session, and that
// none took a good node down. The harm of the episode is over once the clusters
// have had the time to find all of it.
func (s *soak) reckon() {
	s.Helper()
	now := time.Now()
	for _, u := range s.ledger.users {
		a := u.account()
		t := s.lookout.toll(a, span{s.rested, now})
		if u.toll.add(t); !t.ok() {
			s.Errorf("%s: %s:\n%s", u.name, t, t.told())
		}
		if s.Failed() {
			logEvents(s.T, u.name, a.events)
		}
		s.lookout.heal(now.Add(a.finds()))
	}
	s.lookout.forget(now.Add(-time.Minute))
	s.rested = now
}

func (s *soak) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// report returns the lines for the end of the run.
func (s *soak) report(took time.Duration) string {
	var text strings.Builder
	faults := 0
	for _, n := range s.counts {
		faults += n
	}
	fmt.Fprintf(&text, "%s, %d faults in %d episodes: %v\n", took.Round(time.Second), faults, len(s.held)-1, s.counts)
	for _, u := range s.ledger.users {
		fmt.Fprintf(&text, "%s: %d reads, %d failed, the slowest %s; %s; %s; the slowest %s; %s\n", u.name, u.reads.Load(), u.failed.Load(), time.Duration(u.slowRead.Load()).Round(time.Millisecond),
			&u.inserts, &u.transfers, time.Duration(u.slowWrite.Load()).Round(time.Millisecond), u.toll)
		for _, b := range []*book{&u.inserts, &u.transfers} {
			for _, text := range slices.Sorted(maps.Keys(b.told)) {
				s.Logf("%s: %6d× %s", u.name, b.told[text], text)
			}
		}
	}
	if !s.Failed() {
		fmt.Fprintf(&text, "in %d checks nothing was lost, double, or there although refused; the accounts kept their sum, and no read went back\n", s.ledger.checks)
	}
	fmt.Fprintf(&text, "held at first: %s\nheld at last:  %s", s.held[0], s.held[len(s.held)-1])
	return text.String()
}
