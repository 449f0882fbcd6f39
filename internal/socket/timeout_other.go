//go:build !linux

package socket

import (
	"net"
	"time"
)

// setUserTimeout does nothing: package syscall has no such option here.
func setUserTimeout(*net.TCPConn, time.Duration) {}
