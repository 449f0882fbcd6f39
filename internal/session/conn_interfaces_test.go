package session

import (
	"database/sql/driver"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"sync/atomic"
	"testing"
)

//lint:file-ignore SA1019 backends may have the deprecated interfaces

// A presence says when the wrapper has an optional interface.
type presence string

const (
	required presence = "always: it is not optional"
	always   presence = "always: a backend without it is made up for"
	asMade   presence = "as the backend: database/sql acts on its presence"
	forRaw   presence = "as the backend: programs ask for it in sql.Conn.Raw, database/sql only without its successor"
	bare     presence = "never: it is the backend's own"
)

// driverInterfaces are all interfaces of package driver.
var driverInterfaces = map[string]struct {
	typ      reflect.Type // the interface; for those that a conn or a statement may have
	of       string       // conn or stmt
	presence presence
}{
	"Conn":               {reflect.TypeFor[driver.Conn](), "conn", required},
	"Execer":             {reflect.TypeFor[driver.Execer](), "conn", forRaw},
	"ExecerContext":      {reflect.TypeFor[driver.ExecerContext](), "conn", asMade},
	"Queryer":            {reflect.TypeFor[driver.Queryer](), "conn", forRaw},
	"QueryerContext":     {reflect.TypeFor[driver.QueryerContext](), "conn", asMade},
	"ConnPrepareContext": {reflect.TypeFor[driver.ConnPrepareContext](), "conn", always},
	"ConnBeginTx":        {reflect.TypeFor[driver.ConnBeginTx](), "conn", always},
	"SessionResetter":    {reflect.TypeFor[driver.SessionResetter](), "conn", always},
	"Validator":          {reflect.TypeFor[driver.Validator](), "conn", always},
	"Pinger":             {reflect.TypeFor[driver.Pinger](), "conn", always},
	"NamedValueChecker":  {reflect.TypeFor[driver.NamedValueChecker](), "conn", always}, // a statement has it too

	"Stmt":             {reflect.TypeFor[driver.Stmt](), "stmt", required},
	"StmtExecContext":  {reflect.TypeFor[driver.StmtExecContext](), "stmt", always},
	"StmtQueryContext": {reflect.TypeFor[driver.StmtQueryContext](), "stmt", always},
	"ColumnConverter":  {reflect.TypeFor[driver.ColumnConverter](), "stmt", asMade},

	"Tx":        {presence: required},
	"Driver":    {presence: required}, // for these see the compile-time lists in driver.go
	"Connector": {presence: required},

	"DriverContext":                  {presence: always},
	"Result":                         {presence: bare},
	"Rows":                           {presence: bare},
	"RowsNextResultSet":              {presence: bare},
	"RowsColumnTypeScanType":         {presence: bare},
	"RowsColumnTypeDatabaseTypeName": {presence: bare},
	"RowsColumnTypeLength":           {presence: bare},
	"RowsColumnTypeNullable":         {presence: bare},
	"RowsColumnTypePrecisionScale":   {presence: bare},

	"Value":          {presence: bare},
	"Valuer":         {presence: bare},
	"ValueConverter": {presence: bare},
}

// The tests know every interface of package driver that the toolchain has. For
// a new one somebody must decide: it needs a row above, and a place in the
// wrapper and in the backends of the comparison.
func TestEveryInterfaceIsKnown(t *testing.T) {
	pkg, err := build.Import("database/sql/driver", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, name := range pkg.GoFiles {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(pkg.Dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.IsExported() && isInterface(spec.Type) {
				found[spec.Name.Name] = true
			}
			return true
		})
	}
	for name := range found {
		if _, ok := driverInterfaces[name]; !ok {
			t.Errorf("driver.%s is not known here", name)
		}
	}
	for name := range driverInterfaces {
		if !found[name] {
			t.Errorf("driver.%s does not exist", name)
		}
	}
}

func isInterface(expr ast.Expr) bool {
	if name, ok := expr.(*ast.Ident); ok {
		return name.Name == "any"
	}
	_, ok := expr.(*ast.InterfaceType)
	return ok
}

// successors names the interface that a deprecated one is served by.
var successors = map[string]string{"Execer": "ExecerContext", "Queryer": "QueryerContext"}

// For every backend of the comparison, the wrapper has the interfaces that the
// table says. Among these backends each optional interface is present in one
// and absent in another.
func TestWrapperHasTheInterfacesListed(t *testing.T) {
	present, absent := map[string]bool{}, map[string]bool{}
	look := func(of string, backend, wrapped any) {
		t.Helper()
		for name, known := range driverInterfaces {
			if known.typ == nil || known.of != of {
				continue
			}
			has := reflect.TypeOf(backend).Implements(known.typ)
			got := reflect.TypeOf(wrapped).Implements(known.typ)
			present[name] = present[name] || has
			absent[name] = absent[name] || !has
			want := true
			if known.presence == asMade || known.presence == forRaw {
				want = has
				for old, successor := range successors {
					want = want || successor == name && reflect.TypeOf(backend).Implements(driverInterfaces[old].typ)
				}
			}
			if got != want {
				t.Errorf("%s: driver.%s: %v, want %v (%s)", interfaces(backend), name, got, want, known.presence)
			}
		}
	}
	l := Link{Generation: new(atomic.Uint64), Report: func(f Fault) Answer { return Answer{Err: f.Err} }, Closed: func(Closer) {}}
	for _, newConn := range backendConns {
		backend := newConn(nil)
		look("conn", backend, wrapped(backend, l))
	}
	checker := reflect.TypeFor[driver.NamedValueChecker]()
	for _, newStmt := range backendStmts {
		backend := newStmt(nil)
		s, err := (&conn{tenure: new(tenure)}).wrapStmt(t.Context(), "", backend, nil)
		if err != nil {
			t.Fatal(err)
		}
		look("stmt", backend, s)
		if !reflect.TypeOf(s).Implements(checker) {
			t.Errorf("%s: no NamedValueChecker", interfaces(backend))
		}
	}
	for name, known := range driverInterfaces {
		if known.typ != nil && (!present[name] || !absent[name] && known.presence != required) {
			t.Errorf("driver.%s: present in a backend %v, absent in one %v", name, present[name], absent[name])
		}
	}
}
