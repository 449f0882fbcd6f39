package main

import (
	"context"
	"database/sql"
	"net"
	"net/http"
	"time"
)

// A clustercheck answers a node's HTTP checks as the script of that name
// does: 200 while the node says it is Synced.
type clustercheck struct {
	addr   string
	server *http.Server
	db     *sql.DB
}

func newClustercheck(node string) (*clustercheck, error) {
	c, err := peer(node)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &clustercheck{addr: l.Addr().String(), db: sql.OpenDB(c)}
	k.server = &http.Server{Handler: k, ReadHeaderTimeout: patience}
	go k.server.Serve(l)
	return k, nil
}

// ServeHTTP asks the node's status.
func (k *clustercheck) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	var name, state string
	err := k.db.QueryRowContext(ctx, "SHOW STATUS LIKE 'wsrep_local_state'").Scan(&name, &state)
	if err != nil || state != "4" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func (k *clustercheck) close() {
	k.server.Close()
	k.db.Close()
}
