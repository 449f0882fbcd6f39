package integration

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/internal/galera"
)

// The program of the README runs as a user would run it.
func readmeProgram(t *testing.T, c *galera.Cluster) {
	cmd := exec.CommandContext(t.Context(), "go", "run", "../examples/threeclusters")
	cmd.Env = os.Environ()
	for i, n := range c.Nodes {
		cmd.Env = append(cmd.Env, fmt.Sprintf("GALERA%d_DSN=%s", i+1, n.DSN("")))
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	const want = "write_conn answers\nread_conn answers\nsess_conn answers\n"
	if err != nil || string(out) != want {
		t.Errorf("%v: %s%s", err, out, &stderr)
	}
}

// This is sql.Open with a driver name and a DSN, as in the many tools that take
// these two and nothing else.
func hostListDSN(t *testing.T, c *galera.Cluster) {
	dsn := c.Nodes[0].DSN("")
	var hosts []string
	for _, n := range c.Nodes {
		hosts = append(hosts, n.Addr())
	}
	dsn = strings.Replace(dsn, hosts[0], strings.Join(hosts, ","), 1)
	sep := "?"
	if strings.Contains(dsn, "?") {
		sep = "&"
	}
	for range 2 {
		db, err := sql.Open("clustersql", dsn+sep+"clustersql.open_timeout=5s")
		if err != nil {
			t.Fatal(err)
		}
		var one int
		if err := db.QueryRow("SELECT 1").Scan(&one); err != nil || one != 1 {
			t.Errorf("%d, %v", one, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	waitFor(t, "the servers to hold no connection", func() bool { return serverConns(t, c) == 0 })
}

// A user runs "go test -v ." with a file of their own nodes, named by DBCONFIG.
// The test passes, starts no server and writes nothing. If the file names a
// table that it may use, it writes a row there and deletes it again.
func selfTestOnOwnNodes(t *testing.T, c *galera.Cluster) {
	admin := c.Nodes[0].AdminDB()
	run(t, c, "CREATE TABLE app.mine (id VARCHAR(64) PRIMARY KEY)")
	defer func() {
		if _, err := admin.Exec("DROP TABLE app.mine"); err != nil {
			t.Error(err)
		}
	}()
	before := committed(t, c)
	out := runSelfTest(t, c, "")
	if after := committed(t, c); after != before {
		t.Errorf("wsrep_last_committed went from %s to %s: something was written", before, after)
	}
	if !strings.Contains(out, "nothing was written: set [selftest] table") {
		t.Errorf("the run does not say that it wrote nothing:\n%s", out)
	}
	out = runSelfTest(t, c, "[selftest]\ntable = \"mine\"\n")
	if !strings.Contains(out, "what_is_written_on_one_is_read_on_each") || committed(t, c) == before {
		t.Errorf("nothing was written:\n%s", out)
	}
	run(t, c)
	var rows int
	if err := admin.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM app.mine").Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows left, %v", rows, err)
	}
}

func committed(t *testing.T, c *galera.Cluster) string {
	t.Helper()
	v, err := c.Nodes[0].Status(t.Context(), "wsrep_last_committed")
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// runSelfTest runs the root package's test of the configured clusters.
func runSelfTest(t *testing.T, c *galera.Cluster, head string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mine.toml")
	text := head + "[[cluster]]\nname = \"mine\"\n"
	env := append(os.Environ(), "DBCONFIG="+file)
	for i, n := range c.Nodes {
		user, rest, ok := strings.Cut(n.DSN(""), ":")
		password, address, ok2 := strings.Cut(rest, "@")
		if !ok || !ok2 {
			t.Fatal("the harness's DSN has another form")
		}
		text += fmt.Sprintf("[[cluster.node]]\nname = %q\ndsn = %q\n", n.Name, user+":${MY_PASSWORD}@"+address)
		if i == 0 {
			env = append(env, "MY_PASSWORD="+password)
		}
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "-run", "TestConfiguredClusters", ".")
	cmd.Dir, cmd.Env = "..", env
	out, err := cmd.CombinedOutput()
	if err != nil || !regexp.MustCompile(`(?m)^--- PASS: TestConfiguredClusters`).Match(out) {
		t.Fatalf("%v:\n%s", err, out)
	}
	return string(out)
}
