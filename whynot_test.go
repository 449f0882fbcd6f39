package clustersql

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// What WhyNot says is what opens do: a node without it gets the next open, as the
// strategy has it.
func TestWhyNotIsTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 3, WithStrategy(Ordered))
		if err := d.AddNode("spare", "spare", WithPriority(1)); err != nil {
			t.Fatal(err)
		}
		why := func() map[string]string {
			found := make(map[string]string)
			for _, n := range d.Status().Nodes {
				found[n.Name] = n.WhyNot
			}
			return found
		}
		if got := why()["n1"]; !strings.Contains(got, "not open") {
			t.Errorf("before the first open: %q", got)
		}
		db := openDB(t, d)
		ask := func() string {
			conn, err := d.Open("")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			time.Sleep(time.Millisecond)
			for _, n := range d.Status().Nodes {
				if n.OpenConns > 0 {
					return n.Name
				}
			}
			return "none"
		}
		want := func(first string, parts map[string]string) {
			t.Helper()
			synctest.Wait()
			got := why()
			for name, part := range parts {
				if !strings.Contains(got[name], part) {
					t.Errorf("%s: %q, want %q in it", name, got[name], part)
				}
			}
			if asked := ask(); asked != first || got[first] != "" {
				t.Errorf("the open went to %s, want %s; %q", asked, first, got)
			}
		}
		time.Sleep(time.Second)
		want("n1", map[string]string{"n2": "n1 comes before it by name", "spare": "priority 1, and n1 with priority 0"})
		b.Node("n1").SetHealth(errNotReady, 0, false)
		b.Node("n1").Set(fakedb.Script{Err: errRefused})
		time.Sleep(3 * time.Second)
		want("n2", map[string]string{"n1": "It is down, and is checked again in ", "n3": "n2 comes before"})
		b.Node("n1").SetHealth(nil, 0, false)
		b.Node("n1").Set(fakedb.Script{})
		time.Sleep(10 * time.Second)
		want("n2", map[string]string{"n1": "come back a short time ago: n2 stays first for "})
		if err := d.Drain("n2"); err != nil {
			t.Fatal(err)
		}
		want("n3", map[string]string{"n2": "drained"})
		time.Sleep(time.Minute)
		want("n1", map[string]string{"n3": "n1 comes before"})
		for _, n := range []string{"n1", "n3", "spare"} {
			if err := d.Drain(n); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := db.PingContext(ctx); err == nil {
			t.Error("a connection of a drained cluster")
		}
		synctest.Wait()
		if s := d.Status(); s.Usable != 0 || s.AllDownSince.IsZero() || s.OpensAllDown != 1 {
			t.Errorf("usable %d, all down since %v, %d opens", s.Usable, s.AllDownSince, s.OpensAllDown)
		}
	})
}

// With race every node of the first tier is asked at once.
func TestWhyNotOfARace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fakeCluster(t, fakedb.New(), 2)
		d.AddNode("spare", "spare", WithPriority(1))
		openDB(t, d)
		time.Sleep(time.Second)
		for _, n := range d.Status().Nodes {
			if (n.WhyNot == "") != (n.Name != "spare") {
				t.Errorf("%s: %q", n.Name, n.WhyNot)
			}
		}
	})
}
