package redact

import (
	"crypto/x509"
	"errors"
	"net"
	"testing"
)

// An error may hold the text of another one. No port of this machine stands in
// that either, and nothing else is taken out.
func TestStableText(t *testing.T) {
	here, there := &net.TCPAddr{IP: net.IPv6loopback, Port: 40001}, &net.TCPAddr{IP: net.IPv6loopback, Port: 3306}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&net.OpError{Op: "read", Net: "tcp", Source: here, Addr: there, Err: errors.New("reset")}, "read tcp [::1]:3306: reset"},
		{
			&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Name: "db1", Server: "10.0.0.2:53", Err: "read udp 10.1.2.3:40001->10.0.0.2:53: i/o timeout"}},
			"dial tcp: lookup db1 on 10.0.0.2:53: read udp 10.0.0.2:53: i/o timeout",
		},
		{errors.New("(fe80::1:40001->x) ([fe80::1%eth0]:40001->[fe80::2%eth0]:53)"), "(fe80::1:40001->x) ([fe80::2%eth0]:53)"},
		{errors.New("10.0.0.1:1->10.0.0.2:2 and 10.0.0.1:3->10.0.0.2:4"), "10.0.0.2:2 and 10.0.0.2:4"},
		{errors.New("p->next is nil ->"), "p->next is nil ->"},
		{nil, "<nil>"},
		{
			x509.CertificateInvalidError{Reason: x509.Expired, Detail: "current time 2026-11-30T10:00:01+01:00 is after 2026-01-01T00:00:00Z"},
			"x509: certificate has expired or is not yet valid: current time is after 2026-01-01T00:00:00Z",
		},
		{errors.New("the current time is not known"), "the current time is not known"},
	} {
		if got := Stable(tc.err); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.err, got, tc.want)
		}
	}
}
