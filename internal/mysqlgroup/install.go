package mysqlgroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// FolderEnv is the environment variable that names the folder into which
// Debian's package mysql-server-core, and all that it depends on, were unpacked.
const FolderEnv = "CLUSTERSQL_MYSQL"

const cure = "get it with: ./test.sh group-replication"

// tools is the unpacked folder.
type tools struct {
	folder string
	loader string // the dynamic loader, beside the libraries
	path   string // PATH for all programs
}

func (t tools) server() string { return filepath.Join(t.folder, "usr/sbin/mysqld") }

// command returns the server's name and its first arguments.
func (t tools) command() (name string, args []string) {
	usr := filepath.Join(t.folder, "usr")
	return t.loader, []string{
		"--inhibit-cache", "--library-path", filepath.Dir(t.loader), t.server(), "--no-defaults",
		"--basedir=" + usr,
		"--plugin-dir=" + filepath.Join(usr, "lib/mysql/plugin"),
		"--lc-messages-dir=" + filepath.Join(usr, "share/mysql"),
		"--character-sets-dir=" + filepath.Join(usr, "share/mysql/charsets"),
		"--secure-file-priv=NULL",
		"--mysqlx=OFF",
	}
}

// Available returns nil if Start can work. Otherwise the error names what is
// missing and says how to get it.
func Available() error {
	t, err := findTools()
	if err != nil {
		return err
	}
	u, err := findUser()
	if err != nil || !u.Switched {
		return err
	}
	for dir := t.folder; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode()&0o001 == 0 {
			return fmt.Errorf("mysqlgroup: the user %s, as which the servers run, may not enter %s; name another folder in %s", u.Name, dir, FolderEnv)
		}
	}
	return nil
}

func findTools() (tools, error) {
	t := tools{folder: os.Getenv(FolderEnv), path: throwaway.SearchPath()}
	if err := throwaway.Supported(); err != nil {
		return t, fmt.Errorf("mysqlgroup: %w", err)
	}
	if t.folder == "" {
		return t, fmt.Errorf("mysqlgroup: %s names no folder with a MySQL server; %s", FolderEnv, cure)
	}
	var err error
	if t.folder, err = filepath.Abs(t.folder); err != nil {
		return t, fmt.Errorf("mysqlgroup: %w", err)
	}
	loaders, _ := filepath.Glob(filepath.Join(t.folder, "usr/lib/*/ld-linux*.so.*"))
	if _, err := os.Stat(t.server()); err != nil || len(loaders) == 0 {
		return t, fmt.Errorf("mysqlgroup: no MySQL server is in %s, which %s names; %s", t.folder, FolderEnv, cure)
	}
	t.loader = loaders[0]
	return t, nil
}

// findUser returns as whom the servers run: for root as the user nobody, because
// mysqld does not run as root.
func findUser() (throwaway.User, error) {
	u, err := throwaway.FindUser("nobody", "useradd nobody")
	if err != nil {
		return u, fmt.Errorf("mysqlgroup: %w", err)
	}
	return u, nil
}

// firstStatements make the accounts and the database. They run before there is a
// group, and are in no binary log: the data of all nodes begin with them.
// The passwords are no secret.
const firstStatements = `CREATE DATABASE ` + Database + `;
CREATE USER ` + User + `@'%' IDENTIFIED BY '` + Password + `';
GRANT ALL ON ` + Database + `.* TO ` + User + `@'%';
GRANT SELECT ON performance_schema.replication_group_members TO ` + User + `@'%';
GRANT SELECT ON performance_schema.replication_group_member_stats TO ` + User + `@'%';
GRANT REPLICATION CLIENT ON *.* TO ` + User + `@'%';
CREATE USER ` + Blind + `@'%' IDENTIFIED BY '` + Password + `';
GRANT ALL ON ` + Database + `.* TO ` + Blind + `@'%';
CREATE USER ` + recoveryUser + `@'%' IDENTIFIED BY '` + Password + `';
GRANT REPLICATION SLAVE, CONNECTION_ADMIN, BACKUP_ADMIN, GROUP_REPLICATION_STREAM ON *.* TO ` + recoveryUser + `@'%';
`

// install makes the first node's data and copies them to the other nodes.
func (g *Group) install(ctx context.Context) error {
	first := g.Nodes[0]
	script := filepath.Join(first.dir, "first.sql")
	if err := os.WriteFile(script, []byte(firstStatements), 0o644); err != nil {
		return first.wrap("writing its first statements", err)
	}
	name, args := g.tools.command()
	args = append(append(args, small...),
		"--initialize-insecure", "--init-file="+script, "--datadir="+first.data(), "--disable-log-bin", "--innodb-redo-log-capacity=32M")
	if err := g.sandbox.Run(ctx, first.dir, filepath.Join(first.dir, "install.log"), name, args...); err != nil {
		return fmt.Errorf("mysqlgroup: making the data: %w", err)
	}
	// It has the server's name among its fellows, which each one makes anew.
	if err := os.Remove(filepath.Join(first.data(), "auto.cnf")); err != nil {
		return first.wrap("making the data", err)
	}
	for _, n := range g.Nodes[1:] {
		if err := copyTree(n.data(), first.data(), g.user); err != nil {
			return n.wrap("copying the data", err)
		}
	}
	return nil
}

// copyTree copies the files and folders of a folder. There is nothing else in
// it.
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
		if e.IsDir() {
			err = os.Mkdir(target, 0o700)
		} else {
			err = copyFile(target, name)
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
	return errors.Join(err, out.Close())
}
