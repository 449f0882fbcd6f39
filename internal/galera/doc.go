// Package galera starts throwaway MariaDB Galera clusters on loopback, for
// tests, the demo and benchmarks, and makes faults on their nodes.
//
// A cluster lives in a folder of its own, on ports of its own, and ends with
// the process that started it, however that ends: the servers are told by the
// kernel (a parent death signal), and a small shell that waits for the end of
// a pipe ends what they had started themselves and removes the folder.
//
// It runs on Linux only, as root (the servers then run as the user mysql) and
// as an ordinary user. [Available] says what is missing.
package galera
