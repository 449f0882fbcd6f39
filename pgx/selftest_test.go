package clusterpgx

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/internal/pgcluster"
	"github.com/EnumApps/clustersql/internal/selftest"
)

// TestConfiguredClusters is the test of the same name in the root module, for
// files that name this package's driver; it runs this one for them. Without
// DBCONFIG the file is the config.toml of this folder.
func TestConfiguredClusters(t *testing.T) {
	file := selftest.Read(t)
	if file.Throwaway(t, Name) {
		startThrowawayNodes(t)
	}
	file.Run(t)
}

// startThrowawayNodes starts real nodes. It sets the variables that the DSNs of
// the configuration file use.
func startThrowawayNodes(t *testing.T) {
	c := pgcluster.StartT(t, pgcluster.Options{})
	if err := c.Exec(t.Context(), "GRANT pg_read_all_stats TO "+pgcluster.User); err != nil {
		t.Fatal(err)
	}
	for i, n := range c.Nodes {
		t.Setenv(fmt.Sprintf("PG%d_DSN", i+1), n.DSN(""))
	}
}

// A user tests their own nodes, in the root module and here.
func TestSelfTestOnOwnNodes(t *testing.T) {
	c := pgcluster.StartT(t, pgcluster.Options{})
	if err := c.Exec(t.Context(), "CREATE TABLE mine (id VARCHAR(64) PRIMARY KEY)", "ALTER TABLE mine OWNER TO "+pgcluster.User); err != nil {
		t.Fatal(err)
	}
	s := ownNodes{c}
	t.Run("without a table nothing is written", s.onlyReads)
	t.Run("a table is written to and left as it was", s.writes)
	t.Run("what is wrong is said", s.wrong)
}

type ownNodes struct{ *pgcluster.Cluster }

// file writes a configuration file with these lines in [selftest] and a cluster
// for each word of require, and names it by DBCONFIG. user goes into the
// DSNs by a variable.
func (s ownNodes) file(t *testing.T, lines, user string, requires ...string) {
	t.Helper()
	text := "[selftest]\n" + lines
	for _, require := range requires {
		text += fmt.Sprintf("[[cluster]]\nname = %q\ndriver = %q\nrequire = %q\n", require, Name, require)
		for _, n := range s.Nodes {
			dsn := strings.Replace(n.DSN(""), pgcluster.User+"@", "${MY_USER}@", 1)
			text += fmt.Sprintf("[[cluster.node]]\nname = %q\ndsn = %q\n", n.Name, dsn)
		}
	}
	path := filepath.Join(t.TempDir(), "mine.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBCONFIG", path)
	t.Setenv("MY_USER", user)
}

// test runs the test of a module as a user does.
func (s ownNodes) test(t *testing.T, module string) (out string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "-run", "^TestConfiguredClusters$", ".")
	cmd.Dir = module
	text, err := cmd.CombinedOutput()
	return string(text), err
}

func (s ownNodes) query(t *testing.T, query string) string {
	t.Helper()
	out, err := s.Primary().Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// next is the number of the next transaction that writes.
const next = "SELECT pg_snapshot_xmax(pg_current_snapshot())"

func (s ownNodes) onlyReads(t *testing.T) {
	s.file(t, "", pgcluster.User, "read-write", "any")
	before := s.query(t, next)
	out, err := s.test(t, ".")
	if err != nil || !strings.Contains(out, "nothing was written: set [selftest] table") {
		t.Errorf("%v:\n%s", err, out)
	}
	if after := s.query(t, next); after != before {
		t.Errorf("transactions wrote: %s to %s", before, after)
	}
}

// writes goes through the root module, which knows no pgx.
func (s ownNodes) writes(t *testing.T) {
	s.file(t, "table = \"mine\"\n", pgcluster.User, "read-write", "primary", "read-only", "standby", "prefer-standby", "any")
	before := s.query(t, next)
	out, err := s.test(t, "..")
	if err != nil || !regexp.MustCompile(`(?m)^--- PASS: TestConfiguredClusters`).MatchString(out) {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, line := range []string{
		`read-write/what_is_written_on_one_is_read_on_each`, `primary/what_is_written_on_one_is_read_on_each`,
		`n1: role primary, access read-write, up`, `n2: role replica, access read-only, down, lag `, `n2: role replica, access read-only, up, lag `,
		`n3: it answers, and this cluster leaves it out: read-only: `, `n1: it answers, and this cluster leaves it out: role: `,
		`system_identifier \d+: \[n1 n2 n3\]`, `n3: the row was there after `,
	} {
		if !regexp.MustCompile(line).MatchString(out) {
			t.Errorf("the run does not say %q:\n%s", line, out)
		}
	}
	for _, require := range []string{"read-only", "standby", "prefer-standby", "any"} {
		if strings.Contains(out, "/"+require+"/what_is_written") {
			t.Errorf("something was written through %s:\n%s", require, out)
		}
	}
	if n := strings.Count(out, "nothing was written through this cluster"); n != 4 {
		t.Errorf("%d clusters were not written to:\n%s", n, out)
	}
	if rows, after := s.query(t, "SELECT count(*) FROM mine"), s.query(t, next); rows != "0" || after == before {
		t.Errorf("%s rows are left, transactions %s to %s", rows, before, after)
	}
}

// wrong has a role in the DSNs that does not exist.
func (s ownNodes) wrong(t *testing.T) {
	s.file(t, "", "nobody", "any")
	out, err := s.test(t, "..")
	for _, text := range []string{"n1 is down: configuration: ", "28000", "nothing else was tested", "the test in pgx: exit status 1"} {
		if err == nil || !strings.Contains(out, text) {
			t.Errorf("%v, and %q is not in\n%s", err, text, out)
		}
	}
}
