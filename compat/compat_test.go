// Package compat runs libraries and tools through clustersql that know only a
// driver name and a DSN.
package compat

import (
	"context"
	"database/sql"
	"embed"
	"io/fs"
	"net"
	"strings"
	"testing"

	_ "github.com/EnumApps/clustersql" // the driver of that name
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
	"go.uber.org/goleak"
	"gorm.io/driver/mysql"
	"gorm.io/gorm"
)

// A cache of prepared statements in gorm's dbresolver has no end.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("gorm.io/gorm/internal/lru.NewLRU[...].func1"))
}

// All tests of the package use the same real nodes.
func TestStockTools(t *testing.T) {
	// With short timeouts the two others may lose each other too on a busy machine.
	c := galera.StartT(t, galera.Options{})
	dsn := hostList(t, c)
	t.Run("goose migrates", func(t *testing.T) { gooseMigrates(t, c, dsn) })
	t.Run("gorm migrates", func(t *testing.T) { gormMigrates(t, dsn) })
	t.Run("sqlx", func(t *testing.T) { sqlxConnects(t, dsn) })
	t.Run("through the death of a node", func(t *testing.T) { throughADeath(t, c, dsn) })
	t.Run("a dead node is masked", func(t *testing.T) { sqlxConnects(t, dsn) })
}

// hostList makes one DSN from those of the nodes: the first node's DSN with all
// hosts in place of its host, and with clustersql's parameters.
func hostList(t *testing.T, c *galera.Cluster) string {
	t.Helper()
	var hosts []string
	for _, n := range c.Nodes {
		hosts = append(hosts, n.Addr())
	}
	if _, _, err := net.SplitHostPort(hosts[0]); err != nil {
		t.Fatal(err)
	}
	dsn := c.Nodes[0].DSN("parseTime=true&wsrep_sync_wait=7")
	list := strings.Replace(dsn, hosts[0], strings.Join(hosts, ","), 1)
	return list + "&clustersql.open_timeout=8s&clustersql.check=do1"
}

//go:embed migrations/*.sql
var migrations embed.FS

// goose is a migration tool. Its table of versions must be right, whichever
// node answers.
func gooseMigrates(t *testing.T, c *galera.Cluster, dsn string) {
	db, err := sql.Open("clustersql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxIdleConns(-1) // every statement may go to another node
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(goose.DialectMySQL, db, files)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	done, err := p.Up(ctx)
	if err != nil || len(done) != 2 {
		t.Fatalf("%d migrations done: %v", len(done), err)
	}
	for _, n := range c.Nodes {
		node, err := sql.Open("mysql", n.DSN("wsrep_sync_wait=1"))
		if err != nil {
			t.Fatal(err)
		}
		var body string
		if err := node.QueryRow("SELECT body FROM note WHERE id = 1").Scan(&body); err != nil || body != "first" {
			t.Errorf("%s: %q, %v", n.Name, body, err)
		}
		node.Close()
	}
	if _, err := p.DownTo(ctx, 0); err != nil {
		t.Error(err)
	}
	if v, err := p.GetDBVersion(ctx); err != nil || v != 0 {
		t.Errorf("version %d, %v", v, err)
	}
}

type item struct {
	ID   uint `gorm:"primaryKey"`
	Name string
}

func gormMigrates(t *testing.T, dsn string) {
	g, err := gorm.Open(mysql.New(mysql.Config{DriverName: "clustersql", DSN: dsn}), &gorm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := g.DB()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := g.AutoMigrate(&item{}); err != nil {
		t.Fatal(err)
	}
	if err := g.Create(&item{Name: "a"}).Error; err != nil {
		t.Error(err)
	}
	var got item
	if err := g.First(&got, "name = ?", "a").Error; err != nil || got.Name != "a" {
		t.Errorf("%+v, %v", got, err)
	}
	if err := g.Migrator().DropTable(&item{}); err != nil {
		t.Error(err)
	}
}

func sqlxConnects(t *testing.T, dsn string) {
	db, err := sqlx.Connect("clustersql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var row struct {
		One int    `db:"one"`
		Two string `db:"two"`
	}
	if err := db.Get(&row, "SELECT ? AS one, ? AS two", 1, "zwei"); err != nil || row.One != 1 || row.Two != "zwei" {
		t.Errorf("%+v, %v", row, err)
	}
}
