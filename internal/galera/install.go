package galera

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// cure tells a user of Debian or Ubuntu how to install what is missing.
const cure = "apt-get install -y --no-install-recommends mariadb-server galera-4 rsync lsof procps"

// tools are the programs that a cluster needs.
type tools struct {
	path     string // PATH for all of them
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
	t := tools{path: throwaway.SearchPath()}
	if err := throwaway.Supported(); err != nil {
		return t, fmt.Errorf("galera: %w", err)
	}
	var missing []string
	find := func(names ...string) string {
		for _, name := range names {
			if file := throwaway.Lookup(name, t.path); file != "" {
				return file
			}
		}
		missing = append(missing, names[0])
		return ""
	}
	find("sh")
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

// findUser returns as whom the servers run: for root as the user mysql, because
// mariadbd does not run as root.
func findUser() (throwaway.User, error) {
	u, err := throwaway.FindUser("mysql", cure)
	if err != nil {
		return u, fmt.Errorf("galera: %w", err)
	}
	return u, nil
}

// install makes the first node's data, with the database app, and copies them
// to the other nodes. Before the copy the node must run as a cluster of its own
// and shut down. Only then do the data say at which point of the history they
// are, so that a node with a copy needs no state transfer.
func (c *Cluster) install(ctx context.Context) error {
	first := c.Nodes[0]
	if err := c.installData(ctx); err != nil {
		return err
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
	return c.copyData(first.data(), c.Nodes[1:])
}

// installData makes the first node's data, without the database app.
func (c *Cluster) installData(ctx context.Context) error {
	first := c.Nodes[0]
	err := c.sandbox.Run(ctx, first.dir, filepath.Join(first.dir, "install.log"), c.tools.install,
		"--no-defaults", "--datadir="+first.data(), "--skip-test-db",
		// The only administrator, without a password, is the user who runs
		// this.
		"--auth-root-authentication-method=socket", "--auth-root-socket-user="+c.user.Self,
		"--innodb-log-file-size="+logFileSize, "--innodb-flush-method=nosync", "--innodb-use-native-aio=0")
	if err != nil {
		return fmt.Errorf("galera: making the data: %w", err)
	}
	return nil
}

// copyData copies data to nodes.
func (c *Cluster) copyData(from string, to []*Node) error {
	for _, n := range to {
		if err := copyTree(n.data(), from, c.user); err != nil {
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
func copyTree(to, from string, u throwaway.User) error {
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
		return u.Own(target)
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
