//go:build linux && !386 && !s390x

package socket

import (
	"encoding/binary"
	"net"
	"syscall"
	"time"
	"unsafe"
)

// Where struct tcp_info of <linux/tcp.h> has what is read here. Kernels only ever
// add to its end.
const (
	lastDataReceived = 52  // 4 bytes: how many milliseconds ago data has come
	bytesReceived    = 128 // 8 bytes: how many there were in all
	tcpInfoRead      = bytesReceived + 8
)

// received returns when data last came from the other side; zero if none has come,
// or nothing tells. The system counts in ticks, of 10 ms at most.
func received(conn *net.TCPConn) (at time.Time) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return at
	}
	_ = raw.Control(func(fd uintptr) {
		var info [tcpInfoRead]byte
		size := uint32(len(info))
		_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 || size < tcpInfoRead || binary.NativeEndian.Uint64(info[bytesReceived:]) == 0 {
			return
		}
		ago := time.Duration(binary.NativeEndian.Uint32(info[lastDataReceived:])) * time.Millisecond
		at = time.Now().Add(-ago)
	})
	return at
}
