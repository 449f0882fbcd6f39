package galera

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// These sizes keep a node small. The installation needs that of the log too.
const (
	logFileSize    = "16M"
	maxConnections = 400
)

// makeFolder makes the node's folders and option file.
func (n *Node) makeFolder() error {
	for _, dir := range []string{n.dir, n.data(), filepath.Join(n.dir, "tmp")} {
		if err := n.cluster.sandbox.MakeDir(dir); err != nil {
			return n.wrap("making its folder", err)
		}
	}
	if err := os.WriteFile(n.optionFile(), []byte(n.options()), 0o600); err != nil {
		return n.wrap("writing its options", err)
	}
	return n.wrap("writing its options", n.cluster.user.Own(n.optionFile()))
}

func (n *Node) optionFile() string { return filepath.Join(n.dir, "my.cnf") }

// options returns the text of the option file, which the script of the state
// transfer reads too. There is no log-error: the log is the server's standard
// error, which the script shares.
func (n *Node) options() string {
	c := n.cluster
	lines := []string{
		"[mysqld]",
		"datadir=" + n.data(),
		"socket=" + n.Socket(),
		"pid-file=" + filepath.Join(n.dir, "pid"),
		"tmpdir=" + filepath.Join(n.dir, "tmp"),
		"bind-address=" + throwaway.Host,
		"port=" + strconv.Itoa(n.ports.mysql()),
		"skip-name-resolve",
		"max_connections=" + strconv.Itoa(maxConnections),
		"back_log=400",
		"thread_cache_size=64",
		"performance_schema=OFF",
		"default_storage_engine=InnoDB",
		"binlog_format=ROW",
		"innodb_autoinc_lock_mode=2",
		"innodb_buffer_pool_size=64M",
		"innodb_log_file_size=" + logFileSize,
		// A commit is handed to the kernel and never synced. A crash of the
		// machine would lose it; a kill of all servers does not.
		"innodb_flush_log_at_trx_commit=2",
		"innodb_flush_method=nosync",
		"innodb_use_native_aio=0",
	}
	if c.opts.replicas {
		lines = append(lines, n.replicationOptions()...)
	} else {
		lines = append(lines, n.wsrepOptions()...)
	}
	return strings.Join(lines, "\n") + "\n"
}

// wsrepOptions are the options of a node of a group.
func (n *Node) wsrepOptions() []string {
	c := n.cluster
	provider := []string{
		"gmcast.listen_addr=tcp://" + throwaway.Addr(n.ports.group()),
		"ist.recv_addr=" + throwaway.Addr(n.ports.ist()),
		"gcache.size=32M",
	}
	if c.opts.FastFailure {
		provider = append(provider, fastFailure)
	}
	if c.opts.Provider != "" {
		provider = append(provider, c.opts.Provider)
	}
	return []string{
		"wsrep_on=ON",
		"wsrep_provider=" + c.tools.provider,
		"wsrep_cluster_name=" + filepath.Base(c.dir),
		"wsrep_cluster_address=" + c.peers(),
		"wsrep_node_name=" + n.Name,
		"wsrep_node_address=" + throwaway.Addr(n.ports.group()),
		"wsrep_node_incoming_address=" + n.Addr(),
		"wsrep_sst_method=rsync",
		"wsrep_sst_receive_address=" + throwaway.Addr(n.ports.sst()),
		"wsrep_slave_threads=2",
		`wsrep_provider_options="` + strings.Join(provider, ";") + `"`,
	}
}

// launch starts the server. With bootstrap it is the first node of a new
// component. launch does not wait until the node is Synced.
func (n *Node) launch(ctx context.Context, bootstrap bool) error {
	state, err := n.readState()
	if err != nil {
		return err
	}
	var args []string
	// After a crash the saved state has no position. A node without a position
	// asks for a full state transfer.
	if state.crashed() {
		position, err := n.recover(ctx)
		if err != nil {
			return err
		}
		if position != "" {
			args = append(args, "--wsrep-start-position="+position)
		}
	}
	if bootstrap {
		if state.uuid == "" {
			return n.wrap("starting", errors.New("it has no data, and no other node runs to give it some"))
		}
		if err := n.writeState(state.uuid, state.seqno, true); err != nil {
			return err
		}
		args = append(args, "--wsrep-new-cluster")
	}
	return n.startServer(args)
}

func (n *Node) startServer(args []string) error {
	log, err := os.OpenFile(n.errorLog(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return n.wrap("starting", err)
	}
	defer log.Close()
	c := n.cluster
	args = append([]string{"--defaults-file=" + n.optionFile()}, append(append(args, c.tlsArgs()...), c.opts.Extra...)...)
	p, err := c.sandbox.Start(c.sandbox.Command(n.dir, log, c.tools.server, args...))
	if err != nil {
		return n.wrap("starting", err)
	}
	n.mu.Lock()
	n.process = p
	n.mu.Unlock()
	c.log.Printf("%s: started, pid %d, %s %s", n.Name, p.Pid(), n.Addr(), strings.Join(args[1:], " "))
	return nil
}

var recovered = regexp.MustCompile(`Recovered position: *([0-9a-fA-F-]+:-?[0-9]+)`)

// recover reads the position from InnoDB; it is "" if there is none. During
// that run the server is not on the network or the socket, where clients would
// find it.
func (n *Node) recover(ctx context.Context) (string, error) {
	out := filepath.Join(n.dir, "recover.log")
	args := []string{
		"--defaults-file=" + n.optionFile(), "--wsrep-recover", "--skip-networking",
		"--socket=" + n.Socket() + "-r", "--pid-file=" + filepath.Join(n.dir, "pid-r"),
	}
	err := n.cluster.sandbox.Run(ctx, n.dir, out, n.cluster.tools.server, append(args, n.cluster.opts.Extra...)...)
	if err != nil {
		return "", n.wrap("recovering its position", err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		return "", n.wrap("recovering its position", err)
	}
	found := recovered.FindAllSubmatch(text, -1)
	if found == nil {
		return "", nil
	}
	return string(found[len(found)-1][1]), nil
}

// position returns the number of the last transaction in the node's data. The
// node must be down.
func (n *Node) position(ctx context.Context) (int64, error) {
	state, err := n.readState()
	if err != nil || !state.crashed() {
		return state.seqno, err
	}
	position, err := n.recover(ctx)
	if err != nil || position == "" {
		return -1, err
	}
	seqno, err := strconv.ParseInt(position[strings.LastIndexByte(position, ':')+1:], 10, 64)
	return seqno, n.wrap("recovering its position", err)
}

// A savedState is what matters of grastate.dat. uuid is "" if there is no file.
type savedState struct {
	uuid  string
	seqno int64
}

// crashed reports whether there are data but no position.
func (s savedState) crashed() bool { return s.uuid != "" && s.seqno < 0 }

func (n *Node) stateFile() string { return filepath.Join(n.data(), "grastate.dat") }

func (n *Node) readState() (savedState, error) {
	state := savedState{seqno: -1}
	text, err := os.ReadFile(n.stateFile())
	if os.IsNotExist(err) {
		return state, nil
	}
	if err != nil {
		return state, n.wrap("reading its saved state", err)
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); key {
		case "uuid":
			state.uuid = value
		case "seqno":
			if state.seqno, err = strconv.ParseInt(value, 10, 64); err != nil {
				return state, n.wrap("reading its saved state", err)
			}
		}
	}
	return state, nil
}

func (n *Node) writeState(uuid string, seqno int64, bootstrap bool) error {
	safe := 0
	if bootstrap {
		safe = 1
	}
	text := fmt.Sprintf("# GALERA saved state\nversion: 2.1\nuuid:    %s\nseqno:   %d\nsafe_to_bootstrap: %d\n", uuid, seqno, safe)
	if err := os.WriteFile(n.stateFile(), []byte(text), 0o600); err != nil {
		return n.wrap("writing its saved state", err)
	}
	return n.wrap("writing its saved state", n.cluster.user.Own(n.stateFile()))
}
