package clustersql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/go-sql-driver/mysql"

	"github.com/EnumApps/clustersql/internal/dialect"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// A Commit that ends without the server's word on it may have run: whatever the
// system or a driver calls the loss, and whatever a server says that left its
// group.
func TestCommitThatMayHaveRun(t *testing.T) {
	exact := dialect.Session{Single: true, Exact: true}
	for _, tc := range []struct {
		err  error
		says dialect.Session
	}{
		{err: &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.EHOSTUNREACH)}},
		{err: &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.ECONNABORTED)}},
		{err: &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.ENETDOWN)}},
		{err: &net.OpError{Op: "local error", Err: errors.New("tls: bad record MAC")}},
		{err: io.ErrShortWrite},
		{err: io.ErrClosedPipe},
		// pgx commits with the context of BeginTx.
		{err: context.Canceled},
		{err: context.DeadlineExceeded},
		// The texts of older releases of Galera.
		{&mysql.MySQLError{Number: 1180, Message: `Got error 6 "No such device or address" during COMMIT`}, exact},
		{&mysql.MySQLError{Number: 1180, Message: "Got error 6 - '' during COMMIT"}, exact},
		{&mysql.MySQLError{Number: 3100, Message: "Error on observer while running replication hook 'before_commit'."}, exact},
		{&mysql.MySQLError{Number: 3100, Message: "Error on observer while running replication hook 'after_commit'."}, exact},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newBench(t, tc.says)
			tx := begin(t, s.db)
			s.b.Node("n1").SetHealth(tc.err, 0, false)
			if err := tx.Commit(); !errors.Is(err, ErrUnknownOutcome) {
				t.Errorf("%v: %v", tc.err, err)
			}
		})
	}
}

// A caller's own leave before the Commit ends the transaction. Nothing was sent.
func TestCommitThatWasNotSentIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, dialect.Session{})
		ctx, cancel := context.WithCancel(t.Context())
		tx, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := tx.Commit(); err == nil || errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("%v", err)
		}
	})
}

// A proxy answers that it has lost its server. The connection to the proxy goes
// on, and what is lost on it later may have run.
func TestCommitAfterAProxysAnswerMayHaveRun(t *testing.T) {
	for _, number := range []uint16{2013, 2006, 2003, 2027, 1158} {
		synctest.Test(t, func(t *testing.T) {
			s := newBench(t, dialect.Session{Single: true, Exact: true})
			tx, n := begin(t, s.db), s.b.Node("n1")
			n.SetHealth(&mysql.MySQLError{Number: number, Message: "Lost connection to server during query"}, 0, false)
			if _, err := tx.Exec("INSERT"); !errors.Is(err, ErrUnknownOutcome) {
				t.Errorf("%d: the statement: %v", number, err)
			}
			n.SetHealth(nil, 0, false)
			if _, err := tx.Exec("INSERT"); err != nil {
				t.Errorf("%d: the next statement: %v", number, err)
			}
			n.SetHealth(mysql.ErrInvalidConn, 0, false)
			if err := tx.Commit(); !errors.Is(err, ErrUnknownOutcome) {
				t.Errorf("%d: the Commit: %v", number, err)
			}
		})
	}
}

func begin(t *testing.T, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

// With completion_type=1 in the DSN a Commit begins the next transaction. What
// follows is in it, and does not move to another node.
func TestChainedTransactionsDoNotMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := tracedCluster(t, b, "?completion_type=1", WithDialect(DialectMySQL))
		db := openDB(t, d)
		synctest.Wait()
		if err := begin(t, db).Commit(); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("INSERT 1"); err != nil {
			t.Fatal(err)
		}
		b.Node("n1").OnStatement(func(_ context.Context, query string, _ []driver.NamedValue) error {
			if strings.HasPrefix(query, "INSERT") {
				return errNotReady
			}
			return nil
		})
		if _, err := db.Exec("INSERT 2"); !errors.Is(err, errNotReady) {
			t.Errorf("half of the transaction went to another node: %v", err)
		}
	})
}

// A skippingConn wants statements prepared, as go-sql-driver does for those with
// arguments. It loses its connection while it prepares.
type skippingConn struct {
	driver.Conn
	fail *error // of the next Prepare
}

func (c skippingConn) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return nil, driver.ErrSkip
}

func (c skippingConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := *c.fail; err != nil {
		*c.fail = nil
		return nil, err
	}
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}

// A statement of which nothing was sent moves, whatever it would have pinned.
func TestPrepareOfASkippedStatementMoves(t *testing.T) {
	for _, query := range []string{"SELECT ?", "CALL p(?)", "SET @x = ?"} {
		synctest.Test(t, func(t *testing.T) {
			b := fakedb.New()
			d := NewDriver(nil, t.Name(), seeded(t), quiet)
			defer d.Close()
			c, err := b.Driver().(driver.DriverContext).OpenConnector("n1")
			if err != nil {
				t.Fatal(err)
			}
			var fail error
			if err := d.AddConnector("n1", connectFunc(func(ctx context.Context) (driver.Conn, error) {
				conn, err := c.Connect(ctx)
				return skippingConn{conn, &fail}, err
			})); err != nil {
				t.Fatal(err)
			}
			db := openDB(t, d)
			if err := db.Ping(); err != nil {
				t.Fatal(err)
			}
			fail = mysql.ErrInvalidConn
			if _, err := db.Exec(query, 1); err != nil {
				t.Errorf("%s: %v", query, err)
			}
			db.Close()
		})
	}
}

// A driver's error whose methods panic is an error of the file, and no panic.
func TestTypedNilErrorOfADriverInAFile(t *testing.T) {
	name := uniqueName("nil")
	sql.Register(name, refusingDriver{})
	inFile(t, fmt.Sprintf("[[cluster]]\nname = \"c\"\ndriver = %q\n[[cluster.node]]\nname = \"n\"\ndsn = \"x\"\n", name))
	if _, err := Load(""); err == nil {
		t.Error("no error")
	}
}

// A refusingDriver takes no DSN, and says so with a typed nil.
type refusingDriver struct{ driver.Driver }

func (refusingDriver) OpenConnector(string) (driver.Connector, error) {
	return nil, (*net.OpError)(nil)
}
