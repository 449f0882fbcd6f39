package clustersql

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/race"
	"github.com/EnumApps/clustersql/internal/seedtest"
)

// shownSecret is the password of every DSN in the tests of what is shown.
const shownSecret = "Hunter22/p@ss"

// A witness looks at everything that a program may print.
type witness struct {
	t    *testing.T
	seen map[reflect.Type]int // of the types of this package
}

// look checks a value, and what can be reached from it.
func (w *witness) look(what string, value any) {
	w.t.Helper()
	w.print(what, value)
	w.walk(what, reflect.ValueOf(value), 0)
}

// print checks a value with every verb and as JSON.
func (w *witness) print(what string, value any) {
	w.t.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10v"} {
		w.text(what+" by "+verb, fmt.Sprintf(verb, value))
	}
	if data, err := json.Marshal(value); err == nil {
		w.text(what+" as JSON", string(data))
	}
}

// text checks a text for the password, in every form that it may have.
func (w *witness) text(what, text string) {
	w.t.Helper()
	for _, form := range []string{
		shownSecret, url.PathEscape(shownSecret), url.QueryEscape(shownSecret), "Hunter22",
		fmt.Sprintf("%x", shownSecret), fmt.Sprintf("%X", shownSecret),
	} {
		if strings.Contains(text, form) {
			w.t.Errorf("%s shows the password: %s", what, text)
		}
	}
}

// walk follows exported fields, items and Unwrap. It does not go into errors
// of other packages: they are the backend's own.
func (w *witness) walk(what string, v reflect.Value, depth int) {
	w.t.Helper()
	if !v.IsValid() || depth > 12 || !v.CanInterface() || v.Kind() == reflect.Pointer && v.IsNil() {
		return
	}
	if v.Kind() == reflect.Interface {
		w.walk(what, v.Elem(), depth)
		return
	}
	_, isError := v.Interface().(error)
	ours := w.isOurs(v.Type())
	if ours {
		w.print(fmt.Sprintf("%s: %s", what, v.Type()), v.Interface())
	} else if isError && depth > 0 {
		return
	}
	switch u := v.Interface().(type) {
	case interface{ Unwrap() error }:
		w.walk(what, reflect.ValueOf(u.Unwrap()), depth+1)
	case interface{ Unwrap() []error }:
		for _, err := range u.Unwrap() {
			w.walk(what, reflect.ValueOf(err), depth+1)
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.Type() == reflect.TypeFor[*Registry]() || v.Type() == reflect.TypeFor[*connector]() {
			return // these must not be copied
		}
		if _, itself := v.Interface().(fmt.Formatter); itself {
			return // a conn: no program can copy what it points to, and others change that meanwhile
		}
		w.walk(what, v.Elem(), depth+1)
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			w.walk(what, v.Index(i), depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				w.walk(what, v.Field(i), depth+1)
			}
		}
	}
}

// isOurs notes a type, or what it points to, if it is of this module and does
// not stand for the backend's.
func (w *witness) isOurs(typ reflect.Type) bool {
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if !strings.HasPrefix(typ.PkgPath(), modulePath) || strings.Contains(typ.PkgPath(), "fakedb") ||
		typ == reflect.TypeFor[chattyError]() || typ == reflect.TypeFor[dsnError]() {
		return false
	}
	w.seen[typ]++
	return true
}

// A lockedBuffer takes the lines of a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// teeHandler passes each record to two handlers.
type teeHandler struct{ a, b slog.Handler }

func (h teeHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h teeHandler) Handle(ctx context.Context, r slog.Record) error {
	return errors.Join(h.a.Handle(ctx, r), h.b.Handle(ctx, r))
}
func (h teeHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return teeHandler{h.a.WithAttrs(attrs), h.b.WithAttrs(attrs)}
}
func (h teeHandler) WithGroup(name string) slog.Handler {
	return teeHandler{h.a.WithGroup(name), h.b.WithGroup(name)}
}

// secretDSNs are the forms of DSNs with the password in them, each with the
// dialect that is to read it. %s is the node.
var secretDSNs = map[string]struct {
	dialect Dialect
	dsn     func(node string) string
}{
	"mysql":   {DialectMySQL, func(node string) string { return "app:" + shownSecret + "@tcp(" + node + ":3306)/db" }},
	"address": {DialectGeneric, func(node string) string { return "app:" + shownSecret + "@tcp(" + node + ":3306)/db" }},
	"url": {DialectGeneric, func(node string) string {
		return "postgres://" + url.UserPassword("app", shownSecret).String() + "@" + node + ":5432/db"
	}},
	"words": {DialectGeneric, func(node string) string { return "host=" + node + " user=app password='" + shownSecret + "' dbname=db" }},
}

// A cluster whose backend, checks, strategy and hook give the password away
// shows it nowhere: not in what is logged, told, exported or returned.
func TestSecretsAreShownNowhere(t *testing.T) {
	forms := slices.Sorted(maps.Keys(secretDSNs))
	if testing.Short() || race.Enabled { // with -race, a form takes ten times as long
		one := seedtest.Rand(t).IntN(len(forms))
		forms = forms[one : one+1]
	}
	for _, form := range forms {
		tc := secretDSNs[form]
		t.Run(form, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &witness{t, map[reflect.Type]int{}}
				talkativeCluster(t, w, tc.dialect, tc.dsn)
				for _, typ := range []reflect.Type{
					reflect.TypeFor[OpenError](), reflect.TypeFor[AttemptError](), reflect.TypeFor[NodeError](),
					reflect.TypeFor[Event](), reflect.TypeFor[ClusterStatus](), reflect.TypeFor[NodeStatus](), reflect.TypeFor[Driver](),
				} {
					if w.seen[typ] == 0 {
						t.Errorf("no %s was seen", typ)
					}
				}
			})
		})
	}
}

// talkativeCluster runs a cluster in which everything that can fail fails with
// the password, and lets w look at all that comes of it.
func talkativeCluster(t *testing.T, w *witness, dialect Dialect, dsn func(node string) string) {
	chatty := chattyError{"app", shownSecret}
	answers := map[string]fakedb.Script{
		"value":    {Err: chatty},
		"pointer":  {Err: &dsnError{dsn("pointer")}},
		"joined":   {Err: errors.Join(chatty, &dsnError{dsn("joined")})},
		"wrapped":  {Err: fmt.Errorf("dial: %w", chatty)},
		"bad":      {Err: fmt.Errorf("%w: %w", chatty, driver.ErrBadConn)},
		"panics":   {Panic: shownSecret},
		"panics2":  {Panic: chatty},
		"unfit":    {Check: chatty},
		"checkpan": {},
		"up":       {},
	}
	b := fakedb.New()
	b.NameNodes(func(found string) string {
		for name := range answers {
			if found == dsn(name) {
				return name
			}
		}
		return found
	})
	for name, script := range answers {
		b.Node(name).Set(script)
	}
	var texts, lines lockedBuffer
	var mu sync.Mutex
	var events []Event
	check := func(ctx context.Context, conn driver.Conn) error {
		if strings.Contains(fmt.Sprint(ctx.Value(panicKey{})), "now") {
			panic(chatty)
		}
		return CheckPing(ctx, conn)
	}
	var broken atomic.Bool
	strategy := NewStrategy("mine", func(nodes []NodeStatus) []Launch {
		if broken.Load() {
			panic(chatty)
		}
		return Race.Plan(nodes)
	})
	d := NewDriver(b.Driver(), t.Name(), seeded(t), WithDialect(dialect), WithCheck(check), WithStrategy(strategy),
		WithLogger(slog.New(teeHandler{slog.NewTextHandler(&texts, nil), slog.NewJSONHandler(&lines, nil)})),
		WithOnEvent(func(e Event) {
			mu.Lock()
			events = append(events, e)
			mu.Unlock()
			panic(chatty)
		}))
	defer d.Close()
	for name := range answers {
		if name == "up" {
			continue
		}
		if err := d.AddNode(name, dsn(name)); err != nil {
			t.Fatal(err)
		}
	}
	b.RefuseDSN(dsn("refused"), chatty)
	w.look("a refused DSN", d.AddNode("refused", dsn("refused")))
	w.look("a wrong weight", d.AddNode("wrong", dsn("wrong"), WithWeight(-1)))
	db := openDB(t, d)
	ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), panicKey{}, "now"), 30*time.Second)
	defer cancel()
	w.look("an open", db.PingContext(ctx))
	time.Sleep(5 * time.Second)
	w.look("WaitReady", d.WaitReady(ctx, 99))

	if err := d.AddNode("up", dsn("up")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second)
	statements(w, []*fakedb.Node{b.Node("up"), b.Node("checkpan")}, db, chatty)
	broken.Store(true)
	db.SetMaxIdleConns(0)
	w.look("a strategy's panic", db.Ping())
	time.Sleep(5 * time.Second)

	mu.Lock()
	w.look("the events", events)
	mu.Unlock()
	w.look("the status", d.Status())
	w.look("the driver", d)
	w.look("its address", &d)
	w.look("the driver of the pool", db.Driver())
	w.look("the connector", d.Connector())
	w.print("a connector in a pool", struct{ c driver.Connector }{d.Connector()})
	w.text("expvar", expvar.Get(t.Name()).String())
	w.text("the log", texts.String())
	w.text("the log as JSON", lines.String())
	for _, want := range []string{"backend panicked", "OnEvent panicked", "node down", "node up", "connections lost"} {
		if !strings.Contains(texts.String(), want) {
			t.Errorf("the log has no line %q", want)
		}
	}
}

// panicKey is the key of a context whose check panics.
type panicKey struct{}

// statements runs a statement on one of the nodes, which loses it.
func statements(w *witness, nodes []*fakedb.Node, db *sql.DB, chatty error) {
	w.t.Helper()
	conn, err := db.Conn(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Raw(func(c any) error { w.look("a connection", c); return nil }); err != nil {
		w.t.Fatal(err)
	}
	for _, n := range nodes {
		n.OnStatement(func(context.Context, string, []driver.NamedValue) error {
			return errors.Join(chatty, syscall.ECONNRESET)
		})
	}
	_, err = conn.ExecContext(w.t.Context(), "INSERT INTO t VALUES (1)")
	w.look("a statement", err)
	var failed *NodeError
	if !errors.As(err, &failed) {
		w.t.Fatalf("got %v", err)
	}
	w.look("its value", *failed)
}

// What cannot be opened, and a file that cannot be read, is told without the
// password.
func TestSecretsOfWhatCannotBeOpened(t *testing.T) {
	w := &witness{t, map[reflect.Type]int{}}
	for _, dsn := range []string{
		"app:" + shownSecret + "@tcp(h1,h2)", "app:" + shownSecret + "@tcp(h1,h2/db", "app:" + shownSecret + "@tcp(h1,,h2)/db",
		"app:" + shownSecret + "@tcp(h1,h2)/db?clustersql.rise=two", "app:" + shownSecret + "@tcp(h1,h2)/db?clustersql.x=1",
		"app:" + shownSecret + "@tcp(h1,h1)/db", "app:" + shownSecret + "@tcp(h1)/db?timeout=x", "app:x@tcp(h1)/db?clustersql.strategy=" + shownSecret,
	} {
		_, err := sql.Open("clustersql", dsn)
		if err == nil {
			t.Errorf("%s was opened", dsn)
		}
		w.look("sql.Open", err)
	}
	db, err := sql.Open("clustersql", "app:"+shownSecret+"@tcp(127.0.0.1:1)/db")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	w.look("its driver", db.Driver())

	path := filepath.Join(t.TempDir(), "config.toml")
	for text, good := range map[string]bool{
		"[[Nodes]]\nName = \"a\"\nHostName = \"h\"\nUserName = \"u\"\nPassword = \"" + shownSecret + "\"\n":                   true,
		"[[Nodes]]\nName = \"a\"\nHostName = \"h\"\nUserName = \"u\"\nPassword = " + shownSecret + "\n":                       false,
		"[[cluster]]\nname = \"c\"\nstrategy = \"" + shownSecret + "\"\n[[cluster.node]]\nname = \"n\"\ndsn = \"x\"\n":        false,
		"[[cluster]]\nname = \"c\"\n[[cluster.node]]\nname = \"n\"\ndsn = \"app:" + shownSecret + "@tcp(h)\"\n":               false,
		"[[cluster]]\nname = \"c\"\n[[cluster.node]]\nname = \"n\"\ndsn = \"x\"\n\"" + shownSecret + "\" = \"x\"\n":           false,
		"[[cluster]]\nname = \"c\"\ndriver = \"app:" + shownSecret + "@h\"\n[[cluster.node]]\nname = \"n\"\ndsn = \"y@z/\"\n": false,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Load(path)
		if (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
		w.look("Load", err)
		if r != nil {
			w.look("the Registry", r)
			d, _ := r.Driver(DefaultName)
			w.look("its driver", d)
			r.Close()
		}
	}
}

// A check of one node may name another node's DSN, in its error or panic.
func TestSecretsOfAnotherNode(t *testing.T) {
	for _, panics := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := &witness{t, map[reflect.Type]int{}}
			const other = "app:" + shownSecret + "@tcp(n2:3306)/db"
			var texts lockedBuffer
			d := NewDriver(fakedb.New().Driver(), t.Name(), seeded(t), WithDialect(DialectMySQL), WithLogger(slog.New(slog.NewTextHandler(&texts, nil))),
				WithCheck(func(context.Context, driver.Conn) error {
					err := errors.New("not the same as " + other)
					if panics {
						panic(err)
					}
					return err
				}))
			defer d.Close()
			for _, dsn := range []string{"app:ab/Cdef99@tcp(n1:3306)/db", other} {
				if err := d.AddNode(dsn[len(dsn)-11:len(dsn)-9], dsn); err != nil {
					t.Fatal(err)
				}
			}
			db := openDB(t, d)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := db.PingContext(ctx)
			if err == nil || !strings.Contains(err.Error(), "not the same as ***") {
				t.Errorf("%v", err)
			}
			w.look("an open", err)
			w.look("the status", d.Status())
			w.text("the log", texts.String())
		})
	}
}

// A name that is a DSN with a password is refused, and not shown.
func TestNameThatIsADSN(t *testing.T) {
	for form, tc := range secretDSNs {
		t.Run(form, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &witness{t, map[reflect.Type]int{}}
				name := tc.dsn("n1")
				b := fakedb.New()
				b.RefuseDSN("refused", errBoom)
				d := NewDriver(b.Driver(), t.Name(), seeded(t), quiet, WithDialect(tc.dialect))
				defer d.Close()
				for what, err := range map[string]error{
					"AddNode":            d.AddNode(name, name),
					"AddNode, refused":   d.AddNode(name, "refused"),
					"AddConnector":       d.AddConnector(name, connectFunc(nil)),
					"DelNode":            d.DelNode(name),
					"an open":            openDB(t, d).Ping(),
					"AddNode, wrong":     d.AddNode(name, name, WithWeight(-1)),
					"the backend's form": d.AddNode("app:"+shownSecret+"@unix(/tmp/s)/db", "n1"),
				} {
					if err == nil {
						t.Errorf("%s took the name", what)
					}
					w.look(what, err)
				}
				if names := d.Nodes(); len(names) != 0 {
					t.Errorf("the cluster has nodes: %d", len(names))
				}
			})
		})
	}
}

// A valueConn is a backend's connection that is no pointer: package fmt would
// look into it.
type valueConn struct {
	driver.Conn
	DSN string
}

// What sql.Conn.Raw gives a program shows nothing of the backend's connection.
func TestConnectionShowsNothingOfTheBackends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &witness{t, map[reflect.Type]int{}}
		c, err := fakedb.New().Driver().(driver.DriverContext).OpenConnector("n1")
		if err != nil {
			t.Fatal(err)
		}
		d := NewDriver(nil, t.Name(), seeded(t), quiet)
		defer d.Close()
		if err := d.AddConnector("n1", connectFunc(func(ctx context.Context) (driver.Conn, error) {
			conn, err := c.Connect(ctx)
			return valueConn{conn, shownSecret}, err
		})); err != nil {
			t.Fatal(err)
		}
		conn, err := openDB(t, d).Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.Raw(func(c any) error { w.print("a connection", c); return nil }); err != nil {
			t.Error(err)
		}
	})
}

// An error and a Driver print the same text for every verb, as wide as asked.
func TestFormats(t *testing.T) {
	attempt := AttemptError{Node: "n1", Err: chattyError{"app", shownSecret}, text: "refused"}
	if got, want := fmt.Sprintf("%v|%+v|%#v|%d|%s|%q|%30s", attempt, &attempt, attempt, attempt, attempt, attempt, attempt),
		`n1 (unknown): refused|n1 (unknown): refused|n1 (unknown): refused|n1 (unknown): refused|n1 (unknown): refused|"n1 (unknown): refused"|         n1 (unknown): refused`; got != want {
		t.Errorf("\ngot  %s\nwant %s", got, want)
	}
	d := NewDriver(fakedb.New().Driver(), "printed")
	defer d.Close()
	for _, name := range []string{"b", "a"} {
		if err := d.AddNode(name, name); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := fmt.Sprintf("%v|%#v", d, &d), `clustersql: cluster "printed" with the nodes a, b|clustersql: cluster "printed" with the nodes a, b`; got != want {
		t.Errorf("got %s", got)
	}
	if got := fmt.Sprintf("%v|%+v", Driver{}, new(Registry)); got != "clustersql: an empty Driver|clustersql: a Registry of the clusters (none)" {
		t.Errorf("got %s", got)
	}
	var none *OpenError
	if got := fmt.Sprint(none); got != "<nil>" {
		t.Errorf("got %s", got)
	}
}
