// Package throwaway is what the throwaway clusters of all databases have in
// common: their folder, their ports, and processes that end with the process
// which started them, in whatever way that one ends.
//
// The kernel ends the servers by a parent death signal. A small shell waits for
// the end of a pipe; it then ends what the servers had started, and removes the
// folder.
//
// It runs on Linux only, as an ordinary user or as root. For root the servers
// run as a user of their own. The packages galera, pgcluster and mysqlgroup use
// it; it imports no other package of this module.
package throwaway
