package session

import "sync/atomic"

// database/sql uses a conn from one goroutine at a time, and says when it puts
// it into its pool (IsValid) and when it takes it out again (ResetSession).
// Between the two the conn is idle, and the cluster may close it there: the
// pool is last in, first out, and does not look at what lies at its bottom.
//
// The one conn that database/sql takes out without a word is one that was
// never used: its opener made it for a caller who had left by then. Its first
// use is where it is taken out.
type usage struct {
	state  atomic.Uint32 // one of those below
	retire atomic.Uint32 // unasked, asked or gaveWay
	used   bool          // owned by the conn's user
}

const (
	inUse  uint32 = iota
	idle          // in the pool, or on its way from one user to the next
	rested        // idle since the cluster last looked
	gone          // closed by the cluster, where it lay
	closed        // by database/sql
)

const (
	unasked uint32 = iota
	asked          // to give way when it is next put into the pool
	gaveWay
)

// checkIn is asked when the conn is put into the pool: it says no to one that
// was asked to give way, which database/sql then closes, and makes any other
// one idle.
func (u *usage) checkIn() bool {
	if u.retire.Load() == asked && u.retire.CompareAndSwap(asked, gaveWay) {
		return false
	}
	u.state.CompareAndSwap(inUse, idle)
	return true
}

// checkOut reports whether the conn may be taken out of the pool.
func (u *usage) checkOut() bool {
	return u.state.CompareAndSwap(idle, inUse) || u.state.CompareAndSwap(rested, inUse) || u.state.Load() == inUse
}

// firstUse reports whether the conn may be used, and whether it has lain in
// the pool.
func (u *usage) firstUse() (pooled, ok bool) {
	u.used = true
	if u.state.CompareAndSwap(idle, inUse) || u.state.CompareAndSwap(rested, inUse) {
		return true, true
	}
	return false, u.state.Load() == inUse
}

// mayClose reports whether the backend's conn is still to be closed, which the
// caller does then.
func (u *usage) mayClose() bool {
	for {
		switch s := u.state.Load(); {
		case s == gone:
			return false
		case u.state.CompareAndSwap(s, closed):
			return true
		}
	}
}

// rest marks an idle conn; it is rested if nobody takes it until the next look.
func (u *usage) rest() { u.state.CompareAndSwap(idle, rested) }

// takeRested makes a conn gone that nobody has wanted for a while; whoever gets
// true closes it. One that has just been put back may be on its way to a
// caller who has run out of tries.
func (u *usage) takeRested() bool { return u.state.CompareAndSwap(rested, gone) }

// takeIdle is takeRested for a conn that is of no use to anybody any more.
func (u *usage) takeIdle() bool { return u.state.CompareAndSwap(idle, gone) || u.takeRested() }

// open reports whether nobody has closed the conn, or is about to.
func (u *usage) open() bool { return u.state.Load() < gone }

// borrow keeps an idle conn from being closed where it lies until the func it
// returns is called. It is not ok for a conn that is gone. Nobody takes the
// conn out of the pool meanwhile: database/sql holds its lock.
func (u *usage) borrow() (giveBack func(), ok bool) {
	if u.state.CompareAndSwap(idle, inUse) || u.state.CompareAndSwap(rested, inUse) {
		return func() { u.state.CompareAndSwap(inUse, idle) }, true
	}
	return func() {}, u.state.Load() != gone
}

// A handle is how the cluster reaches a conn that database/sql holds: to see
// whether it lies idle, and to have it closed. All methods may be called from
// any goroutine.
type Handle struct{ c *conn }

// rest marks a conn that lies idle. It is rested if nobody takes it until the
// next look.
func (h Handle) Rest() { h.c.usage.rest() }

// takeRested takes a rested conn out of use. Whoever gets true closes it.
func (h Handle) TakeRested() bool { return h.c.usage.takeRested() }

// takeIdle takes an idle conn out of use, rested or not. Whoever gets true
// closes it.
func (h Handle) TakeIdle() bool { return h.c.usage.takeIdle() }

// open reports whether nobody has closed the conn, or is about to.
func (h Handle) Open() bool { return h.c.usage.open() }

// ask asks the conn to give way when it is next put into the pool. It reports
// whether the conn was not asked yet.
func (h Handle) Ask() bool { return h.c.usage.retire.CompareAndSwap(unasked, asked) }

// withdraw takes that back. It reports false for a conn that has given way.
func (h Handle) Withdraw() bool { return h.c.usage.retire.CompareAndSwap(asked, unasked) }

// close closes the backend's conn, which the caller has taken out of use.
func (h Handle) Close() error { return h.c.close() }
