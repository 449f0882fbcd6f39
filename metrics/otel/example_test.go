package otel_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"log/slog"

	"github.com/go-sql-driver/mysql"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
	clustersqlotel "github.com/EnumApps/clustersql/metrics/otel"
)

// All clusters of the program. A program has a reader with an exporter, such as
// metric.NewPeriodicReader.
func Example() {
	reader := metric.NewManualReader(metric.WithProducer(clustersqlotel.NewProducer()))
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	defer provider.Shutdown(context.Background())

	d := clustersql.NewDriver(mysql.MySQLDriver{}, "shown_conn")
	defer d.Close()
	if err := d.AddNode("galera1", "user:password@tcp(dbhost1:3306)/db"); err != nil {
		log.Fatal(err)
	}
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		log.Fatal(err)
	}
	fmt.Println(all.ScopeMetrics[0].Metrics[0].Name)
	// Output: clustersql.config.reloads
}

// A span says on which node its statements run.
func ExampleAnnotate() {
	work := func(ctx context.Context, db *sql.DB) error {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := clustersqlotel.Annotate(trace.SpanFromContext(ctx), conn); err != nil {
			return err
		}
		_, err = conn.ExecContext(ctx, "UPDATE counters SET n = n + 1")
		return err
	}
	d := clustersql.NewDriver(fakedb.New().Driver(), "traced_conn", clustersql.WithLogger(slog.New(slog.DiscardHandler)))
	defer d.Close()
	if err := d.AddNode("galera1", "dsn1"); err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(d.Connector())
	defer db.Close()
	fmt.Println(work(context.Background(), db))
	// Output: <nil>
}
