package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// settings are those of every node. They stand in postgresql.conf, so that ALTER
// SYSTEM can change them.
var settings = []string{
	// A crash of the machine would lose what is committed; a kill of all servers
	// does not.
	"fsync = off",
	"shared_buffers = 16MB",
	"max_wal_size = 64MB",
	"min_wal_size = 8MB",
	"autovacuum = off",
	// What is in /dev/shm would outlive a killed server.
	"dynamic_shared_memory_type = mmap",
	// A node that was away must find the WAL that it missed, and pg_rewind that
	// of the old primary.
	"wal_keep_size = 128MB",
	"wal_log_hints = on",
	// A standby that lost its primary asks again soon, and not after 5 s.
	"wal_retrieve_retry_interval = 200ms",
	"log_line_prefix = '%m [%p] '",
}

// farewell removes the segment of shared memory of each server that was killed
// and not started again. A postmaster's pid file has its id.
const farewell = `
for file in */data/postmaster.pid; do
	[ -f "$file" ] || continue
	set -- $(sed -n 7p "$file")
	[ -z "$2" ] || ipcrm -m "$2" 2>/dev/null
done
`

// makeFolder makes the node's folders.
func (n *Node) makeFolder() error {
	for _, dir := range []string{n.dir, filepath.Join(n.dir, "tmp")} {
		if err := n.cluster.sandbox.MakeDir(dir); err != nil {
			return n.wrap("making its folder", err)
		}
	}
	return nil
}

// run runs one of the server's programs for a node that is down.
func (n *Node) run(ctx context.Context, name string, args ...string) error {
	c := n.cluster
	return n.wrap(name, c.sandbox.Run(ctx, n.dir, filepath.Join(n.dir, name+".log"), c.tools.file(name), args...))
}

// install makes the first primary's data, starts it, and makes the database.
func (n *Node) install(ctx context.Context) error {
	err := n.run(ctx, "initdb", "-D", n.Data(), "-U", Admin, "-A", "trust", "-E", "UTF8", "--no-sync", "--wal-segsize=1")
	if err != nil {
		return err
	}
	lines := append([]string(nil), settings...)
	if n.cluster.opts.Synchronous {
		lines = append(lines, "synchronous_standby_names = 'ANY 1 (*)'")
	}
	if err := n.Configure(append(lines, n.cluster.opts.Extra...)...); err != nil {
		return err
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	_, err = n.ask(ctx, "postgres", "CREATE ROLE "+User+" LOGIN", "CREATE ROLE "+crowdRole+" LOGIN", "CREATE DATABASE "+Database+" OWNER "+User)
	return err
}

// copyOf fills the node's data with a copy of another node, which it will
// follow.
func (n *Node) copyOf(ctx context.Context, other *Node) error {
	if err := os.RemoveAll(n.Data()); err != nil {
		return n.wrap("removing its data", err)
	}
	if err := n.lay(other); err != nil {
		return err
	}
	return n.run(ctx, "pg_basebackup", "-D", n.Data(), "-d", n.conninfo(), "-R", "-X", "stream", "-c", "fast", "--no-sync")
}

// conninfo says how the node reaches the one that it follows.
func (n *Node) conninfo() string {
	return fmt.Sprintf("host=%s port=%d user=%s application_name=%s sslmode=disable gssencmode=disable", throwaway.Host, n.way().Port(), Admin, n.Name)
}

// Configure adds lines to the postgresql.conf of a node. A node that runs does
// not look at them until it is started again or reads its settings.
func (n *Node) Configure(lines ...string) error {
	file, err := os.OpenFile(filepath.Join(n.Data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return n.wrap("writing its settings", err)
	}
	_, err = file.WriteString(strings.Join(lines, "\n") + "\n")
	return n.wrap("writing its settings", errors.Join(err, file.Close()))
}

// followOnStart has a node that is down follow the node to which its way leads.
// Of several lines the last one counts.
func (n *Node) followOnStart() error {
	file, err := os.OpenFile(filepath.Join(n.Data(), "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return n.wrap("writing whom it follows", err)
	}
	_, err = fmt.Fprintf(file, "primary_conninfo = '%s'\n", n.conninfo())
	if err := errors.Join(err, file.Close()); err != nil {
		return n.wrap("writing whom it follows", err)
	}
	signal, err := os.OpenFile(n.standbySignal(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return n.wrap("writing whom it follows", err)
	}
	return n.wrap("writing whom it follows", errors.Join(signal.Close(), n.cluster.user.Own(n.standbySignal())))
}

// launch starts the postmaster and waits until it is ready. After an error the
// node is down.
func (n *Node) launch(ctx context.Context, args ...string) error {
	log, err := os.OpenFile(n.errorLog(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return n.wrap("starting", err)
	}
	defer log.Close()
	c := n.cluster
	args = append([]string{"-D", n.Data(), "-h", throwaway.Host, "-p", strconv.Itoa(n.Port()), "-k", n.dir}, args...)
	p, err := c.sandbox.Start(c.sandbox.Command(n.dir, log, c.tools.file("postgres"), args...))
	if err != nil {
		return n.wrap("starting", err)
	}
	n.mu.Lock()
	n.process = p
	n.mu.Unlock()
	n.log("started, pid %d, %s", p.Pid(), n.Addr())
	if err := throwaway.Poll(ctx, p.Done(), func() bool { return n.ready(p.Pid()) }); err != nil {
		err = n.fail("starting", err)
		return errors.Join(err, n.Kill())
	}
	return nil
}

// ready reports whether the postmaster says that it takes connections, or that
// it is a standby which takes none.
func (n *Node) ready(pid int) bool {
	text, err := os.ReadFile(filepath.Join(n.Data(), "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 8 || lines[0] != strconv.Itoa(pid) {
		return false
	}
	status := strings.TrimSpace(lines[7])
	return status == "ready" || status == "standby"
}
