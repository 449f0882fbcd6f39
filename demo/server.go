package main

import (
	"context"
	"net"
	"sync"

	engine "github.com/dolthub/go-mysql-server"
	"github.com/dolthub/go-mysql-server/memory"
	protocol "github.com/dolthub/go-mysql-server/server"
	"github.com/dolthub/go-mysql-server/sql"
	"github.com/dolthub/vitess/go/mysql"
	"github.com/dolthub/vitess/go/sqltypes"
)

// A storage is the tables that several servers share. The sharing stands in for
// replication.
type storage struct {
	provider *memory.DbProvider
	// turn is full while a statement runs. Only one statement may use the
	// tables at a time: even a reader, when it ends, puts back the table that
	// it began with.
	turn chan struct{}
}

func newStorage(database string) *storage {
	return &storage{memory.NewDBProvider(memory.NewDatabase(database)), make(chan struct{}, 1)}
}

// A mysqlServer is a small MySQL server in this process, on its own loopback
// port. It has its own engine too: each server numbers its connections, and an
// engine would take two connections of the same number for one.
type mysqlServer struct {
	// immutable
	storage *storage
	engine  *engine.Engine

	// of the present run; nil while stopped
	listening *protocol.Server
	accepting sync.WaitGroup
}

// newMySQLServer returns a stopped server with one account. The caller must
// close it.
func newMySQLServer(st *storage, user, password string) *mysqlServer {
	s := &mysqlServer{storage: st, engine: engine.NewDefault(st.provider)}
	accounts := s.engine.Analyzer.Catalog.MySQLDb
	editor := accounts.Editor()
	defer editor.Close()
	accounts.AddSuperUser(editor, user, "localhost", password)
	return s
}

// start makes a stopped server listen on a free port. It returns the address.
func (s *mysqlServer) start(context.Context) (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s.listening, err = protocol.NewServerWithHandler(protocol.Config{Listener: l, Address: l.Addr().String()},
		s.engine, sql.NewContext, memory.NewSessionBuilder(s.storage.provider), nil, s.wrap)
	if err != nil {
		l.Close()
		return "", err
	}
	accept := s.listening.Start
	s.accepting.Go(func() { accept() })
	return l.Addr().String(), nil
}

// stop makes a running server stop listening. It waits until the server's
// connections end; their clients must end them. If ctx is done first, that is
// an error.
func (s *mysqlServer) stop(ctx context.Context) error {
	if s.listening == nil {
		return nil
	}
	sessions := s.listening.SessionManager()
	s.listening.Close()
	s.listening = nil
	s.accepting.Wait()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		sessions.WaitForClosedConnections()
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close stops the server for good.
func (s *mysqlServer) close(ctx context.Context) error {
	err := s.stop(ctx)
	s.engine.Close()
	return err
}

func (s *mysqlServer) wrap(h mysql.Handler) (mysql.Handler, error) {
	return handler{h, s.storage.turn}, nil
}

// A handler is the engine's handler with two additions. Statements run one at a
// time, and DO 1 is known: clustersql checks MySQL connections with it.
type handler struct {
	mysql.Handler
	turn chan struct{}
}

func (h handler) ComQuery(ctx context.Context, c *mysql.Conn, query string, answer mysql.ResultSpoolFn) error {
	if query == "DO 1" {
		return answer(&sqltypes.Result{}, false)
	}
	h.turn <- struct{}{}
	defer func() { <-h.turn }()
	return h.Handler.ComQuery(ctx, c, query, answer)
}

func (h handler) ComStmtExecute(ctx context.Context, c *mysql.Conn, prepared *mysql.PrepareData, answer func(*sqltypes.Result) error) error {
	h.turn <- struct{}{}
	defer func() { <-h.turn }()
	return h.Handler.ComStmtExecute(ctx, c, prepared, answer)
}
