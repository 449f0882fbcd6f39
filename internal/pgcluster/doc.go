// Package pgcluster starts throwaway PostgreSQL clusters on loopback and makes
// faults on their nodes, for tests, the demo and benchmarks: one primary, and
// streaming standbys. It knows nothing of clustersql and needs no driver: it
// asks the servers by psql.
//
// A standby reaches its primary through a relay of this process, so that it can
// be cut off without rights on the network.
//
// A cluster has its own folder and its own ports. It ends with the process that
// started it, in whatever way that process ends: see package throwaway.
//
// The package runs on Linux only, as an ordinary user or as root, and with
// PostgreSQL 14 or later. For root the servers run as the user postgres.
// [Available] says what is missing.
package pgcluster
