package clustersql

import (
	"database/sql"
	"expvar"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// idsOf returns the IDs of the clusters in use whose names begin with prefix.
func idsOf(prefix string) []string {
	var ids []string
	for _, d := range Clusters() {
		if id := d.Status().ID; strings.HasPrefix(id, prefix) {
			ids = append(ids, id)
		}
	}
	return ids
}

// wantIDs waits until the clusters in use are those. The garbage collector may
// need some rounds until it has found one that was given up.
func wantIDs(t *testing.T, prefix string, want ...string) {
	t.Helper()
	var got []string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if got = idsOf(prefix); slices.Equal(got, want) {
			return
		}
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	t.Errorf("clusters in use: %q, want %q", got, want)
}

func TestClustersAreThoseInUse(t *testing.T) {
	name := t.Name()
	b := fakedb.New()
	wantIDs(t, name)
	first := NewDriver(b.Driver(), name+"/b", quiet)
	second := NewDriver(b.Driver(), name+"/a", quiet)
	same := NewDriver(b.Driver(), name+"/b", quiet)
	wantIDs(t, name, name+"/a", name+"/b", name+"/b#2")
	if same.Status().Name != name+"/b" {
		t.Errorf("the name is %q", same.Status().Name)
	}
	first.Close()
	wantIDs(t, name, name+"/a", name+"/b#2")
	third := NewDriver(b.Driver(), name+"/b", quiet)
	wantIDs(t, name, name+"/a", name+"/b", name+"/b#2")
	first.Close() // again: it is not third
	wantIDs(t, name, name+"/a", name+"/b", name+"/b#2")
	for _, d := range []Driver{second, same, third} {
		d.Close()
	}
	wantIDs(t, name)
}

// A cluster of a DSN is listed while its sql.DB is open.
func TestClustersOfDSNs(t *testing.T) {
	const dsn = "user:password@tcp(127.0.0.1:1,127.0.0.1:2)/db?clustersql.name=TestClustersOfDSNs"
	db, err := sql.Open("clustersql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	wantIDs(t, t.Name(), t.Name())
	runtime.GC()
	wantIDs(t, t.Name(), t.Name())
	for _, d := range Clusters() {
		if d.Status().ID == t.Name() {
			if err := d.Drain("127.0.0.1:2"); err != nil {
				t.Error(err)
			}
		}
	}
	db.Close()
	wantIDs(t, t.Name())
}

// A cluster that is registered is in use, also while it is not open. One that
// nobody can reach is not, and neither the list nor expvar keeps it.
func TestClustersAreHeldWeakly(t *testing.T) {
	name := uniqueName(t.Name())
	b := fakedb.New()
	registered := NewDriver(b.Driver(), name+"/registered", quiet)
	defer registered.Close()
	sql.Register(name, registered) // for good
	func() {
		d := NewDriver(b.Driver(), name+"/left", quiet)
		if err := d.AddNode("n1", "n1"); err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(d.Connector())
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		wantIDs(t, name+"/", name+"/left", name+"/registered")
		db.Close()
	}()
	d := NewDriver(b.Driver(), name+"/lost", quiet)
	if err := d.AddNode("n1", "n1"); err != nil {
		t.Fatal(err)
	}
	d = registered
	wantIDs(t, name+"/", name+"/registered")
	for end := time.Now().Add(20 * time.Second); strings.Contains(expvar.Get(name+"/lost").String(), "n1"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("expvar has %s", expvar.Get(name+"/lost"))
		}
	}
	if d.Status().ID != name+"/registered" {
		t.Error(d.Status().ID)
	}
}

// Anybody may ask at any time.
func TestClustersWhileTheyChange(t *testing.T) {
	name := t.Name()
	b := fakedb.New()
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for range 50 {
				d := NewDriver(b.Driver(), name, quiet)
				d.AddNode("n1", "n1")
				ids := idsOf(name)
				if sorted := slices.Sorted(slices.Values(ids)); !slices.Equal(ids, sorted) || len(slices.Compact(sorted)) != len(ids) {
					t.Errorf("not sorted, or not unique: %q", ids)
				}
				if len(ids)%2 == 0 {
					d.Close()
				}
			}
		})
	}
	work.Wait()
	wantIDs(t, name)
}
