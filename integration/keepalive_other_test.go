//go:build !unix

package integration

import (
	"net"
	"testing"
)

func keepsAlive(t *testing.T, _ net.Conn) bool {
	t.Helper()
	t.Fatal("the servers of these tests run on Linux only")
	return false
}
