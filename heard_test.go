package clustersql

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/roles"
)

// A replica that receives nothing is judged while its primary gives its first answer.
// Whichever comes first, the replica's lag is not known.
func TestPrimaryThatAnswersMeanwhileIsHeard(t *testing.T) {
	d := fakeCluster(t, fakedb.New(), 2, WithDialect(DialectMySQL), WithRequire(RequirePreferStandby), WithMaxLag(5*time.Second))
	nodes := *d.m.nodes.Load() // their loops do not run, as nobody has opened the cluster
	primary, replica := nodes[0], nodes[1]
	unheard := primary.snapshot.Load()
	heard := *unheard
	heard.state, heard.answers, heard.answered = health.Up, true, time.Now()
	heard.part = &roles.Part{
		Replication: health.Replication{Role: health.RolePrimary, Access: health.AccessWrite, Server: "1"}, At: heard.answered,
	}
	said := &health.Replication{Role: health.RoleReplica, Access: health.AccessRead, Server: "2", Source: "1", Stream: health.StreamBroken}
	// Where the two are looked for one after the other, 20 to 50 rounds fail on two processors.
	for i := range 20_000 {
		primary.snapshot.Store(unheard)
		replica.loop.facts.part, replica.loop.role = nil, nil
		var begins atomic.Bool
		ready, answered := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(answered)
			close(ready)
			for !begins.Load() {
				runtime.Gosched()
			}
			for range i % 1000 { // the answer comes at another moment each time
				primary.snapshot.Load()
			}
			primary.snapshot.Store(&heard)
		}()
		<-ready
		begins.Store(true)
		p, _ := replica.noteRole(said, time.Now())
		<-answered
		if p.Lag.Known {
			t.Fatalf("round %d: %+v", i, p.Lag)
		}
	}
}
