package clustersql

import (
	"time"

	"github.com/EnumApps/clustersql/internal/health"
)

// An overtaking is an attempt that lost to a sibling launched later: the
// node had the open to itself for the granted time, and is slower than that.
type overtaking struct {
	req     *request
	granted time.Duration
	at      time.Time
}

// tellOvertaken tells the actors of the nodes whose attempts were overtaken.
// Launches that started together are a volley; none of them overtakes another.
// It is called when all goroutines of the open have ended.
func (o *opening) tellOvertaken(plan []launch) {
	won := volley(plan, o.winner.node)
	if won == 0 {
		return
	}
	now := time.Now()
	for _, f := range o.failures {
		if v := volley(plan, f.node); f.why == nil && v < won {
			f.node.overtaken(overtaking{f.req, granted(plan, v), now})
		}
	}
}

// volley is the number of waits before a node's launch.
func volley(plan []launch, n *node) int {
	v := 0
	for i, l := range plan {
		if i > 0 && l.wait > 0 {
			v++
		}
		if l.node == n {
			break
		}
	}
	return v
}

// granted is the wait after a volley, which is not the plan's last.
func granted(plan []launch, v int) time.Duration {
	for i, l := range plan {
		if i > 0 && l.wait > 0 {
			if v == 0 {
				return l.wait
			}
			v--
		}
	}
	return 0
}

// overtaken tells the actor, and returns when its loop has taken it.
func (n *node) overtaken(e overtaking) {
	l := n.life.Load()
	select {
	case l.overtaken <- e:
	case <-l.ctx.Done():
	}
}

// onOvertaken makes a node suspect that was slower than it is used to be. A
// request that waited for a slot says nothing about the node, and neither
// does one whose sibling was pulled forward by the failure of a third.
func (n *node) onOvertaken(l *life, e overtaking) {
	if e.req.began.IsZero() {
		return
	}
	if took := e.at.Sub(e.req.began); took >= e.granted {
		n.learn(l, health.Evidence{Class: health.Slow, Took: took, Reason: health.SlowReason(took)})
	}
}
