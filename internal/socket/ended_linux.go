package socket

import (
	"encoding/binary"
	"syscall"
)

// established is TCP_ESTABLISHED of <netinet/tcp.h>.
const established = 1

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
		ended = err == nil && bytes[0] != established
	}
	return func() bool {
		ended = false
		return raw.Control(look) != nil || ended
	}
}
