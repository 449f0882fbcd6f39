package session

import "sync/atomic"

// A usage says whether a conn is in use, idle or closed, and who may close it.
// database/sql calls IsValid when it puts a conn into its pool, and
// ResetSession when it takes it out. Between the two the conn is idle, and the
// cluster may close it there. This is needed because the pool is last in, first
// out: database/sql does not look at the conns at its bottom.
//
// One kind of conn enters the pool without a call of IsValid, or leaves it
// without one of ResetSession: one that was never used. database/sql opened it,
// from a goroutine of its own, for a caller who had left by then, and may pass it
// on to further ones who leave. Such a conn is idle from the beginning, and
// counts as taken out at its first use.
type usage struct {
	state  atomic.Uint32 // one of those below
	retire atomic.Uint32 // unasked, asked or gaveWay
	used   bool          // since it was last put into the pool; owned by the conn's user
}

const (
	inUse  uint32 = iota
	idle          // in the pool, or on its way from one user to the next
	rested        // idle since the cluster last looked
	gone          // closed by the cluster, while it was idle
	closed        // closed by database/sql
)

const (
	unasked uint32 = iota
	asked          // it is to give way when it is next put into the pool
	gaveWay
)

// checkIn is called when database/sql puts the conn into its pool. For a conn
// that was asked to give way it returns false, and database/sql closes the
// conn. Any other conn becomes idle.
func (u *usage) checkIn() bool {
	if u.retire.Load() == asked && u.retire.CompareAndSwap(asked, gaveWay) {
		return false
	}
	u.used = false // before it is idle: then it has no user
	u.state.CompareAndSwap(inUse, idle)
	return true
}

// checkOut marks the conn in use. It reports whether the conn may be taken out
// of the pool.
func (u *usage) checkOut() bool {
	u.used = true
	return u.state.CompareAndSwap(idle, inUse) || u.state.CompareAndSwap(rested, inUse) || u.state.Load() == inUse
}

// firstUse marks the conn in use. It reports whether the conn may be used, and
// whether it was idle before.
func (u *usage) firstUse() (wasIdle, ok bool) {
	u.used = true
	if u.state.CompareAndSwap(idle, inUse) || u.state.CompareAndSwap(rested, inUse) {
		return true, true
	}
	return false, u.state.Load() == inUse
}

// mayClose reports whether the backend's conn is still to be closed. A caller
// who gets true closes it.
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

// rest marks an idle conn. The conn is rested if nobody takes it until the
// cluster looks again.
func (u *usage) rest() { u.state.CompareAndSwap(idle, rested) }

// takeRested takes a rested conn out of use. A caller who gets true closes it.
// A conn that has just been put back is not taken: it may be on its way to a
// caller who has no further try.
func (u *usage) takeRested() bool { return u.state.CompareAndSwap(rested, gone) }

// takeIdle takes an idle conn out of use, rested or not. It is for conns that
// are of no use to anybody. A caller who gets true closes the conn.
func (u *usage) takeIdle() bool { return u.state.CompareAndSwap(idle, gone) || u.takeRested() }

// open reports whether the conn is open: nobody has closed it or is about to.
func (u *usage) open() bool { return u.state.Load() < gone }

// borrow keeps an idle conn from being closed by the cluster until giveBack is
// called. ok is false for a conn that the cluster has closed. Nobody takes the
// conn out of the pool in the meantime, because database/sql holds its lock.
func (u *usage) borrow() (giveBack func(), ok bool) {
	if u.state.CompareAndSwap(idle, inUse) || u.state.CompareAndSwap(rested, inUse) {
		return func() { u.state.CompareAndSwap(inUse, idle) }, true
	}
	return func() {}, u.state.Load() != gone
}

// A Handle is how the cluster reaches a conn that database/sql holds. It tells
// whether the conn is idle, and can close it. All methods may be called from
// any goroutine.
type Handle struct{ t *tenure }

// Rest marks an idle conn. The conn is rested if nobody takes it until the
// cluster looks again.
func (h Handle) Rest() { h.t.usage.rest() }

// TakeRested takes a rested conn out of use. A caller who gets true must close
// it.
func (h Handle) TakeRested() bool { return h.t.usage.takeRested() }

// TakeIdle takes an idle conn out of use, rested or not. A caller who gets true
// must close it.
func (h Handle) TakeIdle() bool { return h.t.usage.takeIdle() }

// Idle reports whether the conn lies idle.
func (h Handle) Idle() bool {
	state := h.t.usage.state.Load()
	return state == idle || state == rested
}

// Open reports whether the conn is open: nobody has closed it or is about to.
func (h Handle) Open() bool { return h.t.usage.open() }

// Ask asks the conn to give way when it is next put into the pool. It reports
// false if the conn was asked before.
func (h Handle) Ask() bool { return h.t.usage.retire.CompareAndSwap(unasked, asked) }

// Withdraw takes back what Ask asked. It reports false for a conn that has
// already given way.
func (h Handle) Withdraw() bool { return h.t.usage.retire.CompareAndSwap(asked, unasked) }

// Close closes the backend's conn. The caller must have got true from
// TakeRested or TakeIdle.
func (h Handle) Close() error { return h.t.close(nil, ByCluster) }
