package revocation

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation/ocsp"
)

// maxEcho is the longest nonce that is echoed (RFC 9654, section 2.1 lets a responder
// ignore longer ones). Shorter ones than its 16 octets are echoed for older clients.
const maxEcho = 32

// complainEvery is the least time between two complaints in the log.
const complainEvery = 10 * time.Second

// responder answers OCSP requests for every authority.
type responder struct {
	config   Config
	follower *follower
	metrics  *metrics
	subjects map[string]*subject // by name hash and key hash, with each algorithm; never changes
	byID     map[string]*subject // by issuer; never changes
	cache    *responseCache

	complainedAt atomic.Int64 // Unix time
}

// subject is an issuer that is answered for.
type subject struct {
	issuer   string
	history  *history
	delegate atomic.Pointer[delegate] // nil: nobody may sign for it now
}

func newResponder(p *Publisher) (*responder, error) {
	r := &responder{
		config: p.config, follower: p.follower, metrics: p.metrics,
		subjects: make(map[string]*subject), byID: make(map[string]*subject),
		cache: newResponseCache(p.config.OCSPCache),
	}
	for _, a := range p.authorities {
		s := &subject{issuer: a.signer.ID(), history: a.history}
		r.byID[s.issuer] = s
		for _, hash := range ocsp.Hashes() {
			name, key, err := ocsp.IssuerHashes(a.signer.Certificate(), hash)
			if err != nil {
				return nil, fmt.Errorf("revocation: issuer %s: %w", s.issuer, err)
			}
			r.subjects[string(name)+string(key)] = s
		}
	}
	return r, nil
}

// reply is an OCSPResponse on its way: signed, or a failure. It never changes.
type reply struct {
	head, tail []byte // the DER; tail is shared by every response of a delegate
	failure    ocsp.Failure
	shareable  bool // may stand in caches: signed, without a nonce, for an issued certificate
	thisUpdate time.Time
	nextUpdate time.Time
	due        time.Time // when a newer one is made
	etag       string
	status     ocsp.Status
	sequence   uint64 // the log's entry that it tells, 0 for none
	delegate   *delegate
}

func failed(f ocsp.Failure) *reply { return &reply{head: f.Response(), failure: f} }

// answer answers one request; every error becomes an OCSP failure, and what caused it is logged.
func (r *responder) answer(ctx context.Context, der []byte) *reply {
	reply, statuses, err := r.respond(ctx, der)
	if err != nil {
		r.complain(err)
	}
	if reply.failure != 0 {
		r.metrics.answers.WithLabelValues(failureNames[reply.failure]).Inc()
	}
	for status, n := range statuses {
		if n > 0 {
			r.metrics.answers.WithLabelValues(statusNames[status]).Add(float64(n))
		}
	}
	return reply
}

// complain logs a failure of this CA's own, but not once a request: anybody can ask.
func (r *responder) complain(err error) {
	now, last := r.config.Now().Unix(), r.complainedAt.Load()
	if now-last >= int64(complainEvery/time.Second) && r.complainedAt.CompareAndSwap(last, now) {
		r.config.Logger.Warn("OCSP requests cannot be answered", "error", err)
	}
}

var (
	statusNames  = [...]string{ocsp.Good: "good", ocsp.Revoked: "revoked", ocsp.Unknown: "unknown"}
	failureNames = map[ocsp.Failure]string{
		ocsp.Malformed: "malformed", ocsp.InternalError: "internal_error",
		ocsp.TryLater: "try_later", ocsp.Unauthorized: "unauthorized",
	}
)

// tally counts answers by status.
type tally [len(statusNames)]int

// respond returns the reply and how many certificates got which status. An error says
// why this CA, not the client, is to blame for a failure.
func (r *responder) respond(ctx context.Context, der []byte) (*reply, tally, error) {
	request, err := ocsp.ParseRequest(der)
	if err != nil {
		return failed(ocsp.Malformed), tally{}, nil // the client's fault: metrics count it
	}
	s := r.authoritative(request)
	if s == nil {
		return failed(ocsp.Unauthorized), tally{}, nil
	}
	now := r.config.Now().UTC()
	if r.follower.fresh(now) != nil {
		return failed(ocsp.TryLater), tally{}, nil // Run logs the cause once
	}
	d := s.delegate.Load()
	if d == nil || now.Before(d.notBefore) || !now.Before(d.notAfter) {
		return failed(ocsp.TryLater), tally{}, fmt.Errorf("no valid responder certificate for issuer %s: the CA makes one; see its log", s.issuer)
	}
	cacheable := len(request.IDs) == 1 && (request.Nonce == nil || len(request.Nonce) > maxEcho)
	if cacheable {
		if kept := r.kept(s, d, request.IDs[0], now); kept != nil {
			return kept, tallyOf(kept), nil
		}
	}
	return r.sign(ctx, s, d, request, now, cacheable)
}

func tallyOf(kept *reply) (t tally) {
	t[kept.status] = 1
	return t
}

// authoritative returns the issuer whose delegate answers: that of the first certificate
// whose issuer is known here. Certificates of any other issuer in the same request are
// answered "unknown", which is the status for an issuer that is not served (RFC 6960, section 2.2):
// one response has one signature, and it can speak for one issuer only. It returns nil
// when no issuer is known: the responder is not authorized for any of them.
func (r *responder) authoritative(request *ocsp.Request) *subject {
	for _, id := range request.IDs {
		if s := r.subjectOf(id); s != nil {
			return s
		}
	}
	return nil
}

func (r *responder) subjectOf(id ocsp.CertID) *subject {
	if id.Hash == 0 || len(id.NameHash) != id.Hash.Size() {
		return nil
	}
	return r.subjects[string(id.NameHash)+string(id.KeyHash)]
}

// kept returns a response that was signed before, if it still says what a new one would.
// The log's last entry is looked up on every hit, so no order of events shows an outdated one.
func (r *responder) kept(s *subject, d *delegate, id ocsp.CertID, now time.Time) *reply {
	kept := r.cache.get(id.Raw)
	if kept == nil || kept.delegate != d || !now.Before(kept.due) || now.Before(kept.thisUpdate) {
		r.metrics.cache.WithLabelValues("miss").Inc()
		return nil
	}
	var sequence uint64
	if serial, ok := serialOf(id); ok {
		if last, ok := s.history.last(padSerial(serial)); ok {
			sequence = last.sequence
		}
	}
	if sequence != kept.sequence {
		r.metrics.cache.WithLabelValues("miss").Inc()
		return nil
	}
	r.metrics.cache.WithLabelValues("hit").Inc()
	return kept
}

// serialOf returns the serial number of a CertID, if a certificate can have it.
func serialOf(id ocsp.CertID) (certs.Serial, bool) {
	if id.Serial[0]&0x80 != 0 {
		return certs.Serial{}, false
	}
	serial, err := certs.SerialFromBytes(id.Serial)
	return serial, err == nil
}

// sign makes a new response.
func (r *responder) sign(ctx context.Context, s *subject, d *delegate, request *ocsp.Request, now time.Time, cacheable bool) (*reply, tally, error) {
	now = now.Truncate(time.Second)
	fresh := &reply{tail: d.tail, delegate: d, thisUpdate: now, nextUpdate: now.Add(r.config.OCSPValidity)}
	if fresh.nextUpdate.After(d.notAfter) {
		fresh.nextUpdate = d.notAfter.UTC()
	}
	fresh.due = now.Add(fresh.nextUpdate.Sub(now) / 2)
	data := ocsp.Data{ResponderKeyHash: d.keyHash, ProducedAt: now}
	if len(request.Nonce) <= maxEcho {
		data.Nonce = request.Nonce
	}
	var statuses tally
	for _, id := range request.IDs {
		single, sequence, err := r.status(ctx, s, id)
		if err != nil {
			return failed(ocsp.TryLater), tally{}, err
		}
		single.ThisUpdate, single.NextUpdate = fresh.thisUpdate, fresh.nextUpdate
		data.Singles = append(data.Singles, single)
		fresh.status, fresh.sequence = single.Status, sequence
		statuses[single.Status]++
	}
	response, err := d.signed(data)
	if err != nil {
		return failed(ocsp.InternalError), tally{}, err
	}
	fresh.head = response[: len(response)-len(d.tail) : len(response)-len(d.tail)]
	fresh.etag = etagOfResponse(response)
	if fresh.shareable = cacheable && statuses[ocsp.Unknown] == 0; fresh.shareable {
		r.metrics.cached.Set(float64(r.cache.put(request.IDs[0].Raw, fresh)))
	}
	return fresh, statuses, nil
}

// status says what is known of one certificate. The answer "good" needs the ledger's word
// that it was issued; a revocation that is folded while the ledger is asked still counts.
func (r *responder) status(ctx context.Context, s *subject, id ocsp.CertID) (ocsp.Single, uint64, error) {
	single := ocsp.Single{ID: id, Status: ocsp.Unknown}
	serial, ok := serialOf(id)
	if !ok || r.subjectOf(id) != s {
		return single, 0, nil
	}
	padded := padSerial(serial)
	last, known := s.history.last(padded)
	if !known || !last.refuses() {
		issued, err := r.config.Log.Issued(ctx, s.issuer, serial)
		if err != nil {
			return single, 0, fmt.Errorf("ask the ledger for serial %s: %w", serial, err)
		}
		if !issued {
			return single, 0, nil
		}
		last, known = s.history.last(padded)
	}
	if !known || !last.refuses() {
		single.Status = ocsp.Good
		return single, last.sequence, nil
	}
	single.Status, single.Reason = ocsp.Revoked, certs.Reason(last.reason)
	single.RevokedAt = time.Unix(int64(last.at), 0)
	return single, last.sequence, nil
}
