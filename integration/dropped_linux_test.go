package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/go-sql-driver/mysql"
)

// droppedEnv has the path of a server's unix socket. With it the test binary is
// the child that droppedPacketsEndIt starts.
const droppedEnv = "CLUSTERSQL_DROPPED"

// droppedPacketsEndIt lets the network drop the packets of the connections that
// a pool has, and pass those of the probe and of new connections. That needs a
// network of its own: a child process in namespaces, with two hosts.
func droppedPacketsEndIt(t *testing.T, c *galera.Cluster) {
	run(t, c, "DROP TABLE IF EXISTS app.dropped", "CREATE TABLE app.dropped (id INT PRIMARY KEY AUTO_INCREMENT)")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), droppedEnv+"="+c.Nodes[0].Socket())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		t.Logf("%s", out)
	case !errors.As(err, &exit) && os.Getenv("CI") != "true":
		t.Skipf("this machine gives no network namespace (%v): run as root", err)
	default:
		t.Fatalf("%v\n%s", err, out)
	}
	rows := 0
	if err := c.Nodes[0].AdminDB().QueryRow("SELECT COUNT(*) FROM app.dropped").Scan(&rows); err != nil || rows != 2 {
		t.Errorf("%d rows, want those of the two new connections: %v", rows, err)
	}
}

// droppedChild runs the child and returns its exit code.
func droppedChild(socket string) int {
	n, err := newTwoHosts(socket)
	if err == nil {
		err = n.dropped()
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// twoHosts is a network of two hosts. The process is in the first one. In the
// second one is a relay to a server.
type twoHosts struct {
	second chan func() // is run in the second host

	mu    sync.Mutex
	peers []string // the ports of the relay's clients, in their order
}

const relayAddr = "10.99.0.2:3306"

func newTwoHosts(socket string) (*twoHosts, error) {
	n := &twoHosts{second: make(chan func())}
	thread := make(chan int)
	go func() {
		runtime.LockOSThread() // for good: the thread, and what it starts, is in the second host
		if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
			fmt.Println("unshare:", err)
			os.Exit(1)
		}
		thread <- syscall.Gettid()
		for f := range n.second {
			f()
		}
	}()
	if err := commands(
		"ip link add first type veth peer name second netns "+strconv.Itoa(<-thread),
		"ip addr add 10.99.0.1/24 dev first",
		"ip link set first up",
	); err != nil {
		return nil, err
	}
	var listener net.Listener
	err := n.inSecond(func() (err error) {
		// What is dropped must be looked at before what is local.
		if err := commands(
			"ip addr add 10.99.0.2/24 dev second", "ip link set second up",
			"ip rule add pref 100 lookup local", "ip rule del pref 0",
		); err != nil {
			return err
		}
		listener, err = net.Listen("tcp", relayAddr)
		return err
	})
	if err == nil {
		go n.relay(listener, socket)
	}
	return n, err
}

func (n *twoHosts) inSecond(f func() error) error {
	answer := make(chan error)
	n.second <- func() { answer <- f() }
	return <-answer
}

func commands(lines ...string) error {
	for _, line := range lines {
		words := strings.Fields(line)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", line, err, out)
		}
	}
	return nil
}

// relay passes connections on to a server's unix socket.
func (n *twoHosts) relay(listener net.Listener, socket string) {
	for {
		client, err := listener.Accept()
		if err != nil {
			fmt.Println("relay:", err)
			return
		}
		n.mu.Lock()
		n.peers = append(n.peers, strconv.Itoa(client.RemoteAddr().(*net.TCPAddr).Port))
		n.mu.Unlock()
		server, err := net.Dial("unix", socket)
		if err != nil {
			client.Close()
			continue
		}
		go func() { _, _ = io.Copy(server, client); server.Close() }()
		go func() { _, _ = io.Copy(client, server); client.Close() }()
	}
}

func (n *twoHosts) ports() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.peers...)
}

// drop drops what the clients at these ports send to the relay.
func (n *twoHosts) drop(ports []string) error {
	return n.inSecond(func() error {
		for _, port := range ports {
			if err := commands("ip rule add pref 10 ipproto tcp sport " + port + " blackhole"); err != nil {
				return err
			}
		}
		return nil
	})
}

// dropped drops the packets of four connections of a pool. On three of them an
// INSERT is sent then. On the fourth a statement was sent before, and its
// answer is awaited. No statement has a deadline.
func (n *twoHosts) dropped() error {
	const limit = 3 * time.Second
	d := clustersql.NewDriver(mysql.MySQLDriver{}, "dropped", clustersql.WithTCPUserTimeout(limit))
	defer d.Close()
	if err := d.AddNode("n1", galera.User+":"+galera.Password+"@tcp("+relayAddr+")/"+galera.Database); err != nil {
		return err
	}
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	ctx := context.Background()
	if err := d.WaitReady(ctx, 1); err != nil {
		return err
	}
	before := len(n.ports()) // the probe's
	var conns []*sql.Conn
	for range 4 {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	pool := n.ports()[before:]
	if len(pool) != 4 {
		return fmt.Errorf("%d connections for a pool of four", len(pool))
	}
	began := time.Now()
	ended := make(chan error, len(conns))
	exec := func(conn *sql.Conn, query string, most time.Duration) {
		_, err := conn.ExecContext(ctx, query)
		took := time.Since(began).Round(time.Millisecond)
		fmt.Printf("%s ended after %v: %v\n", query, took, err)
		if !errors.Is(err, clustersql.ErrUnknownOutcome) || took > most {
			ended <- fmt.Errorf("%s ended after %v, and not within %v with an unknown outcome: %w", query, took, most, err)
			return
		}
		ended <- nil
	}
	go exec(conns[3], "DO SLEEP(600)", 2*time.Minute)
	for running := 0; running == 0; time.Sleep(10 * time.Millisecond) {
		const asked = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO = 'DO SLEEP(600)'"
		if err := conns[0].QueryRowContext(ctx, asked).Scan(&running); err != nil {
			return err
		}
	}
	if err := n.drop(pool); err != nil {
		return err
	}
	began = time.Now()
	for _, conn := range conns[:3] {
		go exec(conn, "INSERT INTO dropped () VALUES ()", 10*limit)
	}
	var all []error
	for i := range conns {
		if i == 0 || i == 3 { // while all of them hang, and while one does
			if _, err := db.ExecContext(ctx, "INSERT INTO dropped () VALUES ()"); err != nil {
				all = append(all, fmt.Errorf("a new connection: %w", err))
			}
		}
		all = append(all, <-ended)
	}
	if s := d.Status().Nodes[0]; s.State != clustersql.StateUp || s.Generation != 0 {
		all = append(all, fmt.Errorf("the node: %+v", s))
	}
	return errors.Join(all...)
}
