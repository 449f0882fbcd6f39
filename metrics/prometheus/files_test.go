package prometheus

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// named returns the metrics that a text names, without what a histogram adds.
func named(text string) []string {
	var names []string
	for _, name := range regexp.MustCompile(`clustersql_[a-z_]+`).FindAllString(text, -1) {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		names = append(names, name)
	}
	return names
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What the alerts, the dashboard and the manual name is exported. The manual has
// every metric, and the dashboard every one but the settings and the version.
func TestFilesNameWhatIsExported(t *testing.T) {
	var exported []string
	for _, m := range metrics {
		exported = append(exported, m.name)
	}
	for _, path := range []string{"alerts.yml", "dashboard.json", "../../docs/metrics.md"} {
		text := read(t, path)
		found := named(text)
		for _, name := range found {
			if !slices.Contains(exported, name) && !strings.HasSuffix(name, "_") && !slices.Contains(found, name+"_") {
				t.Errorf("%s names %s", path, name)
			}
		}
		if strings.HasSuffix(path, ".md") {
			for _, name := range exported {
				if !strings.Contains(text, "`"+name+"`") {
					t.Errorf("%s does not have %s", path, name)
				}
			}
		}
	}
}

// A dashboard is what Grafana imports.
type dashboard struct {
	Title, UID string
	Panels     []struct {
		ID      int
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr, RefID string }
	}
	Templating struct{ List []struct{ Name string } }
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// dashboardExprs returns what the panels ask.
func dashboardExprs(t *testing.T) (all []string) {
	t.Helper()
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	return all
}

// Every panel of the dashboard has a query, a place and a title, and none lies on
// another.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	if d.Title == "" || d.UID == "" || len(d.Panels) < 10 || len(d.Templating.List) != 4 {
		t.Errorf("%+v", d)
	}
	taken := map[[2]int]string{}
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if p.Title == "" || len(p.Targets) == 0 || ids[p.ID] {
			t.Errorf("%+v", p)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			if len(named(target.Expr)) == 0 || !strings.Contains(target.Expr, `cluster=~"$cluster"`) {
				t.Errorf("%s asks %s", p.Title, target.Expr)
			}
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s lies on %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}
