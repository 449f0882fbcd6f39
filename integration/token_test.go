package integration

import (
	"context"
	"database/sql"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/go-sql-driver/mysql"
)

// tokenServiceIsNotTheNode takes a token from an HTTP service for each
// connection. While the service refuses, or is silent, the node takes no opens,
// and the idle connection works on.
func tokenServiceIsNotTheNode(t *testing.T, c *galera.Cluster) {
	for name, answers := range map[string]bool{"refuses": false, "is silent": true} {
		t.Run(name, func(t *testing.T) {
			service, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			url := "http://" + service.Addr().String()
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "token") })}
			ended := make(chan error, 1)
			go func() { ended <- server.Serve(service) }()
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			cfg, err := mysql.ParseDSN(c.Nodes[0].DSN(""))
			if err != nil {
				t.Fatal(err)
			}
			if err := cfg.Apply(mysql.BeforeConnect(func(ctx context.Context, _ *mysql.Config) error {
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
				if err != nil {
					return err
				}
				answer, err := client.Do(request)
				if err != nil {
					return err
				}
				return answer.Body.Close()
			})); err != nil {
				t.Fatal(err)
			}
			node, err := mysql.NewConnector(cfg)
			if err != nil {
				t.Fatal(err)
			}
			d := clustersql.NewDriver(mysql.MySQLDriver{}, t.Name(), clustersql.WithAttemptTimeout(time.Second))
			defer d.Close()
			if err := d.AddConnector("n1", node); err != nil {
				t.Fatal(err)
			}
			db := sql.OpenDB(d.Connector())
			defer db.Close()
			waitFor(t, "the node to be up", func() bool { return up(d) == 1 })
			id := func() (id int) {
				t.Helper()
				if err := db.QueryRow("SELECT CONNECTION_ID()").Scan(&id); err != nil {
					t.Error(err)
				}
				return id
			}
			before := id()

			server.Close() // and the port refuses
			<-ended
			if answers {
				silent, err := net.Listen("tcp", service.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer silent.Close()
			}
			idle, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if conn, err := db.Conn(ctx); err == nil {
				conn.Close()
				t.Error("a connection without a token")
			}
			idle.Close()
			waitFor(t, "the node to be down", func() bool { return d.Status().Nodes[0].State == clustersql.StateDown })
			s := d.Status().Nodes[0]
			t.Log(s.Reason)
			if after := id(); after != before || s.Generation != 0 || s.OpenConns != 1 {
				t.Errorf("connection %d, before %d: %+v", after, before, s)
			}
		})
	}
}
