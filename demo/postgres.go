package main

import (
	"context"
	"errors"

	"github.com/EnumApps/clustersql/internal/pgcluster"
)

// startPostgres starts a PostgreSQL primary and two streaming standbys on
// loopback. A commit waits for one of the standbys, so that no acknowledged
// write is lost with the primary. The caller must close the cluster.
func startPostgres(ctx context.Context) (*cluster, error) {
	if err := pgcluster.Available(); err != nil {
		return nil, err
	}
	real, err := pgcluster.Start(ctx, pgcluster.Options{Synchronous: true})
	if err != nil {
		return nil, err
	}
	c := &cluster{
		what: "a PostgreSQL primary and two standbys on this machine, reached over TCP on loopback",
		user: pgcluster.User, database: pgcluster.Database, dialect: &postgresDialect,
		replicas: real, end: real.Stop,
	}
	// Else a standby does not say whether it receives.
	if err := real.Exec(ctx, "GRANT pg_read_all_stats TO "+pgcluster.User); err != nil {
		c.close()
		return nil, err
	}
	for _, n := range real.Nodes {
		if err := c.add(ctx, &postgresServer{n, real}); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

// A postgresServer is a real node as a server of the demo. Its cluster closes
// it.
type postgresServer struct {
	node    *pgcluster.Node
	cluster *pgcluster.Cluster
}

// start brings a stopped node back as a standby that has caught up. An old
// primary is rewound before.
func (s *postgresServer) start(ctx context.Context) (string, error) {
	switch {
	case s.node.Running():
		return s.node.Addr(), nil
	case s.node.Upstream() != s.cluster.Primary():
		return s.node.Addr(), s.node.Rewind(ctx)
	}
	return s.node.Addr(), errors.Join(s.node.Start(ctx), s.node.WaitReplayed(ctx))
}

func (s *postgresServer) stop(ctx context.Context) error { return s.node.Shutdown(ctx) }
func (s *postgresServer) close(context.Context) error    { return nil }
