package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
)

// Peer is who is at the other end.
type Peer struct {
	ID          ID
	Certificate *x509.Certificate
	// Chain is the leaf and what stands above it: up to the root when it comes from
	// Verify, as the peer sent it when it comes from a connection's state.
	Chain []*x509.Certificate
}

// PeerFromConnectionState returns the peer of a finished handshake. It reads and does
// not verify: use it only on connections made with ServerConfig or ClientConfig, which
// finish no handshake with a peer that was refused.
func PeerFromConnectionState(cs *tls.ConnectionState) (Peer, bool) {
	if cs == nil || !cs.HandshakeComplete || len(cs.PeerCertificates) == 0 {
		return Peer{}, false
	}
	leaf := cs.PeerCertificates[0]
	id, err := IDFromCertificate(leaf)
	if err != nil {
		return Peer{}, false
	}
	return Peer{ID: id, Certificate: leaf, Chain: cs.PeerCertificates}, true
}

type peerKey struct{}

// ContextWithPeer returns a context that carries peer, for servers other than net/http's.
func ContextWithPeer(ctx context.Context, peer Peer) context.Context {
	return context.WithValue(ctx, peerKey{}, peer)
}

// PeerFromContext returns the peer that Handler or ContextWithPeer put into ctx.
func PeerFromContext(ctx context.Context) (Peer, bool) {
	peer, ok := ctx.Value(peerKey{}).(Peer)
	return peer, ok
}

// Enforce is Handler, and judges each request as ServerConfig judges a handshake: the
// certificate may have expired, been revoked or lost its permission since a long connection began.
// A staple is for the handshake alone: one that has aged since breaks no connection.
// It costs what Memory.Verify costs, some microseconds. A request that is refused is answered
// 403, its connection is closed, and the refusal reported to OnRefusal.
func Enforce(src Source, allow Authorizer, next http.Handler, opts ...Option) http.Handler {
	e := newEndpoint(src, x509.ExtKeyUsageClientAuth, opts)
	e.authorize = allow.decide
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var presented []*x509.Certificate
		if r.TLS != nil && r.TLS.HandshakeComplete {
			presented = r.TLS.PeerCertificates
		}
		peer, err := e.judge(presented, nil)
		if err != nil {
			w.Header().Set("Connection", "close")
			http.Error(w, "this client's certificate is not accepted (any more); the server's log says why", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r.WithContext(ContextWithPeer(r.Context(), peer)))
	})
}

// Handler puts the peer of the request's connection into the request's context. It
// fails closed: a request without one (a plaintext listener, say) is answered 403 and never
// reaches next. Serve with a tls.Config of ServerConfig: that is where the peer is verified.
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, ok := PeerFromConnectionState(r.TLS)
		if !ok {
			http.Error(w, "a client certificate with a SPIFFE ID is required", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r.WithContext(ContextWithPeer(r.Context(), peer)))
	})
}
