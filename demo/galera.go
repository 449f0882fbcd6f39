package main

import (
	"context"

	"github.com/EnumApps/clustersql/internal/galera"
)

// startGalera starts three MariaDB Galera nodes on loopback, which replicate to
// each other. The caller must close the cluster.
func startGalera(ctx context.Context) (*cluster, error) {
	if err := galera.Available(); err != nil {
		return nil, err
	}
	real, err := galera.Start(ctx, galera.Options{})
	if err != nil {
		return nil, err
	}
	c := &cluster{
		what: "three MariaDB Galera nodes on this machine, reached over TCP on loopback",
		user: galera.User, password: galera.Password, database: galera.Database, dialect: &mysqlDialect,
		end: real.Stop,
	}
	for _, n := range real.Nodes {
		if err := c.add(ctx, &galeraServer{n}); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

// A galeraServer is a real node as a server of the demo. Its cluster closes it.
type galeraServer struct{ node *galera.Node }

// start brings a stopped node back, and waits until it has caught up with the
// others.
func (s *galeraServer) start(ctx context.Context) (string, error) {
	if s.node.Running() {
		return s.node.Addr(), nil
	}
	return s.node.Addr(), s.node.Start(ctx)
}

func (s *galeraServer) stop(ctx context.Context) error { return s.node.Shutdown(ctx) }
func (s *galeraServer) close(context.Context) error    { return nil }
