package socket

import (
	"encoding/binary"
	"syscall"
)

// over reports whether a TCP connection in a state of <netinet/tcp.h> has ended.
// There is no state 0: it is what a system gives that does not tell.
func over(state byte) bool {
	const established = 1
	return state != established && state != 0
}

// endedAt returns a func that reports whether a TCP connection is not
// established any more: the other side has closed it, or it was reset. Bytes that
// wait to be read do not hide that. The func is nil if nothing tells.
func endedAt(raw syscall.RawConn) func() bool {
	var ended bool
	look := func(fd uintptr) {
		// The state is the first byte of struct tcp_info.
		info, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO)
		var bytes [4]byte
		binary.NativeEndian.PutUint32(bytes[:], uint32(info))
		ended = err == nil && over(bytes[0])
	}
	return func() bool {
		ended = false
		return raw.Control(look) != nil || ended
	}
}
