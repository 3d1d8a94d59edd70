package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/handfast/handfast/agent/pace"
	"github.com/handfast/handfast/certs"
)

// Limits of staples.
const (
	stapleTimeout = 10 * time.Second // of one fetch
	stapleAgain   = 10 * time.Second // the least time between two that succeed
)

// stapler keeps an OCSP response for the own certificate, which handshakes staple. It fetches one when the
// certificate is new and again at half of the response's validity, and keeps the last good one until
// its nextUpdate. No handshake waits for it. It is safe for concurrent use.
type stapler struct {
	now     func() time.Time
	jitter  func() float64
	logger  *slog.Logger
	fetch   StapleFetcher
	metrics *stapleMetrics
	file    string // where the staple survives a restart; "" is nowhere
	// changed is called after what show returns has become another one. No lock is held.
	changed func()
	wake    chan struct{}

	mu    sync.Mutex // guards what follows
	own   *stapled   // the newest certificate; nil before enrolment
	last  *stapled   // its predecessor, shown while own demands a staple and has none
	saved []byte     // of the file, until it was looked at
}

// stapled is a certificate and what is stapled to it.
type stapled struct {
	cert   *tls.Certificate // without a staple
	issuer *x509.Certificate
	url    string           // of the OCSP responder; "" when the certificate names none
	staple certs.Staple     // zero: none
	shown  *tls.Certificate // cert with staple

	due     time.Time // of the next fetch
	retry   pace.Backoff
	problem error // of the last fetch
}

// use makes cert, which issuer has signed, the one to fetch staples for. It does not wait.
func (s *stapler) use(cert *tls.Certificate, issuer *x509.Certificate) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own != nil && s.own.cert.Leaf.Equal(cert.Leaf) {
		return
	}
	before := s.own
	if s.last != nil && !before.fit(now) {
		before = s.last
	}
	s.last = nil
	if before != nil && sameIdentity(before.cert.Leaf, cert.Leaf) {
		s.last = before
	}
	s.own = &stapled{cert: cert, issuer: issuer, url: responderOf(cert.Leaf), due: now, retry: pace.Backoff{Jitter: s.jitter}}
	if staple, err := certs.CheckStaple(s.saved, cert.Leaf, issuer, now); err == nil {
		s.own.take(staple, now, s.jitter())
		s.own.due = now // what it says may have changed since
	}
	s.saved = nil
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func sameIdentity(a, b *x509.Certificate) bool {
	x, err1 := certs.IDFromCertificate(a)
	y, err2 := certs.IDFromCertificate(b)
	return err1 == nil && err2 == nil && x == y
}

// responderOf returns where a staple comes from. Only plain HTTP is asked: the answer is signed, and
// whose TLS would be verified by which roots?
func responderOf(leaf *x509.Certificate) string {
	for _, url := range leaf.OCSPServer {
		if strings.HasPrefix(url, "http://") {
			return url
		}
	}
	return ""
}

// show returns what to show for newest, which was given to use: newest with its staple. While that
// demands a staple and has none, its predecessor goes on, if that is still good: peers would refuse
// the new one. A nil stapler has no staples.
func (s *stapler) show(newest *tls.Certificate) *tls.Certificate {
	if s == nil {
		return newest
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.own.fit(now) && s.last != nil && s.last.fit(now) {
		return s.last.certificate(now)
	}
	return s.own.certificate(now)
}

// fit reports whether peers accept the certificate as far as staples go.
func (c *stapled) fit(now time.Time) bool {
	return !now.After(c.cert.Leaf.NotAfter) && (c.valid(now) || !certs.MustStaple(c.cert.Leaf))
}

// valid reports whether there is a staple to show.
func (c *stapled) valid(now time.Time) bool {
	return c.shown != nil && !now.After(c.staple.NextUpdate)
}

func (c *stapled) certificate(now time.Time) *tls.Certificate {
	if c.valid(now) {
		return c.shown
	}
	return c.cert
}

// take makes staple the one that is shown, and plans the next.
func (c *stapled) take(staple certs.Staple, now time.Time, jitter float64) {
	shown := *c.cert
	shown.OCSPStaple = staple.DER
	c.staple, c.shown, c.problem = staple, &shown, nil
	c.retry.Reset()
	c.due = stapleDue(staple, now, jitter)
}

// stapleDue is half of the staple's validity, jittered. A responder's cache may give one that is older
// than that: then a quarter of what is left, so that the fetches do not come faster and faster.
func stapleDue(staple certs.Staple, now time.Time, jitter float64) time.Time {
	life := staple.NextUpdate.Sub(staple.ThisUpdate)
	due := pace.Spread(staple.ThisUpdate.Add(life/2), now, life, jitter)
	if soonest := now.Add(max(staple.NextUpdate.Sub(now)/4, stapleAgain)); due.Before(soonest) && !due.After(now) {
		return soonest
	}
	return due
}

// run fetches until ctx ends.
func (s *stapler) run(ctx context.Context) {
	for ctx.Err() == nil {
		ended, due, at := s.plan()
		switch {
		case ended:
			s.changed()
		case due != nil:
			s.renew(ctx, due)
		default:
			waitChange(ctx, s.wake, max(min(at.Sub(s.now()), clockCheck), time.Millisecond))
		}
	}
}

// plan returns what to do: say that a staple has ended, fetch one for due, or wait until at.
func (s *stapler) plan() (ended bool, due *stapled, at time.Time) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	at = now.Add(clockCheck)
	own := s.own
	if own == nil {
		return false, nil, at
	}
	if own.shown != nil && !own.valid(now) {
		own.staple, own.shown = certs.Staple{}, nil
		return true, nil, now
	}
	if own.shown != nil && own.staple.NextUpdate.Before(at) {
		at = own.staple.NextUpdate.Add(time.Nanosecond)
	}
	if own.url == "" || now.After(own.cert.Leaf.NotAfter) {
		return false, nil, at
	}
	if !now.Before(own.due) {
		return false, own, now
	}
	if own.due.Before(at) {
		at = own.due
	}
	return false, nil, at
}

// renew fetches a staple for own.
func (s *stapler) renew(ctx context.Context, own *stapled) {
	staple, err := s.ask(ctx, own)
	if ctx.Err() != nil {
		return
	}
	s.metrics.count(err)
	now := s.now()
	s.mu.Lock()
	if s.own != own { // rotated meanwhile
		s.mu.Unlock()
		return
	}
	before := own.certificate(now)
	if err == nil && staple.NextUpdate.Before(own.staple.NextUpdate) {
		staple = own.staple // of another cache, and older: it ends first
	}
	if err == nil {
		own.take(staple, now, s.jitter())
	} else {
		own.fail(err, now)
	}
	valid, due := own.valid(now), own.due
	changed := own.certificate(now) != before
	if valid {
		s.last = nil
	}
	s.mu.Unlock()
	if changed {
		s.save(staple)
		s.changed()
	}
	if err != nil {
		s.complain(own, err, valid, due.Sub(now))
	}
}

// fail plans the next attempt. A response that says revoked ends the older one that does not.
func (c *stapled) fail(err error, now time.Time) {
	if isRevoked(err) {
		c.staple, c.shown = certs.Staple{}, nil
	}
	left := time.Duration(0)
	if c.valid(now) {
		left = c.staple.NextUpdate.Sub(now)
	}
	c.problem = err
	c.due = now.Add(c.retry.Next(nil, left))
}

func (s *stapler) ask(ctx context.Context, own *stapled) (certs.Staple, error) {
	request, err := certs.StapleRequest(own.cert.Leaf, own.issuer)
	if err != nil {
		return certs.Staple{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, stapleTimeout)
	defer cancel()
	response, err := s.fetch(ctx, own.url, request)
	if err != nil {
		return certs.Staple{}, err
	}
	return certs.CheckStaple(response, own.cert.Leaf, own.issuer, s.now())
}

func (s *stapler) complain(own *stapled, err error, valid bool, wait time.Duration) {
	text := "no OCSP response could be had to staple; handshakes go on without one"
	switch {
	case valid:
		text = "no newer OCSP response could be had to staple; the last one is used until it ends"
	case certs.MustStaple(own.cert.Leaf):
		text = "no OCSP response could be had to staple, and this certificate demands one: peers refuse it"
	}
	s.logger.Warn(text, "responder", own.url, "cause", err, "retry_in", wait.Round(time.Millisecond))
}
