package session

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/EnumApps/clustersql/internal/seedtest"
)

// A wrapping connector returns the conns of another connector, wrapped.
type wrapping struct {
	driver.Connector
	lateness   Lateness
	hedging    Hedging
	generation atomic.Uint64
	reports    atomic.Int64
	closes     atomic.Int64
}

func (w *wrapping) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := w.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return wrapped(c, Link{
		Generation: &w.generation,
		Born:       w.generation.Load(),
		Lateness:   w.lateness,
		Hedging:    w.hedging,
		Report: func(f Fault) Answer {
			if !f.Left || f.Ctx.Err() != nil {
				w.reports.Add(1)
			}
			return Answer{Err: f.Err}
		},
		Closed: func(Closer) { w.closes.Add(1) },
	}), nil
}

// wrapped is Wrap without the Handle.
func wrapped(backend driver.Conn, l Link) driver.Conn {
	c, _ := Wrap(backend, l)
	return c
}

// play lets a user do something, and returns what happened.
func (s *script) play(ctx context.Context, sc scenario, c driver.Connector) []string {
	if sc.set != nil {
		sc.set(s)
	}
	db := sql.OpenDB(c)
	sc.run(&user{s, db, context.WithValue(ctx, ctxKey{}, "value")})
	synctest.Wait()
	err := db.Close()
	synctest.Wait()
	return append(s.lines, fmt.Sprint("db.Close: ", err))
}

// compare plays a scenario bare and wrapped, on two backends of the same shape.
func compare(t *testing.T, sc scenario, alike shape) {
	t.Helper()
	play := func(w *wrapping) (*script, []string) {
		s := &script{shape: alike}
		var c driver.Connector = s
		if w != nil {
			w.Connector = s
			c = w
		}
		return s, s.play(t.Context(), sc, c)
	}
	var w wrapping
	_, bare := play(nil)
	s, wrapped := play(&w)
	if !slices.Equal(bare, wrapped) {
		at := 0
		for at < min(len(bare), len(wrapped)) && bare[at] == wrapped[at] {
			at++
		}
		t.Errorf("%s, NumInput %d, statement %s: from line %d on\nbare:\n%s\nwrapped:\n%s", sc.name, alike.numInput, interfaces(alike.newStmt(nil)),
			at, strings.Join(bare[at:], "\n"), strings.Join(wrapped[at:], "\n"))
	}
	if !sc.uncounted && int(w.reports.Load()) != s.faults {
		t.Errorf("%s: %d errors reported, the backend gave %d:\n%s", sc.name, w.reports.Load(), s.faults, strings.Join(wrapped, "\n"))
	}
	closes := 0
	for _, line := range wrapped {
		if strings.HasSuffix(line, ".Close") && !strings.Contains(line, "(") && !strings.Contains(line, "rows") {
			closes++
		}
	}
	if int(w.closes.Load()) != closes {
		t.Errorf("%s: %d conns told that they were closed, the backend saw %d", sc.name, w.closes.Load(), closes)
	}
}

// interfaces names what a conn or statement has beyond the first interface.
func interfaces(v any) string {
	typ := reflect.TypeOf(v)
	names := []string{"plain"}
	for i := 1; i < typ.NumField(); i++ {
		names = append(names, typ.Field(i).Name)
	}
	return strings.Join(names, "+")
}

// A wrapped conn does what the bare one does, whatever interfaces the backend
// has and however it answers: the same calls with the same arguments in the
// same order, the same results and errors, the same conns reused and closed.
// The short run draws a tenth of the sets of interfaces.
func TestWrappedConnIsLikeBare(t *testing.T) {
	scenarios := slices.Concat(argScenarios(), failScenarios(), panicScenarios(), contextScenarios(), otherScenarios())
	oldest, newest := backendStmts[0], backendStmts[len(backendStmts)-1]
	conns := slices.Clone(backendConns[:])
	if testing.Short() {
		seedtest.Rand(t).Shuffle(len(conns), func(i, j int) { conns[i], conns[j] = conns[j], conns[i] })
		conns = conns[:len(conns)/10]
	}
	for _, newConn := range conns {
		t.Run(interfaces(newConn(nil)), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				for _, sc := range scenarios {
					compare(t, sc, shape{newConn, oldest, 1})
					compare(t, sc, shape{newConn, newest, -1})
				}
			})
		})
	}
}

// A wrapped statement does what the bare one does, whether the backend counts
// the arguments or not.
func TestWrappedStmtIsLikeBare(t *testing.T) {
	scenarios := slices.Concat(argScenarios(), contextScenarios(), otherScenarios())
	conns := map[string]func(*fullConn) driver.Conn{
		"conn without checker": func(c *fullConn) driver.Conn { return struct{ driver.Conn }{c} },
		"conn with checker": func(c *fullConn) driver.Conn {
			return struct {
				driver.Conn
				driver.NamedValueChecker
			}{c, c}
		},
	}
	for _, newStmt := range backendStmts {
		for name, newConn := range conns {
			t.Run(interfaces(newStmt(nil))+", "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					for _, numInput := range []int{-1, 0, 1, 2} {
						for _, sc := range scenarios {
							compare(t, sc, shape{newConn, newStmt, numInput})
						}
					}
				})
			})
		}
	}
}

// The comparison would also pass if bare and wrapped did nothing at all. These
// examples show what they do.
func TestWrappedConnByExamples(t *testing.T) {
	list := scenario{run: func(u *user) {
		r, err := u.db.ExecContext(u.ctx, "exec", []int{1, 2})
		u.sawResult("exec", r, err)
	}}
	withConverter := func(s *fullStmt) driver.Stmt {
		return struct {
			driver.Stmt
			columnConverter
		}{s, s}
	}
	cancelled := scenario{run: (*user).cancelled}
	for _, tc := range []struct {
		name  string
		shape shape
		does  scenario
		want  []string // lines that must occur, in this order
	}{
		{"a ColumnConverter takes lists", shape{oldestConn, withConverter, 1}, list,
			[]string{"  conn1.stmt(exec).Exec [string converted [1 2]]", "exec: 1"}},
		{"nobody takes lists", shape{oldestConn, oldestStmt, -1}, list,
			[]string{"  conn1.Prepare exec", "  conn1.stmt(exec).Close"}},
		{"an Execer does not ask the ColumnConverter", shape{newestConn, withConverter, 1}, list,
			[]string{"  conn1.CheckNamedValue 1 \"\" []int", "  conn1.IsValid"}},
		{"sessions that cannot be reset are closed after a cancel", shape{oldestConn, oldestStmt, -1}, cancelled,
			[]string{"  conn1.Begin", "  conn1.Rollback", "  conn1.stmt(left open).Close", "  conn1.Close", "  conn2.Prepare exec"}},
		{"sessions that can be reset are used again", shape{newestConn, newestStmt, -1}, cancelled,
			[]string{"  conn1.Rollback", "  conn1.IsValid", "  conn1.ResetSession ctx value <nil>", "  conn1.Ping ctx value <nil>"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{shape: tc.shape}
				lines := s.play(t.Context(), tc.does, &wrapping{Connector: s})
				rest := lines
				for _, want := range tc.want {
					i := slices.Index(rest, want)
					if i < 0 {
						t.Fatalf("no %q at its place in\n%s", want, strings.Join(lines, "\n"))
					}
					rest = rest[i+1:]
				}
			})
		})
	}
}
