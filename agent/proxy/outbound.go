package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/certs"
)

// restAfterFailure is how long an address that failed stands behind the others.
const restAfterFailure = 10 * time.Second

// outboundListener takes local plaintext to a peer.
type outboundListener struct {
	*door
	spec   Outbound
	proxy  *Proxy
	dialer net.Dialer
	failed []atomic.Int64 // Unix nanoseconds of each address's last failure
	count  func(toPeer bool, n int)
}

func (p *Proxy) newOutbound(spec Outbound, listener net.Listener) *outboundListener {
	spec.Limits = spec.withDefaults()
	out := &outboundListener{
		door: newDoor(listener, spec.Listen, spec.MaxConnections), spec: spec, proxy: p,
		failed: make([]atomic.Int64, len(spec.Addresses)), count: p.metrics.counter(outbound),
	}
	out.handle = out.carry
	out.door.failed = func(err error) { p.journal.note("accept failed", spec.Listen, "", causeOf(err), certs.Peer{}, err) }
	return out
}

// carry takes one local connection to the peer. done is called when both have ended.
func (out *outboundListener) carry(ctx context.Context, local net.Conn, done func()) {
	secure, peer, err := out.dial(ctx)
	if err != nil {
		abort(local) // no orderly end: nothing was delivered
		out.proxy.refuse(outbound, out.spec.Listen, local, peer, err)
		done()
		return
	}
	entry := out.proxy.enter(outbound, out.spec.Listen, out.spec.ExpiryDrain, peer, secure)
	(&pump{local: local, peer: secure, idle: out.spec.IdleTimeout, count: out.count, finished: func(err error) {
		out.note(ctx, entry, err)
		out.proxy.leave(entry)
		done()
	}}).start()
}

// note logs how a connection ended that was open.
func (out *outboundListener) note(ctx context.Context, e entry, err error) {
	if err == nil || out.proxy.explained(ctx, e) || ctx.Err() != nil {
		return
	}
	what := "connection failed"
	if refusedByPeer(err) {
		what = "the peer refused this service; its agent's log has the cause"
	}
	out.proxy.journal.note(what, out.spec.Listen, e.secure.RemoteAddr().String(), causeOf(err), e.live.peer, err)
}

// dial connects to the first address that answers with the right identity.
func (out *outboundListener) dial(ctx context.Context) (*tls.Conn, certs.Peer, error) {
	snap, err := out.proxy.cfg.Source.Current()
	if err != nil {
		return nil, certs.Peer{}, &certs.Refusal{Cause: certs.CauseOwnCertificate, Clock: out.proxy.cfg.Now(), Err: err}
	}
	id, err := snap.ID.TrustDomain().ID(out.spec.Service)
	if err != nil {
		return nil, certs.Peer{}, err
	}
	var failures error
	for _, i := range out.order(time.Now()) {
		secure, peer, err := out.dialOne(ctx, out.spec.Addresses[i], id)
		if err == nil {
			out.failed[i].Store(0)
			return secure, peer, nil
		}
		if ctx.Err() != nil {
			return nil, certs.Peer{ID: id}, err
		}
		out.failed[i].Store(time.Now().UnixNano())
		failures = errors.Join(failures, fmt.Errorf("%s: %w", out.spec.Addresses[i], err))
	}
	return nil, certs.Peer{ID: id}, failures
}

// order is the configured one, but addresses that failed a moment ago come last: a dead one
// must not cost every connection its timeout.
func (out *outboundListener) order(now time.Time) []int {
	var good, bad []int
	for i := range out.failed {
		if at := out.failed[i].Load(); at != 0 && now.Sub(time.Unix(0, at)) < restAfterFailure {
			bad = append(bad, i)
		} else {
			good = append(good, i)
		}
	}
	return append(good, bad...)
}

func (out *outboundListener) dialOne(ctx context.Context, address string, id certs.ID) (*tls.Conn, certs.Peer, error) {
	ctx, cancel := context.WithTimeout(ctx, out.spec.ConnectTimeout)
	defer cancel()
	conn, err := out.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, certs.Peer{}, err
	}
	cfg := &out.proxy.cfg
	config := certs.ClientConfig(cfg.Source, id, certs.WithClock(cfg.Now), certs.WithNextProtos(out.protocols()...), certs.WithMemory(&out.proxy.memory))
	secure := tls.Client(newRawConn(conn), config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, certs.Peer{}, errors.Join(err, closeQuietly(conn))
	}
	peer, err := out.verified(secure)
	if err != nil {
		return nil, certs.Peer{}, errors.Join(err, closeQuietly(conn))
	}
	return secure, peer, nil
}

// verified returns the peer with its whole chain, so that it can be judged again.
func (out *outboundListener) verified(secure *tls.Conn) (certs.Peer, error) {
	snap, err := out.proxy.cfg.Source.Current()
	if err != nil {
		return certs.Peer{}, err
	}
	state := secure.ConnectionState()
	return out.proxy.memory.Verify(state.PeerCertificates, snap, x509.ExtKeyUsageServerAuth, out.proxy.cfg.Now())
}

// protocols are what is announced by ALPN: a gRPC server insists on h2.
func (out *outboundListener) protocols() []string {
	switch out.spec.Mode {
	case ModeHTTP:
		return []string{"http/1.1"}
	case ModeH2C:
		return []string{"h2"}
	default:
		return nil
	}
}

func closeQuietly(conn net.Conn) error {
	if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
