package integration

import (
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/go-sql-driver/mysql"
)

// An account that the server turns away, and a check_query that it cannot run,
// are told at once with the server's words, at first contact and later.
func mistakesAreToldAtOnce(t *testing.T, c *galera.Cluster) {
	for _, tc := range []struct {
		name   string
		make   string // what makes the account what it is
		opts   []clustersql.Option
		number uint16
		within string
	}{
		{"expired", "ALTER USER mistaken PASSWORD EXPIRE", nil, 0, "expired"},
		{"locked", "ALTER USER mistaken ACCOUNT LOCK", nil, 4151, "account is locked"},
		{"check_query", "DO 0", []clustersql.Option{clustersql.WithCheckQuery("SELEC 1")}, 1064, "check_query: "},
		{"no table", "DO 0", []clustersql.Option{clustersql.WithCheckQuery("SELECT fit FROM app.no_such_table")}, 1146, "check_query: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, c, "DROP USER IF EXISTS mistaken", "CREATE USER mistaken IDENTIFIED BY 'right'", "GRANT SELECT ON app.* TO mistaken", tc.make)
			defer run(t, c, "DROP USER IF EXISTS mistaken")
			d := clustersql.NewDriver(mysql.MySQLDriver{}, t.Name(), tc.opts...)
			defer d.Close()
			for _, n := range c.Nodes {
				cfg, err := mysql.ParseDSN(n.DSN(""))
				if err != nil {
					t.Fatal(err)
				}
				cfg.User, cfg.Passwd = "mistaken", "right"
				if err := d.AddNode(n.Name, cfg.FormatDSN()); err != nil {
					t.Fatal(err)
				}
			}
			db := sql.OpenDB(d.Connector())
			defer db.Close()
			for range 3 {
				began := time.Now()
				err := db.PingContext(t.Context())
				var server *mysql.MySQLError
				switch took := time.Since(began); {
				case took > 2*time.Second, !errors.As(err, &server), !strings.Contains(err.Error(), tc.within):
					t.Errorf("after %s: %v", took, err)
				case tc.number == 0 && server.Number != 1820 && server.Number != 1862, tc.number != 0 && server.Number != tc.number:
					t.Errorf("error %d: %v", server.Number, err)
				default:
					t.Log(took, err)
				}
				time.Sleep(time.Second)
			}
		})
	}
}
