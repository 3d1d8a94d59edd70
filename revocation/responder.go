package revocation

import (
	"crypto/sha512"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation/ocsp"
)

// maxEcho is the longest nonce that is echoed (RFC 9654, section 2.1 lets a responder
// ignore longer ones). Shorter ones than its 16 octets are echoed for older clients.
const maxEcho = 32

// maxKept is the longest CertID whose response is kept: with the longest hashes and serial
// number there are 180 octets. Parameters of the hash algorithm can make it longer, by as
// much as the client likes, and the cache is bounded by the number of responses.
const maxKept = 192

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
	signing  chan struct{} // holds an element for each response that is being made
	times    atomic.Pointer[signedTimes]

	complainedAt atomic.Int64 // Unix time
}

// subject is an issuer that is answered for.
type subject struct {
	issuer   string
	history  *history
	standing func() (Entry, bool)     // what revokes the issuer itself
	delegate atomic.Pointer[delegate] // nil: nobody may sign for it now
}

// last returns the last that is known of a certificate. Once the issuer itself is revoked
// nothing that bears its name is good, whether the ledger knows it or not (RFC 6960, section 2.7).
func (s *subject) last(serial [certs.MaxSerialOctets]byte) (record, bool) {
	own, known := s.history.last(serial)
	if known && own.refuses() {
		return own, true
	}
	if fallen, revoked := s.standing(); revoked {
		if fallen.Reason == certs.KeyCompromise { // the issuer's, not the certificate's
			fallen.Reason = certs.CACompromise
		}
		return newRecord(fallen), true
	}
	return own, known
}

func newResponder(p *Publisher) (*responder, error) {
	r := &responder{
		config: p.config, follower: p.follower, metrics: p.metrics,
		subjects: make(map[string]*subject), byID: make(map[string]*subject),
		cache:   newResponseCache(p.config.OCSPCache),
		signing: make(chan struct{}, p.config.OCSPSigning),
	}
	for _, a := range p.authorities {
		s := &subject{issuer: a.signer.ID(), history: a.history, standing: p.standing(a.signer.Certificate())}
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

// reply is an OCSPResponse on its way: signed, or a failure. But for the demand it never changes.
type reply struct {
	head, tail []byte // the DER; tail is shared by every response of a delegate
	failure    ocsp.Failure
	shareable  bool // may stand in caches: signed, without a nonce, for an issued certificate
	thisUpdate time.Time
	nextUpdate time.Time
	times      *httpTimes // shared by all that were signed in the same second
	due        time.Time  // when a newer one is made
	etag       etag       // if shareable
	status     ocsp.Status
	sequence   uint64 // the log's entry that it tells, 0 for none
	delegate   *delegate
	subject    *subject // of the one certificate that it is about, if it is kept
	serial     [certs.MaxSerialOctets]byte
	id         []byte // the CertID, within head, if it is kept
	demand     demand
}

// demand is how a response that is kept is asked for.
type demand struct {
	asked    atomic.Uint32
	renewing atomic.Bool // somebody makes the next one
}

// often is how many times a response has to be asked for so that the next one is made ahead.
const often = 16

func failed(f ocsp.Failure) *reply { return &reply{head: f.Response(), failure: f} }

// answer answers one request; every error becomes an OCSP failure, and what caused it is logged.
func (r *responder) answer(der []byte, now time.Time) *reply {
	reply, statuses, err := r.respond(der, now)
	if err != nil {
		r.complain(err)
	}
	if reply.failure != 0 {
		r.metrics.failures[reply.failure].Inc()
	}
	for status, n := range statuses {
		if n > 0 {
			r.metrics.statuses[status].Add(float64(n))
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
func (r *responder) respond(der []byte, now time.Time) (*reply, tally, error) {
	var kept *reply
	if id, ok := ocsp.OnlyCertID(der); ok { // what is kept was asked for in the same octets: no need to read them
		if kept = r.kept(id, now); kept != nil && !kept.renewedBy(now) {
			return kept, r.hit(kept), nil
		}
	}
	request, err := ocsp.ParseRequest(der)
	if err != nil {
		return failed(ocsp.Malformed), tally{}, nil // the client's fault: metrics count it
	}
	s := r.authoritative(request)
	if s == nil {
		return failed(ocsp.Unauthorized), tally{}, nil
	}
	if r.follower.fresh(now) != nil {
		return failed(ocsp.TryLater), tally{}, nil // Run logs the cause once
	}
	d := s.delegate.Load()
	if d == nil || now.Before(d.notBefore) || !now.Before(d.notAfter) {
		return failed(ocsp.TryLater), tally{}, fmt.Errorf("no valid responder certificate for issuer %s: the CA makes one; see its log", s.issuer)
	}
	cacheable := len(request.IDs) == 1 && (request.Nonce == nil || len(request.Nonce) > maxEcho) && len(request.IDs[0].Raw) <= maxKept
	if cacheable && kept == nil {
		if kept = r.kept(request.IDs[0].Raw, now); kept != nil && !kept.renewedBy(now) {
			return kept, r.hit(kept), nil
		}
		r.metrics.misses.Inc()
	}
	reply, statuses, err := r.sign(s, d, request, now, cacheable)
	if reply.failure != 0 && kept != nil { // still good until it is due
		return kept, r.hit(kept), err
	}
	return reply, statuses, err
}

func (r *responder) hit(kept *reply) (t tally) {
	r.metrics.hits.Inc()
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
	var both [2 * sha512.Size]byte // the longest of ocsp.Hashes
	return r.subjects[string(append(append(both[:0], id.NameHash...), id.KeyHash...))]
}

// kept returns the response that was signed before for a CertID, if it still says what a new
// one would. The log's last entry is looked up on every hit, so no order of events shows an
// outdated one.
func (r *responder) kept(id []byte, now time.Time) *reply {
	kept := r.cache.get(id)
	if kept == nil || !now.Before(kept.due) || now.Before(kept.thisUpdate) || r.follower.fresh(now) != nil {
		return nil
	}
	if s := kept.subject; kept.delegate != s.delegate.Load() || kept.sequence != s.sequence(kept.serial) {
		return nil
	}
	return kept
}

// renewedBy counts a question and reports whether whoever asked is to make the next
// response: the first one in the last tenth of the time that this one is kept, if it is asked
// for often. All others get this one until the next is there, so nobody waits for it and
// it is signed once.
func (r *reply) renewedBy(now time.Time) bool {
	asked := r.demand.asked.Add(1)
	ahead := r.due.Sub(r.thisUpdate) / 10
	return asked >= often && now.After(r.due.Add(-ahead)) && r.demand.renewing.CompareAndSwap(false, true)
}

// sequence is that of the log's last entry about a certificate, 0 for none.
func (s *subject) sequence(serial [certs.MaxSerialOctets]byte) uint64 {
	last, _ := s.last(serial)
	return last.sequence
}

// serialOf returns the serial number of a CertID, if a certificate can have it.
func serialOf(id ocsp.CertID) (certs.Serial, bool) {
	if id.Serial[0]&0x80 != 0 {
		return certs.Serial{}, false
	}
	serial, err := certs.SerialFromBytes(id.Serial)
	return serial, err == nil
}
