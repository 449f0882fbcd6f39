package clustersql

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"time"

	"github.com/EnumApps/clustersql/internal/health"
	"github.com/EnumApps/clustersql/internal/socket"
)

// A ProbeResult is how the last probe of a node went. The zero ProbeResult stands
// for no probe.
type ProbeResult struct {
	Time time.Time     `json:"time,omitzero"` // when it ended
	Took time.Duration `json:"-"`
	OK   bool          `json:"ok"`
	// Layer says where a probe has failed: "name" (the name service), "dial",
	// "tls", "handshake", "query" or "state" (what the server says of its own
	// state, or what the cluster makes of that). It is empty if the probe passed.
	// Of a backend that does not dial with [Dial], name, dial and tls are known by
	// its errors alone.
	Layer string `json:"layer,omitempty"`
	Error string `json:"error,omitempty"` // redacted; empty if it passed
}

const (
	layerName      = "name"
	layerDial      = "dial"
	layerTLS       = "tls"
	layerHandshake = "handshake"
	layerQuery     = "query"
	layerState     = "state"
)

// noteProbe remembers how a probe went, for the status. Only run calls it.
func (n *node) noteProbe(o *outcome) {
	r := &ProbeResult{Time: time.Now(), OK: o.evidence.OK}
	r.Took = r.Time.Sub(n.loop.probeStart)
	if !r.OK {
		r.Layer, r.Error = o.layer, o.evidence.Reason
		if r.Layer == "" { // it passed, and the node is not used for what it showed
			r.Layer = layerState
		}
	}
	n.tally.check.Store(r)
}

// layerOf returns the layer at which a probe got an error. ctx is the probe's.
func layerOf(ctx context.Context, err error) (layer string) {
	defer func() {
		if recover() != nil { // the methods of a backend's error
			layer = layerHandshake
		}
	}()
	slot := socket.Of(ctx)
	var (
		unfit *health.Unfit
		name  *net.DNSError
		op    *net.OpError
	)
	begun, failed := slot.Dials()
	switch {
	case errors.As(err, &unfit):
		return layerState
	case !slot.Connecting():
		return layerQuery
	case slot.Unresolved(), errors.As(err, &name):
		return layerName
	case isTLS(err):
		return layerTLS
	case begun && (failed != nil || !slot.Known()), errors.As(err, &op) && op.Op == "dial", !begun && ctx.Err() != nil:
		return layerDial
	}
	return layerHandshake
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
