package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/galera"
	"github.com/EnumApps/clustersql/internal/mysqlgroup"
	"github.com/go-sql-driver/mysql"
)

// A cost is what the probes of one cluster cost a server, by the server's own count:
// statements, new connections, and bytes that it has received and sent.
type cost struct{ statements, connections, received, sent float64 }

func (c cost) minus(d cost) cost {
	return cost{c.statements - d.statements, c.connections - d.connections, c.received - d.received, c.sent - d.sent}
}

// A meter reads the counters of one server.
type meter struct {
	name string
	conn *sql.Conn
}

func meterOf(t *testing.T, name, dsn string) meter {
	t.Helper()
	db := plain(t, dsn)
	t.Cleanup(func() { db.Close() })
	conn, err := db.Conn(t.Context())
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return meter{name, conn}
}

func (m meter) read() (c cost, err error) {
	rows, err := m.conn.QueryContext(context.Background(), "SHOW GLOBAL STATUS WHERE Variable_name IN ('Questions', 'Connections', 'Bytes_received', 'Bytes_sent')")
	if err != nil {
		return c, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var value float64
		if err := rows.Scan(&name, &value); err != nil {
			return c, err
		}
		*map[string]*float64{"Questions": &c.statements, "Connections": &c.connections, "Bytes_received": &c.received, "Bytes_sent": &c.sent}[name] = value
	}
	return c, rows.Err()
}

// A probed is a setting, and how many statements a probe may cost with it.
type probed struct {
	name       string
	opts       []clustersql.Option
	statements float64
}

// counted is how many probes are counted: a multiple of those after which the status
// is looked at.
const counted = 5

// probesCost counts what the probes of a cluster cost each server, and fails the test
// if that is more than it may be each time. Nothing else must go on there. A probe that
// comes too late is followed by another one, and while a group settles its nodes are
// looked at more often: then it counts anew, five times in all.
func probesCost(t *testing.T, meters []meter, open func(opts ...clustersql.Option) clustersql.Driver, settings ...probed) {
	t.Helper()
	for _, p := range settings {
		d := open(append([]clustersql.Option{clustersql.WithProbe(200*time.Millisecond, 200*time.Millisecond)}, p.opts...)...)
		db := sql.OpenDB(d.Connector())
		var all sync.WaitGroup
		for i, m := range meters {
			all.Go(func() {
				var each cost
				var err error
				for try := 0; try < 5 && (try == 0 || err != nil || each.statements > p.statements+0.01); try++ {
					each, err = m.count(d, i)
				}
				t.Logf("%s, %s: a probe costs %.2f statements, %.2f connections, %.0f bytes to the server and %.0f from it", p.name, m.name, each.statements, each.connections, each.received, each.sent)
				if err != nil {
					t.Errorf("%s, %s: %v", p.name, m.name, err)
				}
				if each.statements > p.statements+0.01 || each.connections > 0 || each.statements < 1 {
					t.Errorf("%s, %s: more than %.1f statements or any connection", p.name, m.name, p.statements)
				}
			})
		}
		all.Wait()
		db.Close()
		d.Close()
	}
}

// count returns what a probe of one node costs. It counts from the end of one probe
// to the end of another.
func (m meter) count(d clustersql.Driver, node int) (each cost, err error) {
	after := func(probes uint64) clustersql.NodeStatus {
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
			if s := d.Status().Nodes[node]; s.Probes >= probes || time.Now().After(deadline) {
				return s
			}
		}
	}
	var reads [3]cost
	first := after(max(d.Status().Nodes[node].Probes+1, 3)) // role and group are known by then
	if reads[0], err = m.read(); err != nil {
		return each, err
	}
	last := after(first.Probes + counted)
	for i := range reads[1:] {
		if reads[i+1], err = m.read(); err != nil {
			return each, err
		}
	}
	own := reads[2].minus(reads[1])
	all := reads[1].minus(reads[0]).minus(own)
	if last.Probes != first.Probes+counted || last.ProbeErrors != first.ProbeErrors || !last.Since.Equal(first.Since) || own.statements != 1 {
		err = errors.New("the probes were not left alone")
	}
	return cost{all.statements / counted, all.connections / counted, all.received / counted, all.sent / counted}, err
}

// lagBounded has all that can be asked for asked for.
var lagBounded = []clustersql.Option{clustersql.WithRequire(clustersql.RequirePreferStandby), clustersql.WithMaxLag(time.Hour)}

func probesCostGalera(t *testing.T, c *galera.Cluster) {
	probesCost(t, metersOf(t, c), func(opts ...clustersql.Option) clustersql.Driver { return newCluster(t, c, opts...) },
		probed{"defaults", nil, 1.2},
		probed{"read-write", []clustersql.Option{clustersql.WithRequire(clustersql.RequireReadWrite)}, 2.2})
}

func probesCostReplicas(t *testing.T, c *galera.Cluster) {
	probesCost(t, metersOf(t, c), func(opts ...clustersql.Option) clustersql.Driver { return newCluster(t, c, opts...) },
		probed{"defaults", nil, 1.2}, probed{"prefer-standby, max_lag", lagBounded, 3})
}

// metersOf has one for each node.
func metersOf(t *testing.T, c *galera.Cluster) (meters []meter) {
	t.Helper()
	for _, n := range c.Nodes {
		meters = append(meters, meterOf(t, n.Name, n.DSN(patient)))
	}
	return meters
}

// probesCost is for MySQL's members and replicas.
func (m *members) probesCost(settings ...probed) {
	m.Helper()
	var meters []meter
	for _, n := range m.Nodes {
		meters = append(meters, meterOf(m.T, n.Name, n.DSNOf(mysqlgroup.User, "")))
	}
	opened := 0
	probesCost(m.T, meters, func(opts ...clustersql.Option) clustersql.Driver {
		opened++
		d := clustersql.NewDriver(mysql.MySQLDriver{}, fmt.Sprintf("%s %d", m.Name(), opened), opts...)
		m.Cleanup(func() { d.Close() })
		for _, n := range m.Nodes {
			m.must(d.AddNode(n.Name, n.DSNOf(mysqlgroup.User, "")))
		}
		return d
	}, settings...)
}

func (m *members) memberCost() {
	m.probesCost(probed{"defaults", nil, 3}, probed{"prefer-standby, max_lag", lagBounded, 3})
}

func (m *members) replicaCost() {
	m.probesCost(probed{"defaults", nil, 1.2}, probed{"prefer-standby, max_lag", lagBounded, 3})
}
