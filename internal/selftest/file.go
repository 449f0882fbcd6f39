// Package selftest tests the clusters of a configuration file on the nodes that
// it names. TestConfiguredClusters runs it: in the root module, and in the
// modules that bring a driver, for files that name this driver.
//
// Only tests import it. It uses the clusters as a program does, through the API
// of the root package, and asks single nodes through their driver alone. On the
// nodes of a user it only reads, unless the file names a table.
package selftest

import (
	"cmp"
	"database/sql"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/conffile"
)

// A File is a configuration file whose clusters are tested.
type File struct{ conf *conffile.File }

// Read reads the file that [clustersql.Load] reads without a path. The variables
// in its DSNs need not be set yet. A mistake in it ends the test.
func Read(t *testing.T) *File {
	t.Helper()
	f, err := conffile.Read("", keys())
	if err != nil {
		t.Fatal(err)
	}
	return &File{f}
}

// keys returns the keys that a file may have.
func keys() conffile.Keys {
	k := conffile.Keys{Node: []string{"priority", "weight"}}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[clustersql.Config]()) {
		if key := field.Tag.Get("toml"); key != "" && key != "-" {
			k.Settings = append(k.Settings, key)
		}
	}
	return k
}

// Path returns the absolute path of the file.
func (f *File) Path() string {
	path, err := filepath.Abs(f.conf.Path())
	if err != nil { // there is no working directory any more
		return f.conf.Path()
	}
	return path
}

// Drivers returns the names of the clusters' drivers, each once.
func (f *File) Drivers() []string {
	var names []string
	for i := range f.conf.Clusters {
		names = append(names, driverOf(&f.conf.Clusters[i]))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// driverOf returns the name of a cluster's driver.
func driverOf(c *conffile.Cluster) string { return cmp.Or(c.Driver, "mysql") }

// Throwaway reports whether the file asks for nodes that the test starts. The
// test has nodes for one driver: a file that names another one as well ends it.
func (f *File) Throwaway(t *testing.T, driver string) bool {
	t.Helper()
	if !f.conf.Selftest.Throwaway {
		return false
	}
	if drivers := f.Drivers(); !slices.Equal(drivers, []string{driver}) {
		t.Fatalf("%s: throwaway = true starts nodes for the driver %q, and the file has %s: set throwaway to false, and test your own nodes",
			f.conf.Path(), driver, strings.Join(drivers, ", "))
	}
	return true
}

// Run tests every cluster of the file, each as a subtest under its name. The
// nodes must run, and the variables of the DSNs be set.
func (f *File) Run(t *testing.T) {
	f.demandDrivers(t)
	r, err := clustersql.Load(f.conf.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if err := f.conf.Expand(os.LookupEnv); err != nil {
		t.Fatal(err)
	}
	for i, name := range r.Names() {
		d, _ := r.Driver(name)
		t.Run(name, newCluster(t, d, f.conf, i).test)
	}
}

// demandDrivers ends the test if the file names a driver that it does not have.
func (f *File) demandDrivers(t *testing.T) {
	t.Helper()
	known := sql.Drivers()
	for _, name := range f.Drivers() {
		if !slices.Contains(known, name) {
			t.Fatalf("%s: this test has no driver %s: it has mysql, and clustersql-pgx for PostgreSQL, which takes the DSNs of pgx and lib/pq; name one of these for the test",
				f.conf.Path(), conffile.QuoteName(name))
		}
	}
}
