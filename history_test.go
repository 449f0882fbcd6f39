package clustersql

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/history"
)

// What a cluster shows can be written as JSON and read again, and nothing of it
// is lost.
func TestStatusAndEventsAsJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 3)
		db := openDB(t, d)
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		b.Node("n2").SetHealth(errNotReady, 0, false)
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		for _, v := range []any{d.Status(), d.Events(), d.History()} {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			back := reflect.New(reflect.TypeOf(v))
			if err := json.Unmarshal(text, back.Interface()); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			again, err := json.Marshal(back.Elem().Interface())
			if err != nil || string(again) != string(text) {
				t.Errorf("%v\n%s\n%s", err, text, again)
			}
		}
	})
}

// A cluster keeps its last 200 events, numbered, and each node's states of the
// last 15 minutes.
func TestHistoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		d := fakeCluster(t, b, 2)
		if got := d.Events(); len(got) != 0 {
			t.Errorf("events before the first: %v", got)
		}
		if got := d.History(); len(got) != 2 || len(got[0].States) != 1 || got[0].States[0].State != StateUnknown {
			t.Errorf("states before the first open: %v", got)
		}
		openDB(t, d)
		time.Sleep(time.Second)
		before := uint64(0)
		for i := range 150 { // Drain and Undrain are three changes: draining, unknown, up
			synctest.Wait()
			events := d.Events()
			if len(events) > history.EventsKept || len(events) > 0 && events[0].Seq+uint64(len(events)) != events[len(events)-1].Seq+1 {
				t.Fatalf("round %d: %d events, from %d to %d", i, len(events), events[0].Seq, events[len(events)-1].Seq)
			}
			if last := events[len(events)-1].Seq; last <= before {
				t.Fatalf("the last event is %d, after %d", last, before)
			} else {
				before = last
			}
			if err := d.Drain("n1"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second)
			if err := d.Undrain("n1"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second)
		}
		synctest.Wait()
		nodes := d.History()
		n1, n2 := nodes[0].States, nodes[1].States
		if len(n2) != 2 {
			t.Errorf("the states of n2: %v", n2)
		}
		oldest, last := n1[0], n1[len(n1)-1]
		if age := time.Since(oldest.Since); age < history.StatesKept || age > history.StatesKept+2*time.Minute {
			t.Errorf("the oldest state of n1 began %v ago", age)
		}
		if last.State != StateUp {
			t.Errorf("the last state of n1 is %v", last)
		}
		for i, s := range n1[1:] {
			if s.Since.Before(n1[i].Since) || s.State == n1[i].State {
				t.Errorf("%v after %v", s, n1[i])
			}
		}
		changes := map[string]uint64{}
		for _, c := range d.Status().Nodes[0].Changes {
			changes[c.To.String()+" "+c.Cause] = c.Count
		}
		if changes["draining drain"] != 150 || changes["unknown undrain"] != 150 || changes["up check"] != 151 {
			t.Errorf("changes: %v", changes)
		}
		if err := d.DelNode("n1"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if events := d.Events(); events[len(events)-1].Cause != causeRemove || len(d.History()) != 1 {
			t.Errorf("after DelNode: %+v, %v", events[len(events)-1], d.History())
		}
	})
}

// fillIn sets every field that v has to a value that is not empty.
func fillIn(t *testing.T, v reflect.Value) {
	t.Helper()
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
		return
	case *time.Duration:
		*p = 1500 * time.Millisecond
		return
	case *Latency:
		p.l = p.l.Add(3 * time.Millisecond).Add(7 * time.Millisecond)
		return
	case *Histogram:
		p.h.Counts[3], p.h.Sum = 5, time.Second
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillIn(t, v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fillIn(t, v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key"), reflect.ValueOf(uint64(9)))
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8: // a state, a role, an access or a kind
		v.SetUint(1)
	case reflect.Uint64:
		v.SetUint(8)
	default:
		t.Fatalf("a field of type %s", v.Type())
	}
}

// JSON has every field, and its names are in lower case with underscores.
func TestJSONHasEveryField(t *testing.T) {
	event, role := Event{}, Event{}
	fillIn(t, reflect.ValueOf(&event).Elem())
	role = event
	event.Kind, event.Role = EventState, 0
	role.Kind, role.From, role.To = EventRole, 0, 0
	var status ClusterStatus
	fillIn(t, reflect.ValueOf(&status).Elem())
	var past NodeHistory
	fillIn(t, reflect.ValueOf(&past).Elem())
	for _, v := range []any{status, event, role, past} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		back := reflect.New(reflect.TypeOf(v))
		if err := json.Unmarshal(text, back.Interface()); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if got := back.Elem().Interface(); !reflect.DeepEqual(got, v) {
			t.Errorf("%+v\nbecame\n%+v", v, got)
		}
		for _, m := range regexp.MustCompile(`"([^"]*)":`).FindAllSubmatch(text, -1) {
			if name := string(m[1]); !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(name) {
				t.Errorf("the name %q", name)
			}
		}
	}
	for _, bad := range []string{`{"state":"drunk"}`, `{"last_probe":7}`, `{"changes":[{"to":9}]}`, `[]`} {
		var n NodeStatus
		if err := json.Unmarshal([]byte(bad), &n); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
	var n NodeStatus
	if err := json.Unmarshal([]byte(`{"name":"n1","something_new":{}}`), &n); err != nil || n.Name != "n1" {
		t.Errorf("a field of a newer version: %v", err)
	}
}

// Every kind, state, role and access that can be written can be read.
func TestEveryWordIsRead(t *testing.T) {
	for kind := EventState; !strings.HasPrefix(kind.String(), "EventKind("); kind++ {
		e := Event{Seq: 1, Kind: kind}
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var back Event
		if err := json.Unmarshal(text, &back); err != nil || back.Kind != kind {
			t.Errorf("%v became %v (%v)", kind, back.Kind, err)
		}
	}
	for state := StateUnknown; !strings.HasPrefix(state.String(), "State("); state++ {
		if back := StateUnknown; back.UnmarshalText([]byte(state.String())) != nil || back != state {
			t.Errorf("%v became %v", state, back)
		}
	}
	for role := RoleUnknown; !strings.HasPrefix(role.String(), "Role("); role++ {
		if back := RoleUnknown; back.UnmarshalText([]byte(role.String())) != nil || back != role {
			t.Errorf("%v became %v", role, back)
		}
	}
	for access := AccessUnknown; !strings.HasPrefix(access.String(), "Access("); access++ {
		if back := AccessUnknown; back.UnmarshalText([]byte(access.String())) != nil || back != access {
			t.Errorf("%v became %v", access, back)
		}
	}
}
