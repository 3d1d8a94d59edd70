package proxy

import (
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/certs/feed"
)

// direction is which side dialled.
type direction string

const (
	inbound  direction = "inbound"
	outbound direction = "outbound"
)

// errDraining cuts what has not ended when the time to drain is over.
var errDraining = errors.New("the agent stops and the time to drain is over")

// live is an open connection with a verified peer.
type live struct {
	peer      certs.Peer
	direction direction
	since     time.Time
	end       time.Time         // the certificate's, and the time to drain after it
	cut       func(cause error) // closes the connection at once; called at most once, without locks
	expiry    *time.Timer
	once      sync.Once
	gone      atomic.Bool // was cut
}

func (l *live) cutFor(cause error) {
	l.once.Do(func() {
		l.gone.Store(true)
		l.cut(cause)
	})
}

// registry keeps the open connections by peer, so that they can be judged again when what
// is known changes. It is safe for concurrent use.
type registry struct {
	source certs.Source
	now    func() time.Time

	mu   sync.Mutex
	byID map[certs.ID]map[*live]struct{}

	ownMu sync.Mutex
	owner *certs.Snapshot // whose certificate own is about
	own   error
}

func newRegistry(source certs.Source, now func() time.Time) *registry {
	return &registry{source: source, now: now, byID: make(map[certs.ID]map[*live]struct{})}
}

// add takes a connection in, and judges it once more: what is known may have changed
// since its handshake. cut is called when the peer may not be there any more. drain is how
// long the connection may outlive the peer's certificate.
func (r *registry) add(peer certs.Peer, way direction, drain time.Duration, cut func(error)) *live {
	l := &live{peer: peer, direction: way, since: r.now(), end: peer.Certificate.NotAfter.Add(drain), cut: cut}
	r.mu.Lock()
	if r.byID[peer.ID] == nil {
		r.byID[peer.ID] = make(map[*live]struct{})
	}
	r.byID[peer.ID][l] = struct{}{}
	l.expiry = time.AfterFunc(l.end.Sub(r.now()), func() { r.expire(l) })
	r.mu.Unlock()
	r.judge(l)
	return l
}

// expire cuts l, unless the wall clock was set back meanwhile.
func (r *registry) expire(l *live) {
	left := l.end.Sub(r.now())
	if left > 0 {
		r.mu.Lock()
		l.expiry.Reset(left)
		r.mu.Unlock()
		return
	}
	l.cutFor(errPeerExpired)
}

// errPeerExpired ends a connection that outlived its peer's certificate: a new handshake shows the new one.
var errPeerExpired = errors.New("the peer's certificate has expired during the connection")

// remove forgets a connection that has ended.
func (r *registry) remove(l *live) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.expiry.Stop()
	delete(r.byID[l.peer.ID], l)
	if len(r.byID[l.peer.ID]) == 0 {
		delete(r.byID, l.peer.ID)
	}
}

// recheck judges every connection by the present snapshot.
func (r *registry) recheck() {
	for _, l := range r.all() {
		r.judge(l)
	}
}

func (r *registry) all() []*live {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*live
	for _, connections := range r.byID {
		for l := range connections {
			all = append(all, l)
		}
	}
	return all
}

// judge cuts l when its peer, or this service itself, is revoked, when the peer is forbidden, expired or under no known root, and when the
// CA's feed is silent for longer than the service's policy allows: who keeps the feed away must not keep a
// revoked peer alive. Without a snapshot, and with stale CRLs, it stays: nothing new is known about
// it, and new connections are refused already.
func (r *registry) judge(l *live) {
	snap, err := r.source.Current()
	if err != nil {
		return
	}
	if err := l.peer.Check(snap, l.moment(r.now())); err != nil && !aboutFreshness(err) {
		l.cutFor(err)
		return
	}
	if err := r.ownRevocation(snap); err != nil {
		l.cutFor(err)
		return
	}
	if l.direction != inbound {
		return
	}
	if err := snap.Policy.Allows(l.peer.ID); err != nil {
		l.cutFor(r.forbidden(l, snap, err))
	}
}

// moment is when the peer is judged to be there: now, but while the connection drains the last moment of
// its certificate. Whatever else speaks against the peer counts all the same.
func (l *live) moment(now time.Time) time.Time {
	if expiry := l.peer.Certificate.NotAfter; now.After(expiry) && !now.After(l.end) {
		return expiry
	}
	return now
}

// ownRevocation returns an error when the certificate that snap shows is itself revoked: no peer that knows would
// talk to this service, and no peer that does not know yet should.
func (r *registry) ownRevocation(snap *certs.Snapshot) error {
	r.ownMu.Lock()
	defer r.ownMu.Unlock()
	if r.owner == snap {
		return r.own
	}
	r.owner, r.own = snap, nil
	var chain []*x509.Certificate
	for _, der := range snap.Certificate.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil //nolint:nilerr // what cannot be read cannot be shown either: no handshake succeeds
		}
		chain = append(chain, cert)
	}
	_, err := certs.Verify(chain, snap, x509.ExtKeyUsageServerAuth, r.now())
	if refusal, ok := errors.AsType[*certs.Refusal](err); ok && refusal.Cause == certs.CauseRevoked {
		r.own = fmt.Errorf("this service's own certificate: %w", err)
	}
	return r.own
}

// forbidden is policy's no, with what a log wants to know.
func (r *registry) forbidden(l *live, snap *certs.Snapshot, err error) error {
	refusal := &certs.Refusal{Cause: certs.CausePolicyDenied, Peer: l.peer.ID, Self: snap.ID, Clock: r.now(), Err: err}
	refusal.NotBefore, refusal.NotAfter = l.peer.Certificate.NotBefore, l.peer.Certificate.NotAfter
	if errors.Is(err, certs.ErrPolicyUnknown) {
		refusal.Cause = certs.CausePolicyUnknown
	}
	return refusal
}

func aboutFreshness(err error) bool {
	var refusal *certs.Refusal
	return errors.As(err, &refusal) && !errors.Is(err, feed.ErrStale) &&
		(refusal.Cause == certs.CauseRevocationStale || refusal.Cause == certs.CauseRevocationUnknown)
}

// cutAll ends every connection.
func (r *registry) cutAll(cause error) {
	for _, l := range r.all() {
		l.cutFor(cause)
	}
}
