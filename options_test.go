package clustersql

import (
	"errors"
	"fmt"
	"testing"

	"github.com/EnumApps/clustersql/internal/drivers"
	"github.com/EnumApps/clustersql/internal/fakedb"
)

// Priority and weight come from options or from the file, and Status shows
// them.
func TestNodeSettings(t *testing.T) {
	b := fakedb.New()
	d := fakeCluster(t, b, 1)
	c, err := drivers.Connector(b.Driver(), "n3")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.AddNode("n2", "n2", WithPriority(2), WithWeight(7)), d.AddConnector("n3", c, WithWeight(9))); err != nil {
		t.Fatal(err)
	}
	for i, want := range [][2]int{{0, 1}, {2, 7}, {0, 9}} {
		s := d.Status().Nodes[i]
		if s.Priority != want[0] || s.Weight != want[1] {
			t.Errorf("%s: priority %d, weight %d; want %v", s.Name, s.Priority, s.Weight, want)
		}
	}
	n2 := exportedVars(t, t.Name())["n2"].(map[string]any)["Status"].(map[string]any)
	if n2["Priority"] != 2.0 || n2["Weight"] != 7.0 || n2["Load"] != 0.0 {
		t.Errorf("expvar shows %v", n2)
	}
}

func TestNodeSettingsFromTheFile(t *testing.T) {
	backend, _ := registerChoosy(nil)
	name := uniqueName("read_conn")
	inFile(t, fmt.Sprintf(`
[[cluster]]
name = %q
driver = %q
strategy = "balanced"
  [[cluster.node]]
  name = "n1"
  dsn = "a"
  [[cluster.node]]
  name = "n2"
  dsn = "b"
  weight = 3
  priority = 1
`, name, backend))
	d, _ := load(t, "").Driver(name)
	n1, n2 := d.Status().Nodes[0], d.Status().Nodes[1]
	if n1.Priority != 0 || n1.Weight != 1 || n2.Priority != 1 || n2.Weight != 3 {
		t.Errorf("%d, %d and %d, %d", n1.Priority, n1.Weight, n2.Priority, n2.Weight)
	}
}

func TestNodeSettingsThatCannotWork(t *testing.T) {
	d := fakeCluster(t, fakedb.New(), 0)
	for _, tc := range []struct {
		opt  NodeOption
		want string
	}{
		{WithPriority(-1), "priority: -1 is out of range: write a number from 0, used first, to 65535"},
		{WithPriority(65536), "priority: 65536 is out of range: write a number from 0, used first, to 65535"},
		{WithWeight(0), "weight: 0 is out of range: write a number from 1 to 65535"},
		{WithWeight(65536), "weight: 65536 is out of range: write a number from 1 to 65535"},
	} {
		err := d.AddNode("n1", "n1", tc.opt)
		var setting *SettingError
		want := fmt.Sprintf("clustersql: cluster %q: node \"n1\": %s", t.Name(), tc.want)
		if err == nil || err.Error() != want || !errors.As(err, &setting) || len(d.Nodes()) != 0 {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
