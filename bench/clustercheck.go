package main

import (
	"context"
	"database/sql"
	"net"
	"net/http"
	"time"
)

// A clustercheck answers HTTP checks of a node as the script of that name does:
// with 200 while the node says that it is Synced.
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
	k.server = &http.Server{Handler: k, ReadHeaderTimeout: usualTimeout}
	go k.server.Serve(l)
	return k, nil
}

// ServeHTTP asks the node for its status and answers the check.
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
