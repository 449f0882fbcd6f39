package clustersql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
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
