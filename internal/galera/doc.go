// Package galera starts throwaway MariaDB Galera clusters on loopback and makes
// faults on their nodes, for tests, the demo and benchmarks. [StartReplication]
// starts plain servers instead: a primary, and replicas of it. The package knows
// nothing of clustersql.
//
// A cluster has its own folder and its own ports. It ends with the process that
// started it, in whatever way that process ends: see package throwaway.
//
// The package runs on Linux only, as an ordinary user or as root. For root the
// servers run as the user mysql. [Available] says what is missing.
package galera
