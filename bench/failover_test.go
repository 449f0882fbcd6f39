package main

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/sqltext"
)

// The figures of a round are right: failures, long reads, the longest time
// without a success, and the first read on the node that came back.
func TestFailoverIsJudged(t *testing.T) {
	const port, other = 3306, 3307
	began := time.Now()
	at := func(ms int, port int, took time.Duration, failed bool) Read {
		return Read{At: began.Add(time.Duration(ms) * time.Millisecond), Took: took, Failed: failed, Port: port}
	}
	reads := []Read{
		at(0, port, time.Millisecond, false),
		at(100, port, 700*time.Millisecond, true), // ends last but two
		at(200, other, time.Millisecond, false),
		at(1000, other, time.Millisecond, false),
		at(2000, port, time.Millisecond, false), // before the node was back: on a connection that survived
		at(3100, port, 50*time.Millisecond, false),
		at(3200, port, 800*time.Millisecond, false), // the node was not away any more
	}
	var f Failover
	away, back := began.Add(50*time.Millisecond), began.Add(3*time.Second)
	f.judge(Watched{Reads: reads, Err: "lost"}, plan{heldUp: 500 * time.Millisecond}, port, began, away, back)
	if f.Failed[0] != 1 || f.HeldUp[0] != 2 || f.Reads != 7 || f.Err != "lost" {
		t.Errorf("%+v", f)
	}
	if want := 1149 * time.Millisecond; f.Gap[0] != want {
		t.Errorf("gap %v, want %v", f.Gap[0], want)
	}
	if want := 150 * time.Millisecond; f.Return[0] != want || f.backInUse() != want {
		t.Errorf("back after %v, want %v", f.Return[0], want)
	}
	if want := 700 * time.Millisecond; f.Longest[0] != want {
		t.Errorf("longest %v, want %v", f.Longest[0], want)
	}
	if got, want := f.Line[8], (Bin{Failed: 1}); got != want || len(f.Line) != 41 {
		t.Errorf("line %v", f.Line)
	}
	if f.Away != 50*time.Millisecond || f.Back != 3*time.Second {
		t.Errorf("away %v, back %v", f.Away, f.Back)
	}
}

// The reads of the failovers are such that hedge_reads may send them twice.
func TestWatchedReadsMayBeHedged(t *testing.T) {
	if query := fmt.Sprintf(watchedRead, 1); !sqltext.Hedge(query, true) {
		t.Errorf("%q is never hedged", query)
	}
}

// A round counts if hedge_reads has done something, and only then.
func TestUnhedgedRound(t *testing.T) {
	all := &team{members: []*member{{contestant: contestant{name: ordered}}, {contestant: contestant{name: hedgeReads}}}}
	if all.unhedged([]int{0, 1}) {
		t.Error("one hedged read is none")
	}
	if !all.unhedged([]int{1, 0}) {
		t.Error("no hedged read is one")
	}
}

func TestNodeThatIsNotUsedAgain(t *testing.T) {
	f := Failover{Return: []time.Duration{-1, -1}}
	if got := f.backInUse(); got != never {
		t.Errorf("%v", got)
	}
}

// The opens of a fault are split into those of its first part, those of its
// last part, and all.
func TestWindowsAreToldApart(t *testing.T) {
	p := plan{first: time.Second, after: 3 * time.Second}
	var f FaultOpens
	f.addWindow([]Open{
		{At: 0, Took: 2 * hedgeDelay},
		{At: 500 * time.Millisecond, Took: hedgeDelay / 2, Useless: true, Err: "1047"},
		{At: 2 * time.Second, Took: hedgeDelay, Failed: true},
		{At: 3 * time.Second, Took: 7},
	}, p)
	want := FaultOpens{
		First: Window{Took: []time.Duration{2 * hedgeDelay, hedgeDelay / 2}, Opens: 2, Useless: 1, Err: "1047"},
		Late:  Window{Took: []time.Duration{7}, Opens: 1},
		All:   Window{Took: []time.Duration{2 * hedgeDelay, hedgeDelay / 2, hedgeDelay, 7}, Opens: 4, Failed: 1, Useless: 1, Err: "1047"},
		Slow:  []int{1},
	}
	if !reflect.DeepEqual(f, want) {
		t.Errorf("got  %+v\nwant %+v", f, want)
	}
}
