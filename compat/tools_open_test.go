package compat

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net"
	"sync/atomic"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/EnumApps/clustersql"
	"github.com/XSAM/otelsql"
	"github.com/go-sql-driver/mysql"
	"github.com/jmoiron/sqlx"
	"github.com/ngrok/sqlmw"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/mysqldialect"
	gormmysql "gorm.io/driver/mysql"
	"gorm.io/gorm"
	"gorm.io/plugin/dbresolver"
)

// An entry is the row that every tool writes and reads.
type entry struct {
	bun.BaseModel `bun:"table:entries" gorm:"-"`

	ID   int `bun:",pk" db:"id"`
	Body string
}

// A session is a tool with an open database.
type session struct {
	write func(ctx context.Context, e *entry) error
	read  func(ctx context.Context, id int) (*entry, error)
	close func() error
}

// plain is a session of a tool that is a driver: its users have a sql.DB.
func plain(db *sql.DB) *session {
	return &session{
		write: func(ctx context.Context, e *entry) error {
			_, err := db.ExecContext(ctx, "INSERT INTO entries (id, body) VALUES (?, ?)", e.ID, e.Body)
			return err
		},
		read: func(ctx context.Context, id int) (*entry, error) {
			e := &entry{ID: id}
			return e, db.QueryRowContext(ctx, "SELECT body FROM entries WHERE id = ?", id).Scan(&e.Body)
		},
		close: db.Close,
	}
}

func init() {
	mysql.RegisterDialContext("cut", func(ctx context.Context, addr string) (net.Conn, error) {
		return clustersql.Dial(ctx, "tcp", addr)
	})
}

// counted returns an option that counts what otelsql sees.
func counted(n *atomic.Int64) []otelsql.Option {
	return []otelsql.Option{otelsql.WithSpanOptions(otelsql.SpanOptions{
		SpanFilter: func(context.Context, otelsql.Method, string, []driver.NamedValue) bool { n.Add(1); return true },
	})}
}

func otelsqlByName(dsn string, _ map[string]string, seen *atomic.Int64) (*session, error) {
	options := counted(seen)
	db, err := otelsql.Open("clustersql", dsn, options...)
	if err != nil {
		return nil, err
	}
	return plain(db), nil
}

func otelsqlRegistered(dsn string, _ map[string]string, seen *atomic.Int64) (*session, error) {
	options := counted(seen)
	name, err := otelsql.Register("clustersql", options...)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open(name, dsn)
	if err != nil {
		return nil, err
	}
	return plain(db), nil
}

func otelsqlOutside(_ string, dsns map[string]string, seen *atomic.Int64) (*session, error) {
	options := counted(seen)
	d := clustersql.NewDriver(mysql.MySQLDriver{}, "otel_outside", clustersql.WithIdempotent(true))
	for name, dsn := range dsns {
		if err := d.AddNode(name, dsn); err != nil {
			return nil, err
		}
	}
	db := otelsql.OpenDB(d.Connector(), options...)
	return plain(db), nil
}

func otelsqlInside(_ string, dsns map[string]string, seen *atomic.Int64) (*session, error) {
	options := counted(seen)
	traced := otelsql.WrapDriver(mysql.MySQLDriver{}, options...)
	d := clustersql.NewDriver(traced, "traced_conn", clustersql.WithDialect(clustersql.DialectMySQL), clustersql.WithIdempotent(true))
	return inside(d, dsns)
}

// inside adds the nodes to a cluster over a driver that wraps
// go-sql-driver/mysql.
func inside(d clustersql.Driver, dsns map[string]string) (*session, error) {
	for name, dsn := range dsns {
		if err := d.AddNode(name, onNetwork("cut", dsn)); err != nil {
			return nil, err
		}
	}
	return plain(sql.OpenDB(d.Connector())), nil
}

// A queryCounter sees what sqlmw intercepts.
type queryCounter struct {
	sqlmw.NullInterceptor
	seen *atomic.Int64
}

func (q queryCounter) ConnQueryContext(ctx context.Context, conn driver.QueryerContext, query string, args []driver.NamedValue) (context.Context, driver.Rows, error) {
	q.seen.Add(1)
	return q.NullInterceptor.ConnQueryContext(ctx, conn, query, args)
}

func sqlmwOutside(_ string, dsns map[string]string, seen *atomic.Int64) (*session, error) {
	interceptor := queryCounter{seen: seen}
	d := clustersql.NewDriver(mysql.MySQLDriver{}, "sqlmw_outside", clustersql.WithIdempotent(true))
	for name, dsn := range dsns {
		if err := d.AddNode(name, dsn); err != nil {
			return nil, err
		}
	}
	c, err := sqlmw.Driver(d, interceptor).(driver.DriverContext).OpenConnector("")
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	s := plain(db)
	s.close = func() error {
		if err := db.Close(); err != nil {
			return err
		}
		return d.Close() // sqlmw's connector has no Close
	}
	return s, nil
}

func sqlmwInside(_ string, dsns map[string]string, seen *atomic.Int64) (*session, error) {
	interceptor := queryCounter{seen: seen}
	logged := sqlmw.Driver(mysql.MySQLDriver{}, interceptor)
	d := clustersql.NewDriver(logged, "logged_conn", clustersql.WithDialect(clustersql.DialectMySQL), clustersql.WithIdempotent(true))
	return inside(d, dsns)
}

func gormWithResolver(dsn string, _ map[string]string, _ *atomic.Int64) (*session, error) {
	writersDSN, readersDSN := dsn+"&clustersql.strategy=ordered", dsn+"&clustersql.strategy=balanced"
	writers, err := sql.Open("clustersql", writersDSN)
	if err != nil {
		return nil, err
	}
	readers, err := sql.Open("clustersql", readersDSN)
	if err != nil {
		return nil, err
	}
	g, err := gorm.Open(gormmysql.New(gormmysql.Config{Conn: writers}), &gorm.Config{})
	if err != nil {
		return nil, err
	}
	err = g.Use(dbresolver.Register(dbresolver.Config{
		Replicas: []gorm.Dialector{gormmysql.New(gormmysql.Config{Conn: readers})},
	}))
	if err != nil {
		return nil, err
	}
	return &session{
		write: func(ctx context.Context, e *entry) error { return g.WithContext(ctx).Create(e).Error },
		read: func(ctx context.Context, id int) (*entry, error) {
			e := new(entry)
			return e, g.WithContext(ctx).First(e, id).Error
		},
		close: func() error {
			if err := readers.Close(); err != nil {
				return err
			}
			return writers.Close()
		},
	}, nil
}

func sqlxByName(dsn string, _ map[string]string, _ *atomic.Int64) (*session, error) {
	db, err := sqlx.Connect("clustersql", dsn)
	if err != nil {
		return nil, err
	}
	return &session{
		write: func(ctx context.Context, e *entry) error {
			_, err := db.NamedExecContext(ctx, "INSERT INTO entries (id, body) VALUES (:id, :body)", e)
			return err
		},
		read: func(ctx context.Context, id int) (*entry, error) {
			e := new(entry)
			return e, db.GetContext(ctx, e, "SELECT id, body FROM entries WHERE id = ?", id)
		},
		close: db.Close,
	}, nil
}

func bunOverDB(dsn string, _ map[string]string, _ *atomic.Int64) (*session, error) {
	sqlDB, err := sql.Open("clustersql", dsn)
	if err != nil {
		return nil, err
	}
	db := bun.NewDB(sqlDB, mysqldialect.New())
	return &session{
		write: func(ctx context.Context, e *entry) error {
			_, err := db.NewInsert().Model(e).Exec(ctx)
			return err
		},
		read: func(ctx context.Context, id int) (*entry, error) {
			e := new(entry)
			return e, db.NewSelect().Model(e).Where("id = ?", id).Scan(ctx)
		},
		close: db.Close,
	}, nil
}

func entOverDB(dsn string, _ map[string]string, _ *atomic.Int64) (*session, error) {
	db, err := sql.Open("clustersql", dsn)
	if err != nil {
		return nil, err
	}
	drv := entsql.OpenDB(dialect.MySQL, db)
	builder := entsql.Dialect(dialect.MySQL)
	return &session{
		write: func(ctx context.Context, e *entry) error {
			query, args := builder.Insert("entries").Columns("id", "body").Values(e.ID, e.Body).Query()
			return drv.Exec(ctx, query, args, nil)
		},
		read: func(ctx context.Context, id int) (*entry, error) {
			query, args := builder.Select("body").From(entsql.Table("entries")).Where(entsql.EQ("id", id)).Query()
			var rows entsql.Rows
			if err := drv.Query(ctx, query, args, &rows); err != nil {
				return nil, err
			}
			defer rows.Close()
			body, err := entsql.ScanString(rows)
			return &entry{ID: id, Body: body}, err
		},
		close: drv.Close,
	}, nil
}
