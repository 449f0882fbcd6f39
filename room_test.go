package clustersql

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A crowd of opens waits at full nodes. Now and then one of them is called and
// asks again; the others sleep on, and the strategy does not plan for them. When
// there is room for all, all are served.
func TestCrowdSleepsWhileThereIsNoRoom(t *testing.T) {
	const crowd = 300
	full := fakedb.Script{Err: &mysql.MySQLError{Number: 1040, Message: "Too many connections"}}
	synctest.Test(t, func(t *testing.T) {
		var plans atomic.Int64
		b := fakedb.New()
		d := fakeCluster(t, b, 3, WithOpenTimeout(time.Minute), WithStrategy(NewStrategy("counts", func(nodes []NodeStatus) []Launch {
			plans.Add(1)
			return Race.Plan(nodes)
		})))
		c := d.Connector()
		synctest.Wait()
		for i := range 3 {
			b.Node(nodeName(i)).Set(full)
		}
		var wg sync.WaitGroup
		for range crowd {
			wg.Go(func() {
				conn, err := c.Connect(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				conn.Close()
			})
		}
		time.Sleep(20 * time.Second)
		// A change of a node's state wakes all of them, and may do so once or twice.
		if again := plans.Load() - crowd; again > 5*crowd {
			t.Errorf("the strategy planned %d times again for %d opens, while there was room for none", again, crowd)
		}
		b.Node("n2").Set(fakedb.Script{})
		wg.Wait()
		if open := d.m.room.Waiting(); open != 0 {
			t.Errorf("%d opens are left in the room", open)
		}
	})
}

// A node does not call an open that was there already and has nothing new to
// hope for. The others are called, up to the room that there is.
func TestOnlyThoseWhoMayAskAreCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fakeCluster(t, fakedb.New(), 1)
		_ = openDB(t, d)
		synctest.Wait()
		n := (*d.m.nodes.Load())[0]
		asked := &opening{m: d.m, failures: map[*node]*failure{n: {node: n, retryEpoch: n.snapshot.Load().retryEpoch}}}
		others := []*opening{{m: d.m}, {m: d.m}, {m: d.m}}
		d.m.room.Enter(asked)
		for _, o := range others {
			d.m.room.Enter(o)
		}
		d.m.room.Invite(n, 2)
		calls := func(o *opening) int { return len(o.seat.Called()) }
		if calls(asked) != 0 || calls(others[0]) != 1 || calls(others[1]) != 1 || calls(others[2]) != 0 {
			t.Error("called:", calls(asked), calls(others[0]), calls(others[1]), calls(others[2]))
		}
	})
}

// The first connection comes at the very moment at which the open ends, by
// open_timeout or by Close. The caller gets it or it is closed.
func TestConnThatComesAsTheOpenEnds(t *testing.T) {
	for name, end := range map[string]func(d Driver){
		"open_timeout": func(Driver) {},
		"Close":        func(d Driver) { d.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			for range 300 {
				synctest.Test(t, func(t *testing.T) {
					const moment = 100 * time.Millisecond
					b := fakedb.New()
					timeout := moment
					if name == "Close" {
						timeout = time.Minute
					}
					d := ownFakeCluster(t, b, 3, WithOpenTimeout(timeout))
					c := d.Connector()
					synctest.Wait()
					for i := range 3 {
						b.Node(nodeName(i)).Set(fakedb.Script{Delay: moment})
					}
					time.AfterFunc(moment, func() { end(d) })
					if conn, err := c.Connect(t.Context()); err == nil {
						conn.Close()
					}
					d.Close()
					synctest.Wait()
					wantNothingLeft(t, b)
				})
			}
		})
	}
}
