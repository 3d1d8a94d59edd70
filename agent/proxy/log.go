package proxy

import (
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/handfast/handfast/certs"
)

// Refusals may come as fast as an attacker likes; the log takes this many.
const (
	logsPerSecond = 10
	logsAtOnce    = 50
	keptEvents    = 16
)

// Event is a refusal, a cut or a failure, as Status shows it.
type Event struct {
	At       time.Time `json:"at"`
	What     string    `json:"what"`
	Listener string    `json:"listener"`
	Cause    string    `json:"cause"`
	Peer     certs.ID  `json:"peer,omitzero"`
	Remote   string    `json:"remote,omitempty"`
	Error    string    `json:"error"`
}

// journal logs what was refused or failed, with both identities and both clocks, and keeps the last ones.
type journal struct {
	logger  *slog.Logger
	source  certs.Source
	now     func() time.Time
	caTime  func() (time.Time, bool)
	limiter *rate.Limiter

	mu         sync.Mutex
	suppressed int
	events     []Event
}

func newJournal(cfg *Config) *journal {
	return &journal{
		logger: cfg.Logger, source: cfg.Source, now: cfg.Now, caTime: cfg.CATime,
		limiter: rate.NewLimiter(logsPerSecond, logsAtOnce),
	}
}

// note logs an event and keeps it. peer may be zero.
func (j *journal) note(what, listener, remote, cause string, peer certs.Peer, err error) {
	event := Event{At: j.now().UTC(), What: what, Listener: listener, Cause: cause, Peer: peer.ID, Remote: remote, Error: err.Error()}
	var refusal *certs.Refusal
	if errors.As(err, &refusal) && event.Peer.IsZero() {
		event.Peer = refusal.Peer
	}
	suppressed, ok := j.keep(event)
	if !ok {
		return
	}
	fields := []any{"listener", listener, "remote", remote, "cause", cause, "peer", event.Peer, "detail", err, "own_clock", event.At}
	if ca, known := j.caTime(); known {
		fields = append(fields, "ca_clock", ca)
	}
	fields = append(fields, j.self()...)
	switch {
	case refusal != nil:
		fields = append(fields, "peer_serial", refusal.Serial, "peer_not_before", refusal.NotBefore, "peer_not_after", refusal.NotAfter)
	case peer.Certificate != nil:
		fields = append(fields, "peer_serial", serialOf(peer.Certificate), "peer_not_after", peer.Certificate.NotAfter)
	}
	if suppressed > 0 {
		fields = append(fields, "suppressed_before", suppressed)
	}
	j.logger.Warn(what, fields...)
}

// self are the log fields about this side.
func (j *journal) self() []any {
	snap, err := j.source.Current()
	if err != nil {
		return []any{"self", "", "self_problem", err}
	}
	leaf := snap.Certificate.Leaf
	return []any{"self", snap.ID, "self_serial", serialOf(leaf), "self_not_before", leaf.NotBefore, "self_not_after", leaf.NotAfter}
}

// serialOf spells a serial as every other part of Handfast does, zero for one that RFC 5280 forbids.
func serialOf(cert *x509.Certificate) certs.Serial {
	serial, err := certs.SerialFromInt(cert.SerialNumber)
	if err != nil {
		return certs.Serial{}
	}
	return serial
}

func (j *journal) keep(event Event) (suppressed int, logged bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, event)
	if len(j.events) > keptEvents {
		j.events = j.events[1:]
	}
	if !j.limiter.Allow() {
		j.suppressed++
		return 0, false
	}
	suppressed, j.suppressed = j.suppressed, 0
	return suppressed, true
}

func (j *journal) last() []Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]Event(nil), j.events...)
}

// causeOf names an error by a word out of a small set, for logs and metrics.
func causeOf(err error) string {
	if refusal := certs.HandshakeRefusal(err); refusal != nil {
		return string(refusal.Cause)
	}
	var timeout net.Error
	switch {
	case errors.Is(err, certs.ErrPolicyUnknown):
		return string(certs.CausePolicyUnknown)
	case errors.Is(err, errPeerExpired):
		return string(certs.CauseExpired)
	case errors.Is(err, errDraining):
		return "draining"
	case errors.Is(err, errIdle):
		return "idle"
	case errors.Is(err, errTruncated):
		return "truncated"
	case refusedByPeer(err):
		return "refused_by_peer"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	default:
		return "network"
	}
}

// refusedByPeer recognises a TLS alert from the other side. In TLS 1.3 a client learns of
// its refusal only after its handshake, with the first byte that it reads.
func refusedByPeer(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
