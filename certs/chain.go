package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// VerifyChain finds a path from chain[0] over the other certificates of chain to a
// root of bundle, at the time now, and returns it: leaf first, root last. Beyond what
// crypto/x509 checks (signatures, validity, names, path lengths, policies) each
// certificate is of version 3 and bounded in size, each CA has a critical basicConstraints
// and keyCertSign, key identifiers do not contradict each other, no critical extension is
// unknown, and the leaf is not itself a root.
//
// usage is the extended key usage that the path must allow. Neither revocation nor
// identity is looked at: peers go through Verify. Every error is a *Refusal.
func VerifyChain(chain []*x509.Certificate, bundle *Bundle, usage x509.ExtKeyUsage, now time.Time) ([]*x509.Certificate, error) {
	paths, refusal := findPaths(chain, bundle, usage, now)
	if refusal != nil {
		return nil, refusal
	}
	return paths[0], nil
}

// findPaths returns every sound path; there is at least one when the refusal is nil. Several
// exist while issuers or roots are cross-signed.
func findPaths(chain []*x509.Certificate, bundle *Bundle, usage x509.ExtKeyUsage, now time.Time) ([][]*x509.Certificate, *Refusal) {
	if refusal := checkPresented(chain, now); refusal != nil {
		return nil, refusal
	}
	leaf := chain[0]
	if bundle == nil {
		return nil, refuse(CauseUnknownAuthority, leaf, now, errors.New("there is no bundle of roots to verify against"))
	}
	if refusal := checkValidity(leaf, now); refusal != nil {
		return nil, refusal
	}
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	found, err := leaf.Verify(x509.VerifyOptions{
		Roots:         bundle.pool,
		Intermediates: intermediates,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return nil, explain(err, chain, bundle, now)
	}
	var first *Refusal
	sound := found[:0]
	for _, path := range found {
		if at, err := checkPath(path); err == nil {
			sound = append(sound, path)
		} else if first == nil {
			first = refuse(CauseBadChain, at, now, err)
		}
	}
	if len(sound) == 0 {
		return nil, first
	}
	return sound, nil
}

// checkPresented bounds what a peer sent before any work is done on it.
func checkPresented(chain []*x509.Certificate, now time.Time) *Refusal {
	switch {
	case len(chain) == 0:
		return &Refusal{Cause: CauseNoCertificate, Clock: now, Err: errors.New("no certificate was presented")}
	case len(chain) > maxPresented:
		return refuse(CauseBadChain, chain[0], now, fmt.Errorf("%d certificates were presented; at most %d are allowed", len(chain), maxPresented))
	}
	for _, cert := range chain {
		if cert == nil {
			return &Refusal{Cause: CauseBadChain, Clock: now, Err: errors.New("a presented certificate is nil")}
		}
		if err := checkSize(cert); err != nil {
			return refuse(CauseBadChain, cert, now, err)
		}
		if err := checkKey(cert); err != nil {
			return refuse(CauseBadChain, cert, now, err)
		}
	}
	return nil
}

func checkValidity(cert *x509.Certificate, now time.Time) *Refusal {
	switch {
	case now.Before(cert.NotBefore):
		return refuse(CauseNotYetValid, cert, now, fmt.Errorf("%s is not valid yet; is the clock right on both hosts?", describe(cert)))
	case now.After(cert.NotAfter):
		return refuse(CauseExpired, cert, now, fmt.Errorf("%s has expired", describe(cert)))
	default:
		return nil
	}
}

// explain names the cause of an error of crypto/x509. An expired issuer shows there
// as an unknown authority, so validity is looked at first: it is what operators search longest.
func explain(err error, chain []*x509.Certificate, bundle *Bundle, now time.Time) *Refusal {
	leaf := chain[0]
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	expired := errors.As(err, &invalid) && invalid.Reason == x509.Expired
	if errors.As(err, &unknown) || expired {
		for _, authorities := range [][]*x509.Certificate{chain[1:], bundle.roots} {
			for _, cert := range authorities {
				if refusal := checkValidity(cert, now); refusal != nil && vouchesForSome(cert, chain) {
					return refusal
				}
			}
		}
	}
	if errors.As(err, &unknown) {
		return refuse(CauseUnknownAuthority, leaf, now, fmt.Errorf("no path from %s, issued by %q, to a root of trust domain %s: %w", describe(leaf), leaf.Issuer, bundle.td, err))
	}
	return refuse(CauseBadChain, leaf, now, err)
}

func vouchesForSome(issuer *x509.Certificate, chain []*x509.Certificate) bool {
	for _, cert := range chain {
		if cert != issuer && string(cert.RawIssuer) == string(issuer.RawSubject) {
			return true
		}
	}
	return false
}

// refuse makes the refusal of a certificate. The identity is the leaf's to set: here
// cert may be an issuer.
func refuse(cause Cause, cert *x509.Certificate, now time.Time, err error) *Refusal {
	refusal := &Refusal{Cause: cause, NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, Clock: now, Err: err}
	if serial, err := SerialFromInt(cert.SerialNumber); err == nil {
		refusal.Serial = serial
	}
	return refusal
}

// describe names a certificate in words: by its identity, otherwise by its subject.
func describe(cert *x509.Certificate) string {
	if id, err := IDFromCertificate(cert); err == nil {
		return "the certificate of " + id.String()
	}
	return fmt.Sprintf("certificate %q", cert.Subject)
}
