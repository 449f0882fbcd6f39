package pgcluster

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/EnumApps/clustersql/internal/throwaway"
)

// cure tells how to install what is missing.
const cure = "./test.sh install, or on Debian and Ubuntu: apt-get install -y --no-install-recommends postgresql"

// tools are the programs that a cluster needs.
type tools struct {
	path string // PATH for all of them
	bin  string // the folder of the server's own programs
}

func (t tools) file(name string) string { return filepath.Join(t.bin, name) }

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
	if err := throwaway.Supported(); err != nil {
		return tools{}, fmt.Errorf("pgcluster: %w", err)
	}
	t := tools{bin: findServer(), path: throwaway.SearchPath()}
	var missing []string
	for _, name := range []string{"postgres", "initdb", "pg_basebackup", "pg_rewind", "psql"} {
		if throwaway.Lookup(name, t.bin) == "" {
			missing = append(missing, name)
		}
	}
	if throwaway.Lookup("sh", t.path) == "" {
		missing = append(missing, "sh")
	}
	if len(missing) > 0 {
		return t, fmt.Errorf("pgcluster: missing %s of a PostgreSQL server; get it with: %s", strings.Join(missing, ", "), cure)
	}
	return t, nil
}

// findServer returns the folder of the newest of Debian's servers, which are in
// no PATH, or else that of the server in the PATH.
func findServer() string {
	best, newest := "", 0.0
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	for _, file := range found {
		bin := filepath.Dir(file)
		if version, err := strconv.ParseFloat(filepath.Base(filepath.Dir(bin)), 64); err == nil && version > newest {
			best, newest = bin, version
		}
	}
	if best != "" {
		return best
	}
	if file := throwaway.Lookup("postgres", throwaway.SearchPath()); file != "" {
		return filepath.Dir(file)
	}
	return "/usr/lib/postgresql"
}

// findUser returns as whom the servers run: for root as the user postgres,
// because PostgreSQL does not run as root.
func findUser() (throwaway.User, error) {
	u, err := throwaway.FindUser("postgres", cure)
	if err != nil {
		return u, fmt.Errorf("pgcluster: %w", err)
	}
	return u, nil
}
