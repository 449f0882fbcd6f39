package simulation

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// An ending is how a schedule ends once its steps are done.
type ending int

const (
	endWell   ending = iota // the faults end, and then all is closed
	endHealed               // all is closed, and then the faults end
	endTwice                // two Closes, beside what a removed node still does
	endBeside               // Connects beside the Close of the last connector
	endOwn                  // a program with a pool of its own: Driver.Open
)

// finish ends a schedule in its way. The last Close has returned then.
func (w *world) finish() {
	if w.plan.ending != endHealed && w.plan.ending != endTwice {
		w.heal()
		w.settle()
		w.wellAgain()
	}
	w.special.Store(w.plan.ending == endTwice || w.plan.ending == endBeside || w.plan.ending == endOwn)
	if w.plan.settings.pooled == 1 && w.plan.ending >= endBeside && w.violated() == "" {
		for range 5 {
			w.handoff(w.db)
		}
	}
	if w.plan.unclosed && w.plan.ending != endHealed && w.plan.ending != endTwice && w.violated() == "" {
		w.hour()
	}
	switch w.plan.ending {
	case endTwice:
		w.closeTwice()
	case endBeside:
		w.close(w.db)
		w.closeBeside()
	case endOwn:
		w.release() // a Close waits for a hook that hangs
		w.close(w.db)
		w.closeOwn()
	default:
		w.close(w.db)
	}
	w.driver.Close()
	w.release()
	if w.plan.ending == endHealed || w.plan.ending == endTwice {
		w.heal()
		w.settle()
		w.close(w.db)
	}
}

// release lets the program's hook return.
func (w *world) release() { w.once.Do(func() { close(w.hook) }) }

// wellAgain is called when all nodes are well and no call is under way. After a
// while every node is in use again, and what was removed has ended.
func (w *world) wellAgain() {
	if w.violated() != "" {
		return
	}
	time.Sleep(max(w.plan.settings.back(), w.plan.settings.lag(), w.plan.settings.cfg.DrainTimeout) + time.Second)
	w.check()
	now := w.glance()
	for name, s := range now {
		if s.State != clustersql.StateUp && s.State != clustersql.StateSuspect && s.State != clustersql.StateDraining {
			w.violate("all is well, and %s is %s (%s)", name, s.State, s.Reason)
		}
	}
	if actors := strings.Count(bubble(), ".(*node).run("); actors != len(now) {
		w.violate("%d nodes have %d actors:\n%s", len(now), actors, bubble())
	}
}

// hour has a node refuse work for long while no connection to it can be closed:
// the backend's Close does not return. Each probe of it leaves one behind, and
// the cluster stops probing when there are too many.
func (w *world) hour() {
	name := nodeName(0)
	w.setMood([]string{name}, mood{"not ready, and Close hangs", fakedb.Mood{Refuse: errNotReady, Unclosed: true, Delay: w.plan.settings.pace}, false})
	for range 12 {
		time.Sleep(5 * time.Minute)
		w.check()
	}
	w.heal()
	w.settle()
	w.wellAgain()
}

// checkClosing bounds the conns whose Close hangs, but for those that database/sql
// had: it has a bound of its own.
func (w *world) checkClosing() {
	w.mu.Lock()
	handed := 0
	for c := range w.handed {
		if c.Closing() {
			handed++
		}
	}
	w.mu.Unlock()
	closing := w.backend.Stats().Closing - handed
	if most := w.plan.settings.nodes * (3*w.plan.settings.cfg.MaxOpensPerNode + 6); closing > most {
		w.violate("%d conns wait for the backend's Close to return, and nothing bounds that (%d would be enough)", closing, most)
	}
}

// hurry has one node change between two moods many times, as a node does whose
// server dies at every start.
func (w *world) hurry(name string, times int, m mood) {
	for range times {
		w.setMood([]string{name}, m)
		time.Sleep(w.plan.settings.cfg.ProbeInterval * 3)
		w.setMood([]string{name}, w.well())
		time.Sleep(w.plan.settings.back() / 4)
	}
}

// rivals has Undrain and DelNode of one node meet. Whoever comes first, the node
// is gone after that.
func (w *world) rivals(name string) {
	for range 10 {
		w.addNode(name)
		w.drain(name)
		var both sync.WaitGroup
		var tries atomic.Int64
		both.Go(func() {
			for range 1000 {
				if tries.Add(1); w.driver.Undrain(name) != nil {
					return // there is no such node any more
				}
			}
		})
		both.Go(func() {
			for tries.Load() < 3 {
				runtime.Gosched()
			}
			w.delNode(name)
		})
		both.Wait()
	}
	w.addNode(name)
}

// handoff has callers leave in the instant in which database/sql's opener has a
// conn for one of them. database/sql puts the conn into its pool then; the cluster hears
// that, and not when it is taken again. A func of Raw holds it then, while its
// node is drained.
func (w *world) handoff(db *sql.DB) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	held, err := db.Conn(ctx)
	if err != nil {
		return
	}
	waits, leave := context.WithCancel(ctx)
	var others sync.WaitGroup
	for range 20 {
		others.Go(func() {
			if conn, err := db.Conn(waits); err == nil {
				conn.Close()
			}
		})
	}
	time.Sleep(time.Millisecond)
	_ = held.Raw(func(raw any) error {
		raw.(clustersql.Conn).Raw().(*fakedb.Conn).Lose(errReset, false)
		return nil
	})
	others.Go(func() {
		time.Sleep(w.openTakes())
		leave()
	})
	held.Close()
	others.Wait()
	conn, err := db.Conn(ctx)
	if err != nil {
		return
	}
	defer conn.Close()
	node := make(chan string, 1)
	others.Go(func() {
		name, ok := <-node
		if !ok {
			return
		}
		time.Sleep(5 * time.Millisecond)
		w.drain(name)
		time.Sleep(time.Second / 50)
		_ = w.driver.Undrain(name)
	})
	_ = conn.Raw(func(raw any) error {
		backend := raw.(clustersql.Conn).Raw().(*fakedb.Conn)
		node <- backend.NodeName()
		before := backend.Closed() // of a drain before: the cluster does not see that the conn was taken out of the pool
		time.Sleep(20 * time.Millisecond)
		if !before && backend.Closed() {
			w.violate("the conn of %s was closed while a func of Raw held it", backend.NodeName())
		}
		return nil
	})
	close(node)
	others.Wait()
}

// openTakes is how long an open takes when the nodes are well.
func (w *world) openTakes() time.Duration {
	if w.plan.settings.cfg.Require == clustersql.RequireWritable {
		return 3 * w.plan.settings.pace
	}
	return 2 * w.plan.settings.pace
}

// direct opens on the cluster without database/sql. The caller closes both.
func (w *world) direct() *connector {
	c := &connector{w: w, inner: w.driver.Connector()}
	c.closed.Store(true) // its conns are in no pool
	return c
}

// closeTwice closes the cluster twice at once while a node that was removed still
// has a backend deaf to cancel. Both wait for the same.
func (w *world) closeTwice() {
	name := nodeName(0)
	w.setMood([]string{name}, mood{"silent and deaf", fakedb.Mood{Silent: true, Deaf: true}, false})
	c := w.direct()
	var attempts sync.WaitGroup
	for range 2 {
		attempts.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), w.plan.settings.cfg.AttemptTimeout/2)
			defer cancel()
			if conn, err := c.Connect(ctx); err == nil {
				conn.Close()
			}
		})
	}
	time.Sleep(time.Millisecond)
	w.delNode(name)
	time.Sleep(time.Millisecond)
	var closes sync.WaitGroup
	var took [2]time.Duration
	began := time.Now()
	for i := range took {
		closes.Go(func() {
			w.driver.Close()
			took[i] = time.Since(began)
		})
	}
	closes.Wait()
	if took[0] != took[1] {
		w.violate("of two Closes at once one took %s and the other %s", min(took[0], took[1]), max(took[0], took[1]))
	}
	attempts.Wait()
	c.Close()
}

// closeBeside has the last connector closed while a conn is on its way to the
// caller: its node is cut just before it is given, and the cut takes time.
// Whoever has closed the cluster is given no connection any more.
func (w *world) closeBeside() {
	c := w.direct()
	time.Sleep(10 * w.plan.settings.pace) // the nodes have been probed
	w.cutTakes.Store(int64(2 * w.plan.settings.cfg.AttemptTimeout))
	w.setMood(w.names(), mood{"silent", fakedb.Mood{Silent: true}, false})
	var opens sync.WaitGroup
	opens.Go(func() {
		for err := error(nil); !errors.Is(err, clustersql.ErrClosed); {
			var conn driver.Conn
			if conn, err = c.Connect(context.Background()); err == nil {
				conn.Close()
				return
			}
			time.Sleep(time.Millisecond) // where all nodes are drained it fails at once
		}
	})
	for range 2000 {
		down, won := w.anyDown()
		if down {
			w.setMood(w.names(), w.well())
		}
		if won {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.Close()
	c.over.Store(time.Now().UnixNano())
	opens.Wait()
	w.cutTakes.Store(0)
	w.heal()
}

// anyDown reports whether a node is down, and whether one has given a conn that
// nobody has yet.
func (w *world) anyDown() (down, won bool) {
	given := uint64(0)
	for _, s := range w.glance() {
		down = down || s.State == clustersql.StateDown
		given += s.Won
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return down, given > uint64(len(w.handed)) && w.opening.Load() > 0
}

// A socketOf is a socket whose end may take time.
type socketOf struct {
	net.Conn
	w *world
}

// Close loses the connection, and then takes its time.
func (s socketOf) Close() error {
	err := s.Conn.Close()
	if d := s.w.cutTakes.Load(); d > 0 {
		time.Sleep(time.Duration(d))
	}
	return err
}

// LastReceived returns when the server last answered.
func (s socketOf) LastReceived() time.Time {
	return s.Conn.(interface{ LastReceived() time.Time }).LastReceived()
}

// closeOwn has the cluster close an idle conn that came from Driver.Open and holds
// the last connector. That takes no time.
func (w *world) closeOwn() {
	before := w.glance()
	conn, err := w.driver.Open("")
	if err != nil {
		return // all nodes are drained
	}
	pool := &connector{w: w}
	pool.closed.Store(true)
	w.handover(pool, conn, before, w.glance())
	if !conn.(driver.Validator).IsValid() { // as a pool asks that takes it back
		w.violate("a fresh conn of Driver.Open is not valid")
	}
	w.drain(within(conn).NodeName())
	synctest.Wait()
	time.Sleep(w.plan.settings.cfg.LoserGrace + 5*w.plan.settings.pace)
	if all := bubble(); strings.Contains(all, ").halt(") {
		w.violate("a conn that the cluster has closed where it lay waits for itself:\n%s", all)
	}
	time.Sleep(w.plan.settings.cfg.AttemptTimeout)
	conn.Close()
}
