package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/handfast/handfast/certs"
)

// handshakeTimeout bounds how long a stranger may hold a slot.
const handshakeTimeout = 10 * time.Second

// inboundListener lets peers in and forwards them to the local service.
type inboundListener struct {
	*door
	spec   Inbound
	proxy  *Proxy
	dialer net.Dialer
	web    *webServer // nil in mode tcp
	count  func(toPeer bool, n int)
}

func (p *Proxy) newInbound(spec Inbound, listener net.Listener) *inboundListener {
	spec.Limits = spec.withDefaults()
	in := &inboundListener{
		door: newDoor(listener, spec.Listen, spec.MaxConnections), spec: spec, proxy: p,
		dialer: net.Dialer{Timeout: spec.ConnectTimeout},
		count:  p.metrics.counter(inbound),
	}
	if spec.Mode == ModeHTTP || spec.Mode == ModeH2C {
		in.web = newWebServer(in)
	}
	if isLoopback(spec.Target) {
		in.dialer.KeepAlive = -1 // who is on this host does not vanish without a word
	}
	in.handle = in.welcome
	in.failed = func(err error) { p.journal.note("accept failed", spec.Listen, "", causeOf(err), certs.Peer{}, err) }
	return in
}

// welcome takes one connection through its handshake, and on to where it is served. done is called at its end.
func (in *inboundListener) welcome(ctx context.Context, conn net.Conn, done func()) {
	stranger := in.strangers.enter(conn)
	secure, peer, err := in.handshake(conn)
	if in.strangers.leave(stranger) {
		err = errCrowdedOut
	}
	if err != nil {
		in.proxy.refuse(inbound, in.spec.Listen, conn, peer, err)
		done()
		return
	}
	entry := in.proxy.enter(inbound, in.spec.Listen, in.spec.ExpiryDrain, peer, secure)
	if in.web != nil {
		go in.serveWeb(ctx, entry, done) // on a small stack: see pump
		return
	}
	in.forward(ctx, secure, peer, func(err error) {
		if err != nil && !in.proxy.explained(ctx, entry) && ctx.Err() == nil {
			in.proxy.journal.note("connection failed", in.spec.Listen, conn.RemoteAddr().String(), causeOf(err), peer, err)
		}
		in.proxy.leave(entry)
		done()
	})
}

func (in *inboundListener) serveWeb(ctx context.Context, entry entry, done func()) {
	in.web.serve(ctx, entry.secure, entry.live.peer)
	in.proxy.explained(ctx, entry)
	in.proxy.leave(entry)
	done()
}

// handshake verifies the peer. The peer it returns comes from certs.Verify, with its
// whole chain, so that it can be judged again. Closing conn ends it before its time.
func (in *inboundListener) handshake(conn net.Conn) (*tls.Conn, certs.Peer, error) {
	var peer certs.Peer
	byPolicy := certs.AllowPolicy(in.proxy.cfg.Source)
	allow := func(verified certs.Peer) error {
		peer = verified
		return byPolicy(verified)
	}
	var protocols []string
	if in.web != nil {
		protocols = []string{"h2", "http/1.1"}
	}
	config := certs.ServerConfig(in.proxy.cfg.Source, allow, certs.WithClock(in.proxy.cfg.Now), certs.WithNextProtos(protocols...), certs.WithMemory(&in.proxy.memory))
	secure := tls.Server(newRawConn(conn), config)
	// A deadline, and no context: that would take a goroutine for each handshake.
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return secure, peer, err
	}
	if err := secure.Handshake(); err != nil {
		return secure, peer, err
	}
	return secure, peer, conn.SetDeadline(time.Time{})
}

// forward connects the peer with the local service. finished is called once both are at their end.
func (in *inboundListener) forward(ctx context.Context, secure *tls.Conn, peer certs.Peer, finished func(error)) {
	local, err := in.dialTarget(ctx)
	if err != nil {
		abort(secure)
		finished(err)
		return
	}
	if in.spec.ProxyProtocol {
		if err := writeProxyHeader(local, secure, peer); err != nil {
			abort(secure)
			abort(local)
			finished(fmt.Errorf("write the PROXY protocol header to %s: %w", in.spec.Target, err))
			return
		}
	}
	(&pump{local: local, peer: secure, idle: in.spec.IdleTimeout, count: in.count, finished: finished}).start()
}

func (in *inboundListener) dialTarget(ctx context.Context) (net.Conn, error) {
	kind, address := network(in.spec.Target)
	conn, err := in.dialer.DialContext(ctx, kind, address)
	if err != nil {
		return nil, fmt.Errorf("the local service at %s cannot be reached: does it run? %w", in.spec.Target, err)
	}
	return conn, nil
}
