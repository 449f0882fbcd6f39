package socket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
)

// The layers at which a probe may fail, as the status of a node names them.
const (
	LayerName      = "name"
	LayerDial      = "dial"
	LayerTLS       = "tls"
	LayerHandshake = "handshake"
	LayerQuery     = "query"
	LayerState     = "state" // what the server says of its own state, or what the cluster makes of that
)

// LayerOf returns the layer at which a probe got an error that is not about the
// server's own state. ctx is the probe's. The methods of a backend's error may panic:
// then it is the handshake.
func LayerOf(ctx context.Context, err error) (layer string) {
	defer func() {
		if recover() != nil {
			layer = LayerHandshake
		}
	}()
	slot := Of(ctx)
	var (
		name *net.DNSError
		op   *net.OpError
	)
	begun, failed := slot.Dials()
	switch {
	case !slot.Connecting():
		return LayerQuery
	case slot.Unresolved(), errors.As(err, &name):
		return LayerName
	case isTLS(err):
		return LayerTLS
	case begun && (failed != nil || !slot.Known()), errors.As(err, &op) && op.Op == "dial", !begun && ctx.Err() != nil:
		return LayerDial
	}
	return LayerHandshake
}

// isTLS reports whether an error is one of TLS.
func isTLS(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		alert        tls.AlertError
		record       tls.RecordHeaderError
		invalid      x509.CertificateInvalidError
		authority    x509.UnknownAuthorityError
		host         x509.HostnameError
	)
	return errors.As(err, &verification) || errors.As(err, &alert) || errors.As(err, &record) ||
		errors.As(err, &invalid) || errors.As(err, &authority) || errors.As(err, &host)
}
