// Package mysqlgroup starts throwaway servers of MySQL on loopback, as one group
// of Group Replication with a single primary, or as a primary and its replicas, and
// makes faults on them, for tests. It knows nothing of clustersql.
//
// MySQL is not installed: the package takes the programs and libraries of a
// folder into which packages were unpacked. It starts the server by the folder's
// own dynamic loader, because the libraries are newer than those of the machine.
//
// A group has its own folder and its own ports. It ends with the process that
// started it, in whatever way that process ends: see package throwaway.
//
// The package runs on Linux only, as an ordinary user or as root, and with MySQL
// 9. For root the servers run as the user nobody. [Available] says what is
// missing.
package mysqlgroup
