package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A barrier answers dials with an error at once while it holds one.
type barrier struct {
	driver.Connector
	err *atomic.Pointer[error]
}

func (g barrier) Connect(ctx context.Context) (driver.Conn, error) {
	if err := g.err.Load(); err != nil && *err != nil {
		return nil, *err
	}
	return g.Connector.Connect(ctx)
}

// gatedCluster returns a cluster of two nodes, each behind a barrier, and a
// connection to the first one. The caller closes it. as is what the cluster sees
// of a connector.
func gatedCluster(t *testing.T, b *fakedb.Backend, as func(driver.Connector) driver.Connector, opts ...Option) (Driver, *sql.Conn, *[2]atomic.Pointer[error]) {
	t.Helper()
	d := NewDriver(b.Driver(), t.Name(), append([]Option{quiet, seeded(t), WithStrategy(Ordered)}, opts...)...)
	t.Cleanup(func() { d.Close() })
	gates := new([2]atomic.Pointer[error])
	for i := range gates {
		if err := d.AddConnector(nodeName(i), as(barrier{connectorOf(t, b, nodeName(i)), &gates[i]})); err != nil {
			t.Fatal(err)
		}
	}
	db := openDB(t, d)
	time.Sleep(time.Second)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d, conn, gates
}

// Whatever took a node down for new connections, the silence of the established
// ones is found and ends the calls that hang on them. Dials that go on to fail for
// a reason of their own, such as a name that is not found, prove nothing: there a
// hang is the kernel's to end.
func TestSilenceAfterAnything(t *testing.T) {
	nx := &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "db1", IsNotFound: true}}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	unreach := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}
	access := &mysql.MySQLError{Number: 1045, Message: "Access denied"}
	full := &mysql.MySQLError{Number: 1040, Message: "Too many connections"}
	for name, c := range map[string]struct {
		before error // the answer to dials before the node freezes; nil: none fail
		after  error // and after that; nil: they are silent
	}{
		"plain":                    {nil, nil},
		"1045":                     {access, nil},
		"1040":                     {full, nil},
		"refused, then silent":     {refused, nil},
		"nxdomain, then silent":    {nx, nil},
		"unreachable, then silent": {unreach, nil},
		"refused (a REJECT)":       {refused, refused},
		"refused at the same time": {nil, refused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fakedb.New()
				b.OnSocket(TrackSocket)
				for i := range 2 {
					b.Node(nodeName(i)).SetMood(fakedb.Mood{})
				}
				d, conn, gates := gatedCluster(t, b, func(c driver.Connector) driver.Connector { return asMySQL{c} })
				defer conn.Close()
				if c.before != nil {
					gates[0].Store(&c.before)
					for range 3 {
						if x, err := d.Connector().Connect(t.Context()); err == nil {
							x.Close()
						}
					}
					time.Sleep(20 * time.Second)
					if _, err := conn.ExecContext(t.Context(), "INSERT"); err != nil {
						t.Fatalf("a good session: %v", err)
					}
				}
				gates[0].Store(&c.after)
				b.Node("n1").SetMood(fakedb.Mood{Silent: true})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				began := time.Now()
				_, err := conn.ExecContext(ctx, "INSERT")
				if took := time.Since(began); took > 20*time.Second || err == nil {
					t.Errorf("it hung for %v: %v", took, err)
				}
			})
		})
	}
}

// One slow answer of the lasting connection beside dials that are refused (a
// node that was taken out of a service and is busy) cuts nothing.
func TestOneSlowAnswerBesideRefusedDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.OnSocket(TrackSocket)
		var told diary
		for i := range 2 {
			b.Node(nodeName(i)).SetMood(fakedb.Mood{})
		}
		d, conn, gates := gatedCluster(t, b, func(c driver.Connector) driver.Connector { return c }, WithOnEvent(told.write))
		defer conn.Close()
		var refused error = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		gates[0].Store(&refused)
		b.Node("n1").SetMood(fakedb.Mood{Delay: 700 * time.Millisecond})
		time.Sleep(2 * time.Second) // a probe begins within 1.22 s, and is late after 0.6 s
		b.Node("n1").SetMood(fakedb.Mood{})
		for range 20 {
			time.Sleep(time.Second)
			if _, err := conn.ExecContext(t.Context(), "INSERT"); err != nil {
				t.Fatalf("a good session: %v", err)
			}
		}
		if gone := told.of("n1", EventCut, EventRetired); len(gone) > 0 {
			t.Errorf("%+v", gone)
		}
		if s := d.Status().Nodes[0]; s.State != StateDown || s.Deaf != 0 {
			t.Errorf("%+v", s)
		}
	})
}
