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

// Refusals may come as fast as an attacker likes. The log takes the first few of each kind and then
// one in a while, so that one caller that tries again and again neither fills the disk nor
// hides the others; and so many of all kinds, because a caller can make up identities. The metrics count all.
const (
	sameAtOnce = 5
	sameEvery  = 10 * time.Second
	allAtOnce  = 50
	allEvery   = 500 * time.Millisecond
	keptKinds  = 256
	keptEvents = 16
)

// kind is what makes two events the same to the reader of a log.
type kind struct {
	what, listener, cause string
	peer                  certs.ID
}

// kindLog is how much of one kind was logged.
type kindLog struct {
	limiter    *rate.Limiter
	suppressed int
}

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
	logger *slog.Logger
	source certs.Source
	now    func() time.Time
	caTime func() (time.Time, bool)
	all    *rate.Limiter

	mu     sync.Mutex
	kinds  map[kind]*kindLog
	rest   int // suppressed of kinds that are forgotten
	events []Event
}

func newJournal(cfg *Config) *journal {
	return &journal{
		logger: cfg.Logger, source: cfg.Source, now: cfg.Now, caTime: cfg.CATime,
		all: rate.NewLimiter(rate.Every(allEvery), allAtOnce), kinds: make(map[kind]*kindLog),
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
	same := j.kind(kind{event.What, event.Listener, event.Cause, event.Peer})
	if !same.limiter.Allow() || !j.all.Allow() {
		same.suppressed++
		return 0, false
	}
	suppressed = same.suppressed + j.rest
	same.suppressed, j.rest = 0, 0
	return suppressed, true
}

// kind returns what is known of k. When there are too many kinds all are forgotten: then the limit
// of all is what holds. mu is held.
func (j *journal) kind(k kind) *kindLog {
	if same := j.kinds[k]; same != nil {
		return same
	}
	if len(j.kinds) >= keptKinds {
		for _, same := range j.kinds {
			j.rest += same.suppressed
		}
		clear(j.kinds)
	}
	same := &kindLog{limiter: rate.NewLimiter(rate.Every(sameEvery), sameAtOnce)}
	j.kinds[k] = same
	return same
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
	case errors.Is(err, errCrowdedOut):
		return "crowded_out"
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
