package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"sync"
	"time"
)

// maxStapleMemo bounds how many verified responses are remembered: about 100 octets each.
const maxStapleMemo = 4096

// stapleMemo remembers which OCSP responses an issuer or its responder has signed: a peer staples the
// same one in every handshake until the next, and the two signatures are most of what a check costs. It
// remembers signatures only; what changes with time is judged each time. It is safe for
// concurrent use, and nil remembers nothing.
type stapleMemo struct {
	mu       sync.Mutex
	verified map[[sha256.Size]byte]*x509.Certificate // the responder, nil where the issuer itself signed
}

// stapleKey names a response together with who has to vouch for it.
func stapleKey(response []byte, issuer *x509.Certificate) (key [sha256.Size]byte) {
	h := sha256.New()
	digest := sha256.Sum256(issuer.Raw)
	h.Write(digest[:])
	h.Write(response)
	h.Sum(key[:0])
	return key
}

func (m *stapleMemo) find(key [sha256.Size]byte) (responder *x509.Certificate, known bool) {
	if m == nil {
		return nil, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	responder, known = m.verified[key]
	return responder, known
}

// add remembers key. When there is no room everything is forgotten: only peers with a valid
// certificate and a valid staple get here, so that is seldom and costs each one check.
func (m *stapleMemo) add(key [sha256.Size]byte, responder *x509.Certificate) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.verified == nil || len(m.verified) >= maxStapleMemo {
		m.verified = make(map[[sha256.Size]byte]*x509.Certificate)
	}
	m.verified[key] = responder
}

// verify is r's own, which was read from response, unless that was verified before.
func (m *stapleMemo) verify(response []byte, r *ocspResponse, issuer *x509.Certificate, now time.Time) (*x509.Certificate, error) {
	key := stapleKey(response, issuer)
	responder, known := m.find(key)
	if !known {
		var err error
		if responder, err = r.verify(issuer); err != nil {
			return nil, err
		}
		m.add(key, responder)
	}
	if responder == nil {
		return nil, nil
	}
	if refusal := checkValidity(responder, now); refusal != nil {
		return nil, fmt.Errorf("is signed by %q, who may not: %w", responder.Subject, refusal.Err)
	}
	return responder, nil
}
