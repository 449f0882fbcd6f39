package clustersql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A groupScript is a fake member of MySQL's Group Replication. A test changes it
// at any time.
type groupScript struct {
	mu    sync.Mutex
	state string
	role  string
	view  int
	lone  bool // it has no row but its own
	hangs bool // it does not answer how far it is in the group
	asked int  // how often that was asked

	executed, waiting int // its transactions, and those that wait there to be applied
}

// set changes the script.
func (p *groupScript) set(change func(p *groupScript)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *groupScript) answer(query string) ([][]driver.Value, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	readOnly := map[bool]string{false: "ON", true: "OFF"}[p.role == "PRIMARY" || p.lone]
	switch {
	case strings.HasPrefix(query, "SHOW GLOBAL VARIABLES"):
		return [][]driver.Value{{"version", "9.7.4"}, {"read_only", readOnly}, {"group_replication_group_name", "aaaa"}, {"gtid_executed", fmt.Sprintf("aaaa:1-%d", p.executed)}}, true
	case strings.HasPrefix(query, "SELECT @@GLOBAL.read_only"):
		return [][]driver.Value{{readOnly}}, true
	case strings.HasPrefix(query, "SELECT m.MEMBER_STATE"), strings.HasPrefix(query, "SELECT MEMBER_STATE"):
		rows := [][]driver.Value{{p.state, p.role, int64(1), nil, nil}}
		if strings.HasPrefix(query, "SELECT m.") {
			rows[0][3], rows[0][4] = fmt.Sprintf("17:%d", p.view), int64(p.waiting)
		}
		if !p.lone {
			rows = append(rows, []driver.Value{"ONLINE", "SECONDARY", int64(0), nil, nil}, []driver.Value{"ONLINE", "SECONDARY", int64(0), nil, nil})
		}
		return rows, true
	}
	return nil, strings.HasPrefix(query, "SHOW GLOBAL STATUS")
}

func (p *groupScript) run(ctx context.Context, query string, _ []driver.NamedValue) error {
	if !strings.HasPrefix(query, "SELECT m.MEMBER_STATE") {
		return nil
	}
	p.mu.Lock()
	p.asked++
	hangs := p.hangs
	p.mu.Unlock()
	if hangs {
		<-ctx.Done()
	}
	return ctx.Err()
}

// groupNodes makes the members of a fake group; the first is the primary.
func groupNodes(b *fakedb.Backend, count int) (scripts []*groupScript) {
	for i := range count {
		p := &groupScript{state: "ONLINE", role: map[bool]string{false: "SECONDARY", true: "PRIMARY"}[i == 0], view: 5, executed: 7}
		b.Node(nodeName(i)).OnStatement(p.run)
		b.Node(nodeName(i)).OnQuery(p.answer)
		scripts = append(scripts, p)
	}
	return scripts
}

const runsWithout = "not ready: its replication group runs without it"

// A server that is in no group while the others are, and takes writes, is not
// used: what is written there is lost. Where none is in a group it may be.
func TestAServerInNoGroup(t *testing.T) {
	for _, require := range []Require{RequireAny, RequireReadWrite} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			nodes := groupNodes(b, 3)
			d := fakeCluster(t, b, 3, WithDialect(DialectMySQL), WithRequire(require), WithStrategy(Ordered))
			openDB(t, d)
			left := func(p *groupScript) { p.state, p.role, p.view, p.lone = "OFFLINE", "", 0, true }
			time.Sleep(10 * time.Second)
			nodes[0].set(left)
			nodes[1].set(func(p *groupScript) { p.role = "PRIMARY" })
			time.Sleep(1200 * time.Millisecond)
			if s, reason := stateOf(d, 0); s != StateDown || reason != runsWithout {
				t.Errorf("require %q: it is %s: %s", require, s, reason)
			}
			if s, reason := stateOf(d, 1); require == RequireAny && s != StateUp {
				t.Errorf("the new primary is %s: %s", s, reason)
			}
			nodes[1].set(left)
			nodes[2].set(left)
			time.Sleep(10 * time.Second)
			up := 0
			for i := range nodes {
				s, reason := stateOf(d, i)
				if s == StateUp {
					up++
				}
				if strings.Contains(reason, "group") {
					t.Errorf("require %q: with no group n%d is %s: %s", require, i+1, s, reason)
				}
			}
			// Of servers that take writes, one is the primary: the one that was seen
			// last to become one.
			if want := map[Require]int{RequireAny: 3, RequireReadWrite: 1}[require]; up != want {
				t.Errorf("require %q: with no group %d are used, want %d", require, up, want)
			}
		})
	}
}

// A member that was frozen while the group put it out says that it is in until it
// learns better. Its view is older than that of the others.
func TestAMemberThatWasPutOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := groupNodes(b, 3)
		d := fakeCluster(t, b, 3, WithDialect(DialectMySQL), WithRequire(RequirePreferStandby))
		openDB(t, d)
		time.Sleep(10 * time.Second)
		b.Node("n3").SetHealth(nil, 0, true)
		time.Sleep(10 * time.Second)
		if s, _ := stateOf(d, 2); s != StateDown {
			t.Fatalf("a frozen node is %s", s)
		}
		for _, p := range nodes[:2] {
			p.set(func(p *groupScript) { p.view = 6 })
		}
		time.Sleep(2 * time.Second)
		b.Node("n3").SetHealth(nil, 0, false)
		for range 50 {
			time.Sleep(100 * time.Millisecond)
			if s, reason := stateOf(d, 2); s != StateDown {
				t.Fatalf("it is %s: %s", s, reason)
			}
		}
		if _, reason := stateOf(d, 2); reason != runsWithout {
			t.Error(reason)
		}
		for _, p := range nodes {
			p.set(func(p *groupScript) { p.view = 7 })
		}
		time.Sleep(5 * time.Second)
		for i := range nodes {
			if s, reason := stateOf(d, i); s != StateUp {
				t.Errorf("n%d is %s: %s", i+1, s, reason)
			}
		}
		// The views of members in use may differ for a moment.
		nodes[0].set(func(p *groupScript) { p.view = 8 })
		for range 50 {
			time.Sleep(100 * time.Millisecond)
			if s, reason := stateOf(d, 1); s != StateUp {
				t.Fatalf("n2 is %s: %s", s, reason)
			}
		}
	})
}

// A server that leaves its group does not answer for some seconds how far it is. It is
// asked for its state all the same: what it answers after it has left is old.
func TestAMemberThatDoesNotAnswerWhileItLeaves(t *testing.T) {
	for name, opts := range map[string][]Option{"nothing is required": nil, "prefer-standby": {WithRequire(RequirePreferStandby)}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				nodes := groupNodes(b, 3)
				d := fakeCluster(t, b, 3, append(opts, WithDialect(DialectMySQL))...)
				openDB(t, d)
				time.Sleep(10 * time.Second)
				nodes[2].set(func(p *groupScript) { p.hangs = true })
				always(t, d, 2, 4*time.Second)
				if s := d.Status().Nodes[2]; s.Role != RoleReplica {
					t.Errorf("it is a %s", s.Role)
				}
				nodes[2].set(func(p *groupScript) { p.hangs, p.state, p.role, p.lone = false, "OFFLINE", "", true })
				time.Sleep(1200 * time.Millisecond) // the next probe
				if s, reason := stateOf(d, 2); s != StateDown {
					t.Errorf("%s: %s", s, reason)
				}
				// One that never answers is not asked all the time: each question costs the
				// probe's connection.
				nodes[1].set(func(p *groupScript) { p.hangs, p.asked = true, 0 })
				time.Sleep(time.Minute)
				synctest.Wait()
				nodes[1].set(func(p *groupScript) {
					if p.asked < 5 || p.asked > 12 {
						t.Errorf("asked %d times in a minute", p.asked)
					}
				})
				if s, reason := stateOf(d, 1); s != StateUp {
					t.Errorf("%s: %s", s, reason)
				}
			})
		})
	}
}

// A member that was put out while it was frozen, and does not answer how far it is
// when it goes on, has the view that it had before.
func TestAMemberThatWasPutOutAndDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := groupNodes(b, 3)
		d := fakeCluster(t, b, 3, WithDialect(DialectMySQL), WithRequire(RequirePreferStandby))
		openDB(t, d)
		time.Sleep(10 * time.Second)
		b.Node("n3").SetHealth(nil, 0, true)
		time.Sleep(10 * time.Second)
		for _, p := range nodes[:2] {
			p.set(func(p *groupScript) { p.view = 6 })
		}
		time.Sleep(2 * time.Second)
		nodes[2].set(func(p *groupScript) { p.hangs = true })
		b.Node("n3").SetHealth(nil, 0, false)
		never(t, d, 2, 20*time.Second)
	})
}

// A secondary that applies nothing of what the group writes lags. Where the primary is
// no node of the cluster, what waits there to be applied tells.
func TestAMemberThatAppliesNothing(t *testing.T) {
	for name, hidden := range map[string]bool{"with the primary": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				nodes := groupNodes(b, 3)
				d := fakeCluster(t, b, 3, WithDialect(DialectMySQL), WithRequire(RequireStandby), WithMaxLag(2*time.Second))
				last := 2
				if hidden {
					if err := d.DelNode("n1"); err != nil {
						t.Fatal(err)
					}
					last--
				}
				openDB(t, d)
				time.Sleep(10 * time.Second)
				for range 10 {
					for _, p := range nodes[:2] {
						p.set(func(p *groupScript) { p.executed++ })
					}
					nodes[2].set(func(p *groupScript) { p.waiting++ })
					always(t, d, last, 190*time.Millisecond)
				}
				// The primary is looked at within a second of the first transaction, and the member
				// within another. That is when its lag begins. It is over max_lag two seconds later,
				// and the next look finds it: five seconds, of which 1.9 are over.
				time.Sleep(3200 * time.Millisecond)
				if s, reason := stateOf(d, last); s != StateDown || !strings.HasPrefix(reason, "lagging: further behind its primary than max_lag (2s)") {
					t.Errorf("%s: %s", s, reason)
				}
				always(t, d, last-1, time.Second)
				nodes[2].set(func(p *groupScript) { p.executed, p.waiting = p.executed+p.waiting, 0 })
				time.Sleep(4 * time.Second)
				always(t, d, last, time.Second)
			})
		})
	}
}

// In a planned switchover under load the secondaries stay in use, and the primary that
// becomes one: it has all that there was.
func TestSwitchoverOfAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		nodes := groupNodes(b, 3)
		var told diary
		d := fakeCluster(t, b, 3, WithDialect(DialectMySQL), WithRequire(RequirePreferStandby), WithMaxLag(2*time.Second), WithOnEvent(told.write))
		openDB(t, d)
		time.Sleep(10 * time.Second)
		for i := range 300 { // a transaction every 100 ms; two members have it 50 ms later
			if i%100 == 0 {
				nodes[i/100].set(func(p *groupScript) { p.role = "PRIMARY" })
				nodes[(i/100+2)%3].set(func(p *groupScript) { p.role = "SECONDARY" })
			}
			nodes[i/100].set(func(p *groupScript) { p.executed++ })
			time.Sleep(50 * time.Millisecond)
			for j, p := range nodes {
				if j != i/100 {
					p.set(func(p *groupScript) { p.executed++ })
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
		synctest.Wait()
		for i := range nodes {
			for _, e := range told.of(nodeName(i), EventState, EventRetired) {
				if e.From != StateUnknown {
					t.Errorf("%+v", e)
				}
			}
		}
	})
}
