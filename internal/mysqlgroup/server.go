package mysqlgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// groupName is the uuid that all transactions of the group have.
const groupName = "5a0e7c52-6f1b-4b0e-9d6c-2f6a0c1d4e3b"

// small keeps a server small.
var small = []string{
	"--innodb-buffer-pool-size=32M",
	"--innodb-log-buffer-size=1M",
	"--table-open-cache=200",
	"--table-definition-cache=400",
	// The tables about replication are there without it.
	"--performance-schema=OFF",
	// A commit is handed to the kernel and never synced. A crash of the machine
	// would lose it; a kill of all servers does not.
	"--innodb-flush-log-at-trx-commit=2",
	"--innodb-flush-method=nosync",
	"--innodb-use-native-aio=0",
	"--sync-binlog=0",
}

// args returns the server's arguments.
func (n *Node) args() []string {
	_, args := n.group.tools.command()
	args = append(append(args, small...),
		"--datadir="+n.data(),
		"--socket="+n.socket(),
		"--pid-file="+filepath.Join(n.dir, "pid"),
		"--tmpdir="+filepath.Join(n.dir, "tmp"),
		"--bind-address="+throwaway.Host,
		"--port="+strconv.Itoa(n.ports.At(0)),
		"--report-host="+throwaway.Host,
		"--skip-name-resolve",
		"--max-connections=150",
		"--innodb-redo-log-capacity=32M",
		"--server-id="+strconv.Itoa(n.number),
		"--gtid-mode=ON",
		"--enforce-gtid-consistency=ON",
		"--log-bin=binlog",
		"--relay-log=relay",
	)
	if n.group.opts.async {
		if n.demoted.Load() {
			args = append(args, "--super-read-only=ON")
		}
		return append(args, n.group.opts.Extra...)
	}
	args = append(args,
		"--plugin-load-add=group_replication.so",
		"--group-replication-group-name="+groupName,
		"--group-replication-start-on-boot=OFF",
		"--group-replication-communication-stack=XCOM",
		"--group-replication-local-address="+throwaway.Addr(n.ports.At(1)),
		"--group-replication-group-seeds="+n.group.seeds(),
		"--group-replication-ip-allowlist="+throwaway.Host,
		"--group-replication-recovery-get-public-key=ON",
		"--group-replication-message-cache-size=134217728",
		// A member that is silent is out after 5 s, and not 10.
		"--group-replication-member-expel-timeout=0",
	)
	return append(args, n.group.opts.Extra...)
}

// makeFolder makes the node's folders. The data's folder comes with the data.
func (n *Node) makeFolder() error {
	for _, dir := range []string{n.dir, filepath.Join(n.dir, "tmp")} {
		if err := n.group.sandbox.MakeDir(dir); err != nil {
			return n.wrap("making its folder", err)
		}
	}
	return nil
}

// launch starts the server. It does not wait until it answers.
func (n *Node) launch() error {
	log, err := os.OpenFile(n.errorLog(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return n.wrap("starting", err)
	}
	defer log.Close()
	g := n.group
	p, err := g.sandbox.Start(g.sandbox.Command(n.dir, log, g.tools.loader, n.args()...))
	if err != nil {
		return n.wrap("starting", err)
	}
	n.mu.Lock()
	n.process = p
	n.mu.Unlock()
	n.log("started, pid %d, %s", p.Pid(), n.Addr())
	return nil
}

// begin waits until the server answers, and tells it how to catch up.
func (n *Node) begin(ctx context.Context) error {
	if err := n.waitAnswer(ctx); err != nil {
		return err
	}
	return n.Exec(ctx, fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_USER = '%s', SOURCE_PASSWORD = '%s' FOR CHANNEL 'group_replication_recovery'", recoveryUser, Password))
}

func (n *Node) waitAnswer(ctx context.Context) error {
	return n.wait(ctx, "it answers", func(view) bool { return true })
}

// Start starts a node that is down, and waits until it is ONLINE, or answers if it
// is to be in no group. Without a deadline it takes at most 3 minutes. After an error
// the node is down.
func (n *Node) Start(ctx context.Context) error {
	if n.group.opts.async {
		return n.start(ctx, n.waitAnswer)
	}
	return n.start(ctx, n.Join)
}

// StartOutside is Start without joining the group, and waits until the server
// answers. It takes writes then: group_replication_start_on_boot is OFF.
func (n *Node) StartOutside(ctx context.Context) error { return n.start(ctx, n.waitAnswer) }

func (n *Node) start(ctx context.Context, next func(context.Context) error) error {
	if n.Running() {
		return n.wrap("start", errRunning)
	}
	ctx, cancel := throwaway.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := n.launch()
	if err == nil {
		err = n.waitAnswer(ctx)
	}
	if err == nil {
		err = next(ctx)
	}
	if err != nil {
		return errors.Join(err, n.Kill())
	}
	return nil
}
