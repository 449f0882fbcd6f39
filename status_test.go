package clustersql

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/galeratest"
)

// A chattyError is a backend's error that shows its fields to fmt.
type chattyError struct{ User, Password string }

func (e chattyError) Error() string { return "login of " + e.User + " with " + e.Password + " refused" }

// A status that is printed, with whatever verb of fmt, shows no more than its
// redacted texts: there is no error of the backend in it.
func TestStatusShowsNothingUnredacted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const secret = "hunter22"
		b := fakedb.New()
		b.NameNodes(mysqlName)
		for _, name := range []string{"n1", "n2"} {
			b.Node(name).Set(fakedb.Script{Err: chattyError{"app", secret}})
		}
		d := NewDriver(b.Driver(), t.Name(), quiet, seeded(t), WithDialect(DialectMySQL))
		defer d.Close()
		for _, name := range []string{"n1", "n2"} {
			if err := d.AddNode(name, "app:"+secret+"@tcp("+name+":3306)/db"); err != nil {
				t.Fatal(err)
			}
		}
		db := openDB(t, d)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := db.PingContext(ctx); err == nil {
			t.Fatal("the node answered")
		}
		status := d.Status()
		if status.Nodes[0].LastErrorMessage == "" || status.Nodes[0].Reason == "" {
			t.Fatalf("nothing went wrong: %+v", status)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			for _, value := range []any{status, &status, status.Nodes, status.Nodes[0], &status.Nodes[0]} {
				text := fmt.Sprintf(verb, value)
				if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
					t.Errorf("%s of a %T shows the password: %s", verb, value, text)
				}
			}
		}
	})
}

// What a program gets to see of a node has exported fields only, but for the
// latencies, which hold numbers.
func TestNodeStatusIsAPIOnly(t *testing.T) {
	for _, typ := range []reflect.Type{reflect.TypeFor[ClusterStatus](), reflect.TypeFor[NodeStatus]()} {
		for i := range typ.NumField() {
			field := typ.Field(i)
			if !field.IsExported() {
				t.Errorf("%s has a private field %s", typ, field.Name)
			}
			if field.Type.Implements(reflect.TypeFor[error]()) || field.Type == reflect.TypeFor[driver.Conn]() {
				t.Errorf("%s.%s may hold a backend's own value", typ, field.Name)
			}
		}
	}
}

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

// The status says how far each node is in what is replicated, as its database writes
// it. A node that does not tell has none.
func TestStatusHasThePosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fakedb.New()
		pgNodes(b, 2)[1].set(func(p *pgScript) { p.place = 64 })
		galeratest.Node(b.Node("n3")).Seqno.Store(4711)
		for _, c := range []struct {
			dialect Dialect
			nodes   []string
			want    []string
		}{
			{DialectPostgres, []string{"n1", "n2"}, []string{"0/64", "0/40"}},
			{DialectMySQL, []string{"n3"}, []string{"4711"}},
			{DialectGeneric, []string{"n4"}, []string{""}},
		} {
			d := NewDriver(b.Driver(), t.Name()+string(c.dialect), quiet, seeded(t), WithDialect(c.dialect))
			defer d.Close()
			for _, n := range c.nodes {
				if err := d.AddNode(n, n); err != nil {
					t.Fatal(err)
				}
			}
			openDB(t, d)
			time.Sleep(10 * time.Second)
			for i, n := range d.Status().Nodes {
				if n.Position != c.want[i] {
					t.Errorf("%s is at %q, want %q", n.Name, n.Position, c.want[i])
				}
			}
		}
	})
}
