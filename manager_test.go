package clustersql_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/EnumApps/clustersql/internal/postgres"
	"github.com/EnumApps/clustersql/internal/selftest"
)

// TestConfiguredClusters is for users to run before production, with their own
// nodes in config.toml. It connects to every cluster and node of the file. It
// writes only if the file names a table, or asks for throwaway nodes, which the
// test then starts itself.
//
// A file that names a driver which a module of this repository brings is tested in
// that module, by its test of the same name.
func TestConfiguredClusters(t *testing.T) {
	file := selftest.Read(t)
	if dir := moduleOf(file.Drivers()); dir != "" {
		testInModule(t, dir, file.Path())
		return
	}
	if file.Throwaway(t, "mysql") {
		startThrowawayNodes(t)
	}
	file.Run(t)
}

// startThrowawayNodes starts real nodes. It sets the variables that the DSNs of
// the configuration file use.
func startThrowawayNodes(t *testing.T) {
	c := galera.StartT(t, galera.Options{})
	for i, n := range c.Nodes {
		t.Setenv(fmt.Sprintf("GALERA%d_DSN", i+1), n.DSN(""))
	}
}

// moduleOf returns the folder of the module that brings one of the drivers, or ""
// if there is none, or if database/sql knows the driver here. The root module
// depends on no driver but mysql's.
func moduleOf(drivers []string) (dir string) {
	name, pkg := postgres.Dialect{}.Backend()
	if !slices.Contains(drivers, name) || slices.Contains(sql.Drivers(), name) {
		return ""
	}
	return strings.TrimPrefix(pkg, "github.com/EnumApps/clustersql/")
}

// testInModule runs the test of the same name in another module, with the same
// file, and passes on what it says and how it ends.
func testInModule(t *testing.T, dir, file string) {
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatalf("the driver is in the module %s, which is not beside this one: run the test in a clone of the repository (%v)", dir, err)
	}
	args := []string{"test", "-count=1", "-v", "-run", "^TestConfiguredClusters$"}
	if deadline, ok := t.Deadline(); ok { // it is to end before this test is ended
		args = append(args, "-timeout", max(time.Second, time.Until(deadline)*9/10).String())
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, ".")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), conffile.PathVariable+"="+file)
	var said bytes.Buffer
	out := io.MultiWriter(t.Output(), &said)
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	switch {
	case err != nil:
		t.Fatalf("the test in %s: %v", dir, err)
	case regexp.MustCompile(`(?m)^--- SKIP: TestConfiguredClusters\b`).Match(said.Bytes()):
		t.Skipf("the test in %s was skipped, see above", dir)
	case !regexp.MustCompile(`(?m)^--- PASS: TestConfiguredClusters\b`).Match(said.Bytes()):
		t.Fatalf("the test in %s did not run", dir)
	}
}

// The driver of PostgreSQL is in a module of its own, and others are nowhere.
func TestModuleOfADriver(t *testing.T) {
	for _, tc := range []struct {
		drivers []string
		dir     string
	}{
		{[]string{"mysql"}, ""},
		{[]string{"postgres"}, ""},
		{[]string{"clustersql-pgx", "mysql"}, "pgx"},
	} {
		if got := moduleOf(tc.drivers); got != tc.dir {
			t.Errorf("%v: %q", tc.drivers, got)
		}
	}
}
