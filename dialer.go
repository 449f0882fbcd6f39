package clustersql

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync/atomic"

	"github.com/EnumApps/clustersql/internal/causal"
	"github.com/EnumApps/clustersql/internal/clusterdsn"
	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/dialects"
	"github.com/EnumApps/clustersql/internal/discovery"
	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/logline"
	"github.com/EnumApps/clustersql/internal/redact"
	"github.com/EnumApps/clustersql/internal/socket"
)

// Dial dials like a net.Dialer, and lets the cluster cut the connection: if the
// node turns out to be silent, the cluster closes the socket, and a query that
// hangs on it returns. Nodes with a mysql DSN on network tcp or unix use Dial
// without being asked to, unless [Config.Dial] is "backend". Pass it to other
// backends that dial in Connect, such as pgx with its DialFunc. The driver of the
// module github.com/EnumApps/clustersql/pgx has it.
//
// The connection is returned unwrapped, because a backend may look at its type.
// ctx must be the one that the backend's Connect was given, or made from it.
// With any other ctx Dial is a plain dial. On Linux a TCP connection gets
// [Config.TCPUserTimeout].
func Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	slot := socket.Of(ctx)
	if slot == nil {
		return discovery.Dial(ctx, net.DefaultResolver, network, addr, func(bool) {})
	}
	slot.Begin()
	conn, err := discovery.Dial(ctx, slot.NameService(), network, addr, slot.Resolve)
	if err != nil {
		slot.Fail(err)
		return nil, err
	}
	slot.Limit(conn)
	TrackSocket(ctx, conn)
	return conn, nil
}

// dialTo returns a dial that leads to another address than it is asked for: the
// backend knows the name of the node, and does not know its address. Without an
// address it is Dial.
func dialTo(at string) dialect.Dial {
	if at == "" {
		return Dial
	}
	return func(ctx context.Context, network, _ string) (net.Conn, error) { return Dial(ctx, network, at) }
}

// A DialContextDriver is a backend whose connectors dial as they are told. With
// it a node that discovery has found is dialled at its address, while its DSN keeps
// the name that TLS verifies. Other backends get a DSN with the address.
//
// OpenConnectorDial returns the connector of a DSN, and dials nothing. The connector
// dials with dial alone, resolves no name itself, and passes the ctx of its Connect,
// or one made from it. An error may hold the DSN: the cluster redacts it.
type DialContextDriver interface {
	driver.DriverContext
	OpenConnectorDial(dsn string, dial func(ctx context.Context, network, addr string) (net.Conn, error)) (driver.Connector, error)
}

// TrackSocket lets the cluster cut a connection that your own dialer has made.
// The cluster never reads or writes on the connection, and sets no option of it.
// It only closes it, from any goroutine and at any time. The
// backend owns the connection. If one Connect tracks several, the last one
// counts.
func TrackSocket(ctx context.Context, conn net.Conn) {
	socket.Track(ctx, conn)
}

// A dialer makes checked connections to one node. Every method may be called
// from any goroutine.
type dialer struct {
	recipes *atomic.Pointer[recipe] // the node's; see recipe
	known   *dialerFacts
	dialect dialect.Dialect
	log     logline.Logger
}

// dialerFacts are what a dialer needs to know beside its backend.
type dialerFacts struct {
	dials atomic.Bool              // the backend has dialled the node with Dial
	nodes *atomic.Pointer[[]*node] // the cluster's, whose secrets are not shown either
}

// A dialError is a failed dial or check, with what it says about the node.
type dialError struct {
	class health.Class
	err   error
	text  string       // text of err, redacted
	need  health.Scope // what a check must look at to see the fault again
	fresh bool         // the connection was a new one, or was to be
	goes  bool         // the server has refused the check, and the connection goes on
	spoke bool         // the server has answered on the new connection before it gave no more answer
	ours  bool         // it failed because we cancelled it

	reasoned bool // text is a reason already
}

// reason returns the failure's text for snapshots and logs.
func (e *dialError) reason() string { return fmt.Sprintf("%s: %s", e.class, e.text) }

// A dialed is what came of a dial and its check, or of a check alone.
type dialed struct {
	conn   driver.Conn      // whoever has asked for it owns it
	found  *health.Report   // of a check that conn has passed
	place  *causal.Position // of the node, if it was asked for; else nil
	failed *dialError       // if conn is set, the check has found it unfit

	lasting *socket.Slot // of a probe's conn
}

// The errors of a Connect or check that has ended its goroutine, as the FailNow
// of a test does.
var (
	errConnectEnded       = errors.New("the backend ended its goroutine in Connect")
	errCheckEnded   error = &panicError{"the check ended its goroutine (runtime.Goexit)"}
)

// open dials, does the handshake and checks. ctx bounds it if the backend
// reacts to cancel. If released is closed before the check, nobody is going to
// use the conn, so the check is left out and there is no report. A conn that
// comes with an error is never touched.
//
// The backend or the check may end the goroutine. Then open does not return, but
// r holds what came of it all the same, for the deferred calls of the caller.
func (d *dialer) open(ctx context.Context, released <-chan struct{}, q question, r *dialed) {
	defer r.dialled()
	d.connect(ctx, r)
	if r.failed != nil {
		return
	}
	if slot := socket.Of(ctx); slot.Connect() {
		d.known.dials.Store(true)
	}
	select {
	case <-released:
	default:
		d.test(ctx, q, r)
	}
}

// dialled notes that r is about a new conn, or about one that was to be.
func (r *dialed) dialled() {
	switch {
	case r.failed != nil:
		r.failed.fresh = true
		if r.conn == nil || r.failed.class == health.Silent {
			r.failed.need |= health.ScopeDial
		}
	case r.found != nil:
		r.found.Saw |= health.ScopeDial
	}
}

// test runs the check on r.conn, and fills in the rest of r. As open does, it
// does so also if the check ends the goroutine.
func (d *dialer) test(ctx context.Context, q question, r *dialed) {
	run, found := dialect.WithReport(ctx, q.want)
	found.Causal, found.Attempt, found.Asker = q.causal, socket.Of(ctx), d
	if q.lasting != nil {
		found.Attempt = q.lasting
	}
	if found.Brief, found.Member = q.brief, q.member; !q.by.IsZero() {
		found.Extra = q.extra
	}
	err := errCheckEnded
	defer func() {
		if err != nil {
			r.failed = d.judge(ctx, err, health.NotReady)
			r.failed.goes = r.failed.refuses()
		} else {
			r.found = found
		}
	}()
	if err = d.examine(run, r.conn, found, q.settle); err == nil && q.site != nil {
		err = d.askPlace(run, r, found, *q.site)
	}
}

// refuses reports whether a check's failure is an answer after which its
// connection goes on: no right, no room, an interrupted statement. After a panic
// nobody knows what is left of the connection.
func (e *dialError) refuses() bool {
	var panicked *panicError
	switch e.class {
	case health.Misconfigured, health.Saturated, health.Failed:
		return !e.spoke && !errors.As(e.err, &panicked)
	}
	return false
}

// connect calls the backend's Connect. A panic or an empty answer becomes an
// error.
func (d *dialer) connect(ctx context.Context, r *dialed) {
	err := errConnectEnded
	defer func() {
		if err != nil {
			r.failed = d.judge(ctx, err, health.Failed)
		}
	}()
	defer d.contain("Connect", &err)
	made := d.recipeInUse()
	defer made.owned.Done()
	var conn driver.Conn
	switch conn, err = made.connector.Connect(ctx); {
	case err != nil:
	case conn == nil:
		err = errors.New("the backend returned neither a connection nor an error")
	default:
		r.conn = conn
	}
}

// examine runs the check. A panic becomes an error. If it is wanted to know
// whether the node does work, and the check does not show that, the dialect
// tests it: a node that refuses statements may still answer Ping.
// settle says that the conn is a probe's and new.
func (d *dialer) examine(ctx context.Context, conn driver.Conn, found *health.Report, settle bool) (err error) {
	defer d.contain("check", &err)
	if settle {
		if err := d.dialect.Settle(ctx, conn); err != nil {
			return err
		}
	}
	if err := d.recipe().check(ctx, conn); err != nil || found.Spent || found.Want&^found.Saw&health.ScopeWork == 0 {
		return err
	}
	return d.dialect.Works(ctx, conn)
}

// close calls the backend's Close, for conns that database/sql does not get.
// Nobody can use the error, so it is dropped.
func (d *dialer) close(conn driver.Conn) {
	var err error
	defer d.contain("Close", &err)
	err = conn.Close()
}

// judge classes an error of a dial or a check. An error without a class of its
// own gets the class that is passed as otherwise, unless we cancelled ctx
// ourselves. The methods of a backend's error may panic; judge recovers from
// that.
func (d *dialer) judge(ctx context.Context, err error, otherwise health.Class) (failed *dialError) {
	defer func() {
		if r := recover(); r != nil {
			failed = d.failure(otherwise, fmt.Errorf("the backend's error, a %T, panicked", err))
		}
	}()
	cause := context.Cause(ctx)
	switch {
	case cause != nil && errors.Is(cause, context.DeadlineExceeded) && socket.Of(ctx).Unresolved():
		return d.failure(health.Neutral, fmt.Errorf("the name service gave no address: %w", cause))
	case cause != nil && errors.Is(cause, context.DeadlineExceeded) && socket.Of(ctx).Worked():
		failed = d.failure(health.Failed, fmt.Errorf("the server does work, and the rest of the check got no answer: %w", cause))
		failed.spoke = true
		return failed
	case cause != nil && errors.Is(cause, context.DeadlineExceeded):
		if d.elsewhere(ctx, health.Silent, nil) {
			return d.failure(health.Failed, fmt.Errorf("the backend has not begun to dial: %w", cause))
		}
		return d.failure(health.Silent, cause)
	case cause != nil:
		failed = d.failure(health.Neutral, err)
		failed.ours = true
		return failed
	}
	c := health.Classify(err, d.dialect.Classify)
	if c == health.Neutral && !health.OwnTrouble(err) {
		c = otherwise
		if c == health.NotReady && d.ownFault(err) {
			c = health.Failed
		}
	}
	if d.elsewhere(ctx, c, err) {
		c = health.Failed
	}
	failed = d.failure(c, err)
	failed.need = health.NeedOf(err, d.dialect.Classify)
	return failed
}

// ownFault reports whether a check's error says nothing of the work that the
// node does: somebody has ended the statement, its time was over, it has waited
// for a lock, or the check has panicked.
func (d *dialer) ownFault(err error) bool {
	var panicked *panicError
	_, known := d.dialect.Classify(err)
	return known || errors.As(err, &panicked)
}

// elsewhere reports whether a failure of the backend's Connect is not the node's:
// the backend dials the node with [Dial], and that dial has not begun, or has
// succeeded before the error came. In its Connect a backend may ask others too,
// such as a token service. err is nil if ctx is past its deadline. Of a backend
// that has never used Dial this is not known.
func (d *dialer) elsewhere(ctx context.Context, c health.Class, err error) bool {
	slot := socket.Of(ctx)
	if !slot.Connecting() || !d.known.dials.Load() {
		return false
	}
	begun, failed := slot.Dials()
	switch c {
	case health.Silent:
		return !begun
	case health.Refused:
		return failed == nil || !errors.Is(err, failed)
	case health.Lost:
		return !begun
	}
	return false
}

// failure redacts an error's text. It replaces an error that is a
// driver.ErrBadConn by that text.
func (d *dialer) failure(c health.Class, err error) *dialError {
	text := d.hide(redact.Stable(err))
	if errors.Is(err, driver.ErrBadConn) {
		err = errors.New(text)
	}
	return &dialError{class: c, err: err, text: text}
}

// hide returns a text without the secrets of this node and of the others: a check
// may name them too.
func (d *dialer) hide(text string) string {
	text = d.recipe().hide(text)
	if d.known != nil && d.known.nodes != nil {
		text = redacted(*d.known.nodes.Load(), text)
	}
	return text
}

// contain turns a panic of the backend into an error, and logs its stack. It
// must be deferred directly.
func (d *dialer) contain(what string, err *error) {
	if r := recover(); r != nil {
		*err = d.panicked(what, r)
	}
}

func (d *dialer) panicked(what string, with any) error {
	text := d.hide(fmt.Sprint(with))
	d.log.Print(logline.BackendPanic, what, text, d.hide(string(debug.Stack())))
	return &panicError{fmt.Sprintf("the backend panicked in %s: %s", what, text)}
}

// Panicked is for a part of the check that may fail.
func (d *dialer) Panicked(with any) error { return d.panicked("check", with) }

// askPlace asks a probe's conn for the node's position. The node is used also if
// there is no answer.
func (d *dialer) askPlace(ctx context.Context, r *dialed, found *health.Report, at dialect.Site) (err error) {
	if found.Brief || found.Spent {
		return nil
	}
	defer found.Recover(&err)
	extra, done := dialect.Extra(ctx)
	defer done()
	p, _, err := d.dialect.Position(extra, r.conn, at)
	switch {
	case err == nil:
		r.place = &p
	case !errors.Is(err, dialect.ErrNoPosition) && !found.Excuses(health.Classify(err, d.dialect.Classify)):
		return err
	}
	return nil
}

// An address is the host and port of the DSN of a recipe, or its socket.
type address struct {
	of   *recipe
	text string // empty if it is not known
}

// address returns where the node is.
func (n *node) address() string {
	r, known := n.dial.recipe(), n.tally.address.Load()
	if known == nil || known.of != r {
		known = &address{r, cmp.Or(r.addr, n.dial.hide(dialects.AddressOf(n.dial.dialect, r.dsn, clusterdsn.Prefix)))}
		n.tally.address.Store(known)
	}
	return known.text
}
