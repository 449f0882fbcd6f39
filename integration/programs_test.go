package integration

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql/internal/galera"
)

// The README's program, as a user would run it.
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

// sql.Open with a driver name and a DSN, as the many tools do that take these
// two and no more.
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
