// Package statuspage shows the clusters of a process on one live page: what
// state every node is in and why, what it has done, and what happened in the
// last minutes.
//
//	http.Handle("/clusters/", statuspage.Handler())
//
// The page works under any path, also behind a proxy that changes the path. It
// needs no script: with one it changes as the nodes do, without one it loads
// itself again. The same snapshot is there as JSON and as CSV, for
// ?format=json and ?format=csv or an Accept header.
//
// The page has no DSN, no password, and no text of a server that was not
// redacted. It has the names of clusters and nodes and the texts of their
// errors, so a program shows it to its operators only: the handler asks nobody
// who they are. It changes nothing, unless [AllowDrain] or [AllowReload] is given.
//
// Nothing runs while nobody looks. While somebody does, one goroutine takes a
// snapshot twice a second, however many look.
package statuspage
