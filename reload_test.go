package clustersql

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/conffile"
	"github.com/EnumApps/clustersql/internal/settings"
)

// reloadFile writes a file and reloads it.
func reloadFile(t *testing.T, r *Registry, text string) (Diff, error) {
	t.Helper()
	if err := os.WriteFile(conffile.DefaultPath, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return r.Reload("")
}

const reloadCluster = "[[cluster]]\nname = %q\ndriver = %q\n%s[[cluster.node]]\nname = \"n1\"\ndsn = \"%s\"\n[[cluster.node]]\nname = \"n2\"\ndsn = \"two\"\n"

// A file with two clusters is reloaded: one changes, one is new, one is gone, and
// what is wrong changes nothing.
func TestReload(t *testing.T) {
	name, backend := registerChoosy(func(dsn string) error {
		if strings.Contains(dsn, "refused") {
			return fmt.Errorf("no such DSN: %s", dsn)
		}
		return nil
	})
	one, two, three := uniqueName("one"), uniqueName("two"), uniqueName("three")
	first := fmt.Sprintf(reloadCluster, one, name, "", "h1") + fmt.Sprintf(reloadCluster, two, name, "rise = 3\n", "h1")
	inFile(t, first)
	r, err := RegisterFile("")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if d, err := r.Reload(""); err != nil || !d.Empty() {
		t.Errorf("%v, %s", err, d)
	}
	d, err := reloadFile(t, r, fmt.Sprintf(reloadCluster, one, name, "rise = 4\nstrategy = \"balanced\"\n", "h9")+fmt.Sprintf(reloadCluster, three, name, "", "h1"))
	want := []string{one + ": strategy \"race\" -> \"balanced\"", one + ": rise 2 -> 4", one + ": node n1: replace the DSN by one with another user, database or parameter", three + ": add with 2 nodes", two + ": remove"}
	var got []string
	for _, c := range d.Changes {
		line := c.String()
		got = append(got, line[:strings.LastIndex(line, " (")])
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%s", err, d)
	}
	driver, _ := r.Driver(one)
	if c := driver.Config(); c.Rise != 4 || c.Strategy.String() != "balanced" || c.Fall != 2 {
		t.Errorf("%+v", c)
	}
	if s := driver.Status(); s.Reload.Changes != 3 || s.Reload.Err != "" || s.Nodes[0].Origin != "file" {
		t.Errorf("%+v", s)
	}
	if !slices.Equal(r.Names(), []string{one, two, three}) || !slices.Contains(backend.dsns, "h9") {
		t.Errorf("%q, %q", r.Names(), backend.dsns)
	}
	if _, ok := r.Driver(three); !ok || register(three, driver) == nil {
		t.Error("the new cluster is not registered")
	}
	before := r.Describe()
	for what, text := range map[string]string{
		"syntax":       "[[cluster",
		"a setting":    fmt.Sprintf(reloadCluster, one, name, "rise = 0\n", "h1"),
		"a conflict":   fmt.Sprintf(reloadCluster, one, name, "open_timeout = \"1s\"\nattempt_timeout = \"2s\"\n", "h1"),
		"a DSN":        fmt.Sprintf(reloadCluster, one, name, "", "h5") + fmt.Sprintf(reloadCluster, three, name, "", "refused"),
		"a variable":   fmt.Sprintf(reloadCluster, one, name, "", "${NO_SUCH_VARIABLE}"),
		"a name":       fmt.Sprintf(reloadCluster, one, name, "", "h5") + fmt.Sprintf(reloadCluster, name, name, "", "h1"),
		"new, a DSN":   fmt.Sprintf(reloadCluster, one, name, "", "h5") + fmt.Sprintf(reloadCluster, "new", name, "", "refused"),
		"no backend":   fmt.Sprintf(reloadCluster, one, name, "", "h5") + fmt.Sprintf(reloadCluster, "new", "nobody", "", "h1"),
		"of no use":    "",
		"its own name": fmt.Sprintf(reloadCluster, one, name, "", "h5") + fmt.Sprintf(reloadCluster, one, name, "", "h5"),
	} {
		_, err := reloadFile(t, r, text)
		if err == nil || !strings.Contains(err.Error(), conffile.DefaultPath) {
			t.Errorf("%s: %v", what, err)
		}
		if d := Plan(before, r.Describe()); !d.Empty() {
			t.Errorf("%s: %s", what, d)
		}
		if s := driver.Status(); err == nil || s.Reload.Err != err.Error() {
			t.Errorf("%s: %+v", what, s.Reload)
		}
	}
	other, _ := registerChoosy(nil)
	d, err = reloadFile(t, r, fmt.Sprintf(reloadCluster, one, other, "rise = 5\n", "h1"))
	if err != nil || len(d.Changes) != 3 || d.Changes[0].Kind != ChangeDriver || driver.Config().Rise != 4 {
		t.Errorf("%v, %s", err, d)
	}
	r.Close()
	if _, err := r.Reload(""); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// A cluster that the program has closed is left out of a reload, and keeps no other
// one from it.
func TestReloadBesideAClosedCluster(t *testing.T) {
	name, _ := registerChoosy(nil)
	one, two := uniqueName("one"), uniqueName("two")
	inFile(t, fmt.Sprintf(reloadCluster, one, name, "", "h1")+fmt.Sprintf(reloadCluster, two, name, "", "h1"))
	r := load(t, "")
	closed, _ := r.Driver(one)
	d, _ := r.Driver(two)
	closed.Close()
	diff, err := reloadFile(t, r, fmt.Sprintf(reloadCluster, one, name, "rise = 8\n", "h2")+fmt.Sprintf(reloadCluster, two, name, "rise = 8\n", "h1"))
	if err != nil || len(diff.Changes) != 1 || d.Config().Rise != 8 || d.Status().Reload.Err != "" {
		t.Errorf("%v, %s", err, diff)
	}
	if diff, err := closed.Apply([]Node{{Name: "x", DSN: "y"}}); !errors.Is(err, ErrClosed) || !diff.Empty() {
		t.Errorf("%v, %s", err, diff)
	}
}

// Of reloads at once each reads the file in its turn: what the file says last is what
// remains.
func TestReloadsTakeTurns(t *testing.T) {
	name, _ := registerChoosy(nil)
	inFile(t, fmt.Sprintf(reloadCluster, "turned", name, "", "h1"))
	synctest.Test(t, func(t *testing.T) {
		r := load(t, "")
		d, _ := r.Driver("turned")
		r.turn <- struct{}{} // a reload is under way
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() {
				if _, err := r.Reload(""); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if err := os.WriteFile(conffile.DefaultPath, []byte(fmt.Sprintf(reloadCluster, "turned", name, "rise = 7\n", "h1")), 0o600); err != nil {
			t.Fatal(err)
		}
		<-r.turn
		group.Wait()
		if d.Config().Rise != 7 {
			t.Error("a reload has applied what the file said before its turn")
		}
	})
}

// The original's file can be reloaded too.
func TestReloadOfTheOriginalsFile(t *testing.T) {
	const text = "[[Nodes]]\nName = \"n1\"\nHostName = \"h1\"\nPort = 3306\nUserName = \"app\"\nPassword = \"%s\"\nDBName = \"db\"\n"
	inFile(t, fmt.Sprintf(text, "hunter22"))
	r := load(t, "")
	d, err := reloadFile(t, r, fmt.Sprintf(text, "hunter33")+strings.Replace(fmt.Sprintf(text, "hunter33"), "n1", "n2", 1))
	if err != nil || len(d.Changes) != 2 || d.Changes[0].Kind != ChangePassword || d.Changes[1].Kind != ChangeAdd {
		t.Errorf("%v, %s", err, d)
	}
}

// Watch looks at the content. It takes what it has found twice, follows a symbolic
// link that changes, and tells of a mistake once.
func TestWatch(t *testing.T) {
	name, _ := registerChoosy(nil)
	dir := t.TempDir()
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "config.toml")
	follow := func(file string) {
		t.Helper()
		next := filepath.Join(dir, "next")
		if err := errors.Join(os.Symlink(file, next), os.Rename(next, link)); err != nil {
			t.Fatal(err)
		}
	}
	write("first", fmt.Sprintf(reloadCluster, "watched", name, "", "h1"))
	follow("first")
	synctest.Test(t, func(t *testing.T) {
		r := load(t, link)
		d, _ := r.Driver("watched")
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Watch(ctx, 5*time.Second) }()
		reloads := func(count, failed uint64) {
			t.Helper()
			if s := d.Status().Reload; s.Count != count || s.Failed != failed {
				t.Errorf("%+v", s)
			}
		}
		time.Sleep(time.Minute)
		reloads(0, 0)
		write("second", fmt.Sprintf(reloadCluster, "watched", name, "rise = 7\n", "h1"))
		follow("second")
		time.Sleep(11 * time.Second)
		reloads(1, 0)
		if d.Config().Rise != 7 {
			t.Error("the file that the link leads to now was not read")
		}
		write("second", "[[clus")
		time.Sleep(6 * time.Second) // it is being written
		write("second", fmt.Sprintf(reloadCluster, "watched", name, "rise = 8\n", "h1"))
		time.Sleep(11 * time.Second)
		reloads(2, 0)
		write("second", "[[clus")
		time.Sleep(time.Minute)
		reloads(3, 1)
		os.Remove(link)
		time.Sleep(time.Minute)
		reloads(4, 2)
		follow("first")
		time.Sleep(time.Minute)
		reloads(5, 2)
		if d.Config().Rise != 2 || d.Status().Reload.Err != "" {
			t.Errorf("%+v", d.Status().Reload)
		}
		os.Remove(link)
		time.Sleep(time.Minute)
		follow("first") // the content is that of before
		time.Sleep(time.Minute)
		reloads(7, 3)
		if s := d.Status().Reload; s.Err != "" || s.Changes != 0 {
			t.Errorf("the file is back: %+v", s)
		}
		write("third", fmt.Sprintf(reloadCluster, "watched", name, "rise = 9\n", "h1"))
		if _, err := r.Reload(filepath.Join(dir, "third")); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if reloads(8, 3); d.Config().Rise != 9 {
			t.Error("what another file says was undone, although the watched one is as it was")
		}
		cancel(errBoom)
		if err := <-done; !errors.Is(err, errBoom) {
			t.Error(err)
		}
		if err := r.Watch(t.Context(), 0); err == nil {
			t.Error("no time between two looks was accepted")
		}
		r.Close()
		if err := r.Watch(t.Context(), time.Second); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// Every setting says what a reload makes of it: in its tag, in its comment, and in
// docs/settings.md.
func TestEverySettingSaysHowItChanges(t *testing.T) {
	sentences := map[Takes]string{
		TakesLive: "A reload changes it live.", TakesConnections: "A reload changes it for new connections.", TakesRestart: "A reload leaves it as it is:",
	}
	code, doc := docsRead(t, "config.go"), docsRead(t, "docs/settings.md")
	for i := range reflect.TypeFor[Config]().NumField() {
		f := reflect.TypeFor[Config]().Field(i)
		sentence, known := sentences[Takes(f.Tag.Get("reload"))]
		if !known {
			t.Errorf("%s: there is no %q", f.Name, f.Tag.Get("reload"))
			continue
		}
		at := strings.Index(code, "\n\t"+f.Name+" ")
		comment := code[strings.LastIndex(code[:at], "`\n")+1 : at]
		if !strings.Contains(squeeze(strings.ReplaceAll(comment, "//", "")), sentence) {
			t.Errorf("the comment of %s does not say %q", f.Name, sentence)
		}
		key := f.Tag.Get("toml")
		if key != "-" && !strings.Contains(doc, "["+"`"+key+"`"+"](#"+key+")") {
			t.Errorf("docs/settings.md has no row for %s", key)
		}
		row := doc[max(0, strings.Index(doc, "[`"+key+"`](#"+key+")")):]
		row, _, _ = strings.Cut(row, "\n")
		if key != "-" && !strings.HasSuffix(row, "| "+string(Takes(f.Tag.Get("reload")))+" |") {
			t.Errorf("docs/settings.md: the row of %s does not end with %q", key, f.Tag.Get("reload"))
		}
	}
}

// otherValues are values for every setting that are not its defaults.
var otherValues = map[string]string{
	"strategy": `"ordered"`, "dialect": `"mysql"`, "check": `"ping"`, "check_query": `"SELECT 2"`, "require": `"read-write"`, "max_lag": `"7s"`,
	"role_query": `"SELECT 'primary'"`, "lag_query": `"SELECT 0"`, "allow_donor": "true", "groups": `"any"`, "dial": `"backend"`, "max_opens_per_node": "9",
	"hedge_reads": "true", "rise": "3", "fall": "4", "rebalance": `"off"`, "idempotent": "true", "discover": `"dns"`, "discover_missing": "4", "discover_floor": "2", "discover_networks": `"10.0.0.0/8"`,
	"discover_addresses": `"a=b"`, "name_server": `"127.0.0.1:53"`,
}

// Every setting is changed by a reload, and works from then on as its tag says.
func TestReloadChangesEverySetting(t *testing.T) {
	name, _ := registerChoosy(nil)
	fields := reflect.TypeFor[Config]()
	for i := range fields.NumField() {
		f := fields.Field(i)
		key := f.Tag.Get("toml")
		if key == "-" {
			continue
		}
		value, known := otherValues[key]
		if !known && f.Type == reflect.TypeFor[time.Duration]() {
			value, known = `"1200ms"`, true
			switch key {
			case "probe_timeout":
				value = `"900ms"`
			case "open_timeout":
				value = `"4s"`
			}
		}
		if !known {
			t.Errorf("the test has no other value for %s", key)
			continue
		}
		t.Run(key, func(t *testing.T) {
			const dialect = "dialect = \"mysql\"\n"
			text := func(line string) string {
				if key != "dialect" {
					line = dialect + line
				}
				return fmt.Sprintf(reloadCluster, "walked", name, line, "app:pw@tcp(h1:3306)/db")
			}
			inFile(t, strings.ReplaceAll(text(""), `"two"`, `"app:pw@tcp(h2:3306)/db"`))
			r := load(t, "")
			d, _ := r.Driver("walked")
			before, began := d.Config(), time.Now()
			diff, err := reloadFile(t, r, strings.ReplaceAll(text(key+" = "+value+"\n"), `"two"`, `"app:pw@tcp(h2:3306)/db"`))
			if err != nil || len(diff.Changes) == 0 || diff.Changes[0].Setting != key || string(diff.Changes[0].When) != f.Tag.Get("reload") {
				t.Fatalf("%v, %s", err, diff)
			}
			after := d.Config()
			changed := !settings.Same(reflect.ValueOf(before).Field(i), reflect.ValueOf(after).Field(i), sameStrategy)
			if restart := Takes(f.Tag.Get("reload")) == TakesRestart; changed == restart {
				t.Errorf("changed: %t", changed)
			}
			for j := range fields.NumField() {
				if j != i && !settings.Same(reflect.ValueOf(before).Field(j), reflect.ValueOf(after).Field(j), sameStrategy) {
					t.Errorf("%s has changed as well", fields.Field(j).Name)
				}
			}
			for _, n := range d.Status().Nodes { // with discover there is none yet
				if n.Added.After(began) {
					t.Error("the nodes are not those from before")
				}
			}
			for _, n := range *d.m.nodes.Load() {
				if c := n.cfg(); !settings.Same(reflect.ValueOf(*c).Field(i), reflect.ValueOf(after).Field(i), sameStrategy) {
					t.Error("a node works with the old value")
				}
			}
		})
	}
}
