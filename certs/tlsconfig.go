package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Option changes a detail of ServerConfig, ClientConfig or PinnedConfig.
type Option func(*options)

type options struct {
	now       func() time.Time
	protocols []string
	onRefusal func(*Refusal)
	memory    *Memory
}

// WithClock replaces time.Now. Its consequence for trust is total: expiry,
// revocation's freshness and sessions are judged by it.
func WithClock(now func() time.Time) Option {
	return func(o *options) { o.now = now }
}

// WithNextProtos sets the ALPN protocols, best first, such as "h2", "http/1.1". net/http and gRPC set theirs by themselves.
func WithNextProtos(protocols ...string) Option {
	return func(o *options) { o.protocols = slices.Clone(protocols) }
}

// OnRefusal calls f with each refusal, from the handshake's goroutine: log it and
// return. A client that sends no certificate at all is refused by crypto/tls
// before; HandshakeRefusal finds that one in the handshake's error.
func OnRefusal(f func(*Refusal)) Option {
	return func(o *options) { o.onRefusal = f }
}

// ServerConfig returns what a server needs to let in the peers that allow accepts, and
// nobody else: TLS 1.3, this process's current certificate from src, and for each
// connection Verify and then allow, in VerifyConnection, so that a resumed session
// is judged like a new one. Tickets are disabled beside that. A peer's OCSP staple is
// checked (CheckStaple), and one whose certificate demands a staple (MustStaple) is refused
// without: crypto/tls asks every client for its staple, so a missing one was not sent. It follows src without a
// restart and fails closed: when src has nothing valid, or allow is nil, every handshake fails.
func ServerConfig(src Source, allow Authorizer, opts ...Option) *tls.Config {
	e := newEndpoint(src, x509.ExtKeyUsageClientAuth, opts)
	e.authorize = allow.decide
	cfg := e.config()
	cfg.ClientAuth = tls.RequireAnyClientCert // VerifyConnection does the verifying
	cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return e.certificate() }
	return cfg
}

// ClientConfig returns what a client needs to talk to the service peer, and to nobody
// else: as ServerConfig, but the other side must show exactly the identity peer. Names of
// hosts do not matter: the SPIFFE ID is the name. A zero peer is refused always.
func ClientConfig(src Source, peer ID, opts ...Option) *tls.Config {
	e := newEndpoint(src, x509.ExtKeyUsageServerAuth, opts)
	e.authorize = func(got Peer) (Cause, error) {
		if peer.IsZero() || got.ID != peer {
			return CauseWrongIdentity, fmt.Errorf("%q was dialled, but %q answered", peer, got.ID)
		}
		return "", nil
	}
	cfg := e.config()
	// Not insecure: it switches off crypto/x509's check by host name, and
	// VerifyConnection does all of it by identity.
	cfg.InsecureSkipVerify = true
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return e.certificate() }
	return cfg
}

// endpoint is this process's side of its handshakes.
type endpoint struct {
	options
	src       Source
	usage     x509.ExtKeyUsage // of the other side's certificate
	authorize func(Peer) (Cause, error)
}

func newEndpoint(src Source, usage x509.ExtKeyUsage, opts []Option) *endpoint {
	e := &endpoint{src: src, usage: usage, options: collect(opts)}
	return e
}

func collect(opts []Option) options {
	o := options{now: time.Now}
	for _, opt := range opts {
		opt(&o)
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.memory == nil {
		o.memory = new(Memory)
	}
	return o
}

func (e *endpoint) config() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		NextProtos:             e.protocols,
		Time:                   e.now,
		VerifyConnection:       e.verifyConnection,
	}
}

// verifyConnection runs at the end of every handshake, full or resumed.
func (e *endpoint) verifyConnection(cs tls.ConnectionState) error {
	peer, err := e.judge(cs.PeerCertificates, func(peer Peer, snap *Snapshot, now time.Time) *Refusal {
		return checkStapled(cs.OCSPResponse, peer.Chain, snap.Revocation, &e.memory.staples, now)
	})
	if err == nil && !cs.DidResume { // the list of a session is shared between connections
		shareCertificates(cs.PeerCertificates, peer.Chain)
	}
	return err
}

// shareCertificates puts certificates that are kept anyway in place of equal ones in a connection's own list.
// crypto/tls parses what each client shows anew and holds on to it for as long as the connection lasts, which is
// 7 KB, and most of what an idle connection keeps.
func shareCertificates(list, kept []*x509.Certificate) {
	for i, cert := range list {
		if at := slices.IndexFunc(kept, cert.Equal); at >= 0 {
			list[i] = kept[at]
		}
	}
}

// judge decides about a peer as of now, and reports a refusal. handshake looks at what
// came with the certificates; nil when there is no handshake.
func (e *endpoint) judge(presented []*x509.Certificate, handshake func(Peer, *Snapshot, time.Time) *Refusal) (Peer, error) {
	now := e.now()
	snap, refusal := e.current(now)
	if refusal != nil {
		return Peer{}, e.report(refusal)
	}
	peer, refusal := verifyNamed(presented, snap, e.usage, &e.memory.paths, now)
	if refusal == nil && handshake != nil {
		if refusal = handshake(peer, snap, now); refusal != nil {
			refusal.Peer, refusal.Self = peer.ID, snap.ID
		}
	}
	if refusal != nil {
		return Peer{}, e.report(refusal)
	}
	if cause, err := e.authorize(peer); err != nil {
		refusal := refuse(cause, peer.Certificate, now, err)
		refusal.Peer, refusal.Self = peer.ID, snap.ID
		return Peer{}, e.report(refusal)
	}
	return peer, nil
}

// certificate is what this process shows: never one that is not valid now.
func (e *endpoint) certificate() (*tls.Certificate, error) {
	now := e.now()
	snap, refusal := e.current(now)
	var certificate *tls.Certificate
	if refusal == nil {
		certificate, refusal = snap.stapled(now)
	}
	if refusal != nil {
		return nil, e.report(refusal)
	}
	return certificate, nil
}

// current returns the source's snapshot if this process may show itself with it.
func (e *endpoint) current(now time.Time) (*Snapshot, *Refusal) {
	if e.src == nil {
		return nil, &Refusal{Cause: CauseOwnCertificate, Clock: now, Err: errors.New("no Source was given")}
	}
	snap, err := e.src.Current()
	if err != nil {
		return nil, &Refusal{Cause: CauseOwnCertificate, Clock: now, Err: err}
	}
	if refusal := snap.checkOwn(now); refusal != nil {
		return nil, refusal
	}
	return snap, nil
}

func (e *endpoint) report(refusal *Refusal) error {
	if e.onRefusal != nil {
		e.onRefusal(refusal)
	}
	return refusal
}
