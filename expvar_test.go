package clustersql

import (
	"crypto/rand"
	"encoding/json"
	"expvar"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
)

// exportedVars decodes what /debug/vars shows under a cluster's name.
func exportedVars(t *testing.T, name string) map[string]any {
	t.Helper()
	v := expvar.Get(name)
	if v == nil {
		t.Fatalf("no expvar %q", name)
	}
	vars := map[string]any{}
	if err := json.Unmarshal([]byte(v.String()), &vars); err != nil {
		t.Fatalf("%s: %v", v, err)
	}
	return vars
}

func TestExpvarShowsTheOriginalsKeysAndMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		b.Node("n1").Set(fakedb.Script{Delay: time.Millisecond})
		b.Node("n2").Enqueue(fakedb.Script{}) // for the probe
		b.Node("n2").Set(fakedb.Script{Err: errRefused})
		d := fakeCluster(t, b, 2)
		nodes := exportedVars(t, t.Name())
		first, err := time.Parse("2006-01-02 15:04:05.999999999 -0700 MST", nodes["FirstInstanciated"].(string))
		if err != nil || !first.Equal(time.Now()) {
			t.Errorf("FirstInstanciated: %v, %v", first, err)
		}
		for _, key := range []string{"LastSuccess", "LastError", "LastErrorMessage"} {
			if v := nodes["n1"].(map[string]any)[key]; v != nil {
				t.Errorf("%s before the first: %v", key, v)
			}
		}
		db := openDB(t, d)
		time.Sleep(time.Millisecond)
		began := timeText(time.Now())
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		nodes = exportedVars(t, t.Name())
		for node, want := range map[string]map[string]any{
			"n1": {"Connections": 1.0, "Errors": 0.0, "LastSuccess": timeText(time.Now()), "LastError": nil,
				"State": "up", "Status.Won": 1.0, "Status.OpenConns": 1.0, "Status.Opens": 1.0, "Status.Probes": 1.0, "Reason": nil},
			"n2": {"Connections": 0.0, "Errors": 1.0, "LastSuccess": nil, "LastError": began,
				"LastErrorMessage": "refused: boom: connection refused", "State": "down", "Reason": "refused: boom: connection refused", "Status.Generation": 0.0},
		} {
			for key, value := range want {
				vars := nodes[node].(map[string]any)
				if _, inner, nested := strings.Cut(key, "."); nested {
					vars, key = vars["Status"].(map[string]any), inner
				}
				if got, there := vars[key]; !there || got != value {
					t.Errorf("%s.%s = %v, want %v", node, key, got, value)
				}
			}
		}
		for _, key := range []string{"ProbeLatency", "OpenLatency"} {
			if v := nodes["n1"].(map[string]any)["Status"].(map[string]any)[key].(map[string]any); v["MeanMs"] == nil || v["P99Ms"] == nil {
				t.Errorf("%s: %v", key, v)
			}
		}
	})
}

// Every field of a node's status has a key, and so has every fact of the cluster.
func TestExpvarHasTheWholeStatus(t *testing.T) {
	d := fakeCluster(t, fakedb.New(), 1)
	node := exportedVars(t, t.Name())["n1"].(map[string]any)
	status := node["Status"].(map[string]any)
	elsewhere := []string{"Name", "LastErrorMessage", "LastError", "LastSuccess", "State", "Reason"} // keys of the node's map, or its own
	elsewhere = append(elsewhere, "WhyNot")                                                          // it is the cluster's word about the node
	large := []string{"LastProbe", "Changes", "ProbeTimes", "OpenTimes"}                             // for the page and the metrics
	for _, f := range reflect.VisibleFields(reflect.TypeFor[NodeStatus]()) {
		if _, there := status[f.Name]; !there && !slices.Contains(elsewhere, f.Name) && !slices.Contains(large, f.Name) {
			t.Errorf("%s is not shown", f.Name)
		}
	}
	d.m.noteReload(Diff{}, errBoom, d.m.emit)
	all := exportedVars(t, expvarClusters)
	mine, _ := all[d.Status().ID].(map[string]any)
	reload, _ := mine["reload"].(map[string]any)
	if reload["err"] != "boom" || mine["strategy"] != "race" || mine["nodes"] != nil {
		t.Errorf("%v", all)
	}
	d.Close()
	if left := exportedVars(t, expvarClusters)[t.Name()]; left != nil {
		t.Errorf("after Close: %v", left)
	}
}

// As with the original, a program can walk the expvar map by type.
func TestExpvarIsMaps(t *testing.T) {
	d := fakeCluster(t, fakedb.New(), 1)
	node, ok := expvar.Get(t.Name()).(*expvar.Map).Get("n1").(*expvar.Map)
	if !ok || node.Get("Connections").String() != "0" {
		t.Errorf("%v", expvar.Get(t.Name()))
	}
	d.DelNode("n1")
	if v := exportedVars(t, t.Name()); len(v) != 1 {
		t.Errorf("after DelNode: %v", v)
	}
}

func TestExpvarNamesMayBeUsedAgain(t *testing.T) {
	b := fakedb.New()
	older := fakeCluster(t, b, 1)
	newer := fakeCluster(t, b, 2)
	if v := exportedVars(t, t.Name()); len(v) != 3 {
		t.Errorf("the newer one is to be shown: %v", v)
	}
	older.AddNode("n9", "n9")
	older.DelNode("n1")
	older.Close()
	if v := exportedVars(t, t.Name()); len(v) != 3 {
		t.Errorf("the older one has no say: %v", v)
	}
	oldest := fakeCluster(t, b, 3)
	fakeCluster(t, b, 1).Close()
	if v := exportedVars(t, t.Name()); len(v) != 4 {
		t.Errorf("a short-lived one leaves the map to the one before: %v", v)
	}
	oldest.Close()
	if v := exportedVars(t, t.Name()); len(v) != 3 {
		t.Errorf("and so on: %v", v)
	}
	newer.Close()
	if v := exportedVars(t, t.Name()); len(v) != 1 {
		t.Errorf("after Close: %v", v)
	}
	fakeCluster(t, b, 1)
	if v := exportedVars(t, t.Name()); len(v) != 2 {
		t.Errorf("the third one: %v", v)
	}
}

func TestExpvarNameOfSomebodyElse(t *testing.T) {
	name := t.Name() + rand.Text() // expvar keeps names for ever
	expvar.NewString(name).Set("mine")
	d := NewDriver(fakedb.New().Driver(), name, quiet)
	defer d.Close()
	if err := d.AddNode("n1", "n1"); err != nil {
		t.Fatal(err)
	}
	if err := openDB(t, d).Ping(); err != nil {
		t.Error(err)
	}
	if got := expvar.Get(name).String(); got != `"mine"` {
		t.Errorf("taken over: %s", got)
	}
}

// A second cluster may have the default name too. The original panicked.
func TestTwoClustersOfTheDefaultName(t *testing.T) {
	b := fakedb.New()
	for range 2 {
		d := NewDriver(b.Driver(), "", quiet)
		defer d.Close()
		if err := d.AddNode("n1", "n1"); err != nil {
			t.Fatal(err)
		}
		if err := openDB(t, d).Ping(); err != nil {
			t.Error(err)
		}
	}
	if v := exportedVars(t, DefaultName); v["n1"] == nil {
		t.Errorf("%v", v)
	}
}

// A backend's error may quote its DSN. Neither expvar nor an error shows it.
func TestPasswordsAreShownNowhere(t *testing.T) {
	const password = "p@ss/w:o#r?d%41"
	dsn := "user:" + password + "@somewhere/db"
	b := fakedb.New()
	b.Node(dsn).Set(fakedb.Script{Err: &dsnError{dsn}})
	d := NewDriver(b.Driver(), t.Name(), quiet)
	defer d.Close()
	if err := d.AddNode("n1", dsn); err != nil {
		t.Fatal(err)
	}
	err := openDB(t, d).Ping()
	if err == nil {
		t.Fatal("no error")
	}
	for d.Status().Nodes[0].LastErrorMessage == "" {
		runtime.Gosched()
	}
	for _, text := range []string{err.Error(), expvar.Get(t.Name()).String(), d.Status().Nodes[0].LastErrorMessage} {
		if strings.Contains(text, password) || strings.Contains(text, dsn) || text == "" {
			t.Errorf("shown: %s", text)
		}
	}
}

// A dsnError is the error of a backend that shows its DSN.
type dsnError struct{ dsn string }

func (e *dsnError) Error() string { return "cannot connect with " + e.dsn }
