package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/certs"
)

// stapler puts an OCSP response on the API's own certificate in each handshake. The responder is in this
// process and keeps what it has signed, so that costs microseconds, and a revocation ends it at once. It is
// safe for concurrent use; a nil one has no staples.
type stapler struct {
	respond func(request []byte) []byte
	now     func() time.Time
	last    atomic.Pointer[stapled]
}

// stapled is a certificate with a response that was checked. It is immutable.
type stapled struct {
	plain    *tls.Certificate
	issuer   *x509.Certificate
	request  []byte // nil: nobody can be asked about plain
	response []byte
	shown    *tls.Certificate // plain, or with the response when that is good
}

// on returns plain with a staple, or plain when there is no good one: clients decide then.
func (s *stapler) on(plain *tls.Certificate) *tls.Certificate {
	if s == nil {
		return plain
	}
	last := s.last.Load()
	if last == nil || last.plain != plain {
		last = newStapled(plain)
		s.last.Store(last)
	}
	if last.request == nil {
		return plain
	}
	response := s.respond(last.request)
	if bytes.Equal(response, last.response) {
		return last.shown
	}
	next := *last
	next.response, next.shown = response, plain
	if _, err := certs.CheckStaple(response, plain.Leaf, last.issuer, s.now()); err == nil {
		with := *plain
		with.OCSPStaple = response
		next.shown = &with
	}
	s.last.Store(&next)
	return next.shown
}

func newStapled(plain *tls.Certificate) *stapled {
	s := &stapled{plain: plain, shown: plain}
	if len(plain.Certificate) < 2 {
		return s
	}
	issuer, err := x509.ParseCertificate(plain.Certificate[1])
	if err != nil {
		return s
	}
	if request, err := certs.StapleRequest(plain.Leaf, issuer); err == nil {
		s.issuer, s.request = issuer, request
	}
	return s
}
