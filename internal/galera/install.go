package galera

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// cure tells a user of Debian or Ubuntu how to install what is missing.
const cure = "apt-get install -y --no-install-recommends mariadb-server galera-4 rsync lsof procps"

// folderPrefix is how the name of every cluster's folder begins.
const folderPrefix = "clustersql-galera-"

// maxSocketPath is the longest path that fits into a unix socket's address.
const maxSocketPath = 107

// tools are the programs that a cluster needs.
type tools struct {
	path     string // PATH for all of them
	shell    string
	server   string
	install  string
	provider string // libgalera_smm.so
}

// Available returns nil if Start can work. Otherwise the error names what is
// missing and says how to get it.
func Available() error {
	if _, err := findTools(); err != nil {
		return err
	}
	_, err := findUser()
	return err
}

func findTools() (tools, error) {
	t := tools{path: searchPath()}
	if err := supported(); err != nil {
		return t, err
	}
	var missing []string
	find := func(names ...string) string {
		for _, name := range names {
			if file := lookup(name, t.path); file != "" {
				return file
			}
		}
		missing = append(missing, names[0])
		return ""
	}
	t.shell = find("sh")
	t.server = find("mariadbd", "mysqld")
	t.install = find("mariadb-install-db", "mysql_install_db")
	// The script of the state transfer calls these.
	find("wsrep_sst_rsync")
	find("rsync")
	find("lsof", "ss")
	find("ps")
	if t.provider = findProvider(); t.provider == "" {
		missing = append(missing, "libgalera_smm.so")
	}
	if len(missing) > 0 {
		return t, fmt.Errorf("galera: missing %s; get it with: %s", strings.Join(missing, ", "), cure)
	}
	return t, nil
}

// searchPath is PATH and the folders of servers, which are often not in a
// user's PATH.
func searchPath() string {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	dirs = append(dirs, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
	return strings.Join(dirs, string(filepath.ListSeparator))
}

func lookup(name, path string) string {
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if file, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return file
		}
	}
	return ""
}

func findProvider() string {
	for _, pattern := range []string{
		"/usr/lib/galera/libgalera_smm.so", "/usr/lib/libgalera_smm.so", "/usr/lib/*/libgalera_smm.so",
		"/usr/lib*/galera*/libgalera_smm.so", "/usr/local/lib*/galera*/libgalera_smm.so",
	} {
		if files, _ := filepath.Glob(pattern); len(files) > 0 {
			return files[0]
		}
	}
	return ""
}

// A runUser says as whom the servers run.
type runUser struct {
	name     string
	uid, gid int
	switched bool   // it is another user than that of this process
	admin    string // the user of this process: the servers' administrator
}

// findUser returns the user of this process. For root it returns the user
// mysql, because mariadbd does not run as root.
func findUser() (runUser, error) {
	self, err := user.Current()
	if err != nil {
		return runUser{}, fmt.Errorf("galera: who runs this: %w", err)
	}
	if os.Geteuid() != 0 {
		return runUser{name: self.Username, uid: os.Geteuid(), gid: os.Getegid(), admin: self.Username}, nil
	}
	u, err := user.Lookup("mysql")
	if err != nil {
		return runUser{}, fmt.Errorf("galera: root cannot run a server, and the user mysql is missing; get it with: %s (%w)", cure, err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return runUser{}, fmt.Errorf("galera: user mysql: %w", err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return runUser{}, fmt.Errorf("galera: user mysql: %w", err)
	}
	return runUser{name: u.Username, uid: uid, gid: gid, switched: true, admin: self.Username}, nil
}

// own makes u the owner of a file or folder.
func (u runUser) own(name string) error {
	if !u.switched {
		return nil
	}
	return os.Chown(name, u.uid, u.gid)
}

// makeFolder makes a cluster's folder in parent. Only the servers' user and
// root may look into it.
func makeFolder(parent string, u runUser) (string, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	parent, err := filepath.Abs(parent)
	if err != nil {
		return "", fmt.Errorf("galera: %w", err)
	}
	if err := reachable(parent, u); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(parent, folderPrefix)
	if err != nil {
		return "", fmt.Errorf("galera: %w", err)
	}
	err = u.own(dir)
	if socket := filepath.Join(dir, "n999", "sock"); err == nil && len(socket) > maxSocketPath {
		err = fmt.Errorf("the path %s is too long for a unix socket; set TMPDIR or Options.Dir to a shorter one", socket)
	}
	if err != nil {
		os.Remove(dir)
		return "", fmt.Errorf("galera: %w", err)
	}
	return dir, nil
}

// install makes the first node's data, with the database app, and copies them
// to the other nodes. Before the copy the node must run as a cluster of its own
// and shut down. Only then do the data say at which point of the history they
// are, so that a node with a copy needs no state transfer.
func (c *Cluster) install(ctx context.Context) error {
	first := c.Nodes[0]
	err := c.run(ctx, first.dir, filepath.Join(first.dir, "install.log"), c.tools.install,
		"--no-defaults", "--datadir="+first.data(), "--skip-test-db",
		// The only administrator, without a password, is the user who runs
		// this.
		"--auth-root-authentication-method=socket", "--auth-root-socket-user="+c.user.admin,
		"--innodb-log-file-size="+logFileSize, "--innodb-flush-method=nosync", "--innodb-use-native-aio=0")
	if err != nil {
		return fmt.Errorf("galera: making the data: %w", err)
	}
	if err := first.writeState(newUUID(), 0, true); err != nil {
		return err
	}
	if err := first.Start(ctx); err != nil {
		return err
	}
	if err := first.createApp(ctx); err != nil {
		return err
	}
	if err := first.Shutdown(ctx); err != nil {
		return err
	}
	for _, n := range c.Nodes[1:] {
		if err := copyTree(n.data(), first.data(), c.user); err != nil {
			return fmt.Errorf("galera: %s: copying the data: %w", n.Name, err)
		}
	}
	return nil
}

// newUUID makes the identity of a new cluster's history.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// copyTree copies the files and folders of a folder, except the write-set
// cache. There is nothing else in it.
func copyTree(to, from string, u runUser) error {
	return filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if e.Name() == "galera.cache" {
			return nil
		}
		if !e.IsDir() {
			err = copyFile(target, name)
		} else if err = os.Mkdir(target, 0o700); os.IsExist(err) {
			err = nil
		}
		if err != nil {
			return err
		}
		return u.own(target)
	})
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if e := out.Close(); err == nil {
		err = e
	}
	return err
}
