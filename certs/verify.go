package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Verify decides who presented chain (leaf first, then its issuers, the root left out
// or not) as of now, against snap's Bundle and Revocation; the rest of snap only names
// this process in a refusal. It is VerifyChain, and then: the leaf is an X.509-SVID
// of the bundle's trust domain, it is no CA, it names usage, and neither it nor an issuer is revoked.
//
// Revocation fails closed. Without snap.Revocation every peer is refused. Where the CA's feed
// covers an issuer, it decides about what that has signed (WithFeed). Otherwise a certificate that names a CRL distribution point must be covered by a fresh CRL of its
// issuer; one that names none is checked when a CRL of its issuer is there; a leaf with
// noRevAvail (RFC 9608) needs none.
//
// usage x509.ExtKeyUsageAny accepts whatever the path allows. Every error is a *Refusal.
func Verify(chain []*x509.Certificate, snap *Snapshot, usage x509.ExtKeyUsage, now time.Time) (Peer, error) {
	peer, refusal := verifyNamed(chain, snap, usage, nil, now)
	if refusal != nil {
		return Peer{}, refusal
	}
	return peer, nil
}

// verifyNamed is verify, with both identities in the refusal.
func verifyNamed(chain []*x509.Certificate, snap *Snapshot, usage x509.ExtKeyUsage, memo *pathMemo, now time.Time) (Peer, *Refusal) {
	peer, refusal := verify(chain, snap, usage, memo, now)
	if refusal == nil {
		return peer, nil
	}
	if snap != nil {
		refusal.Self = snap.ID
	}
	if len(chain) > 0 && chain[0] != nil {
		// A claim, not a fact: the one who reads the log wants to know who it says it is.
		refusal.Peer, _ = IDFromCertificate(chain[0])
	}
	return Peer{}, refusal
}

func verify(chain []*x509.Certificate, snap *Snapshot, usage x509.ExtKeyUsage, memo *pathMemo, now time.Time) (Peer, *Refusal) {
	if snap == nil {
		snap = &Snapshot{}
	}
	paths, refusal := memo.find(chain, snap, usage, now)
	if refusal != nil {
		return Peer{}, refusal
	}
	id, refusal := checkSVID(paths[0][0], snap.Bundle.td, usage, now)
	if refusal != nil {
		return Peer{}, refusal
	}
	var first *Refusal
	for _, path := range paths {
		refusal := checkStanding(path, snap, now)
		if refusal == nil {
			return Peer{ID: id, Certificate: path[0], Chain: path}, nil
		}
		if first == nil {
			first = refusal
		}
	}
	return Peer{}, first
}

// checkStanding holds a path against what may change after the handshake: its issuers'
// domains and revocation.
func checkStanding(path []*x509.Certificate, snap *Snapshot, now time.Time) *Refusal {
	for _, cert := range path[1:] {
		if err := checkAuthorityDomain(snap.Bundle.td, cert); err != nil {
			return refuse(CauseForeignTrustDomain, cert, now, err)
		}
	}
	return snap.Revocation.check(path, now)
}

// checkSVID holds a leaf against the X.509-SVID specification, sections 2 to 4.
func checkSVID(leaf *x509.Certificate, td TrustDomain, usage x509.ExtKeyUsage, now time.Time) (ID, *Refusal) {
	id, err := IDFromCertificate(leaf)
	if err != nil {
		return ID{}, refuse(CauseNoIdentity, leaf, now, err)
	}
	if id.TrustDomain() != td {
		return ID{}, refuse(CauseForeignTrustDomain, leaf, now, fmt.Errorf("the bundle vouches for trust domain %s, not for %s", td, id.TrustDomain()))
	}
	if leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return ID{}, refuse(CauseBadChain, leaf, now, errors.New("a CA certificate was presented as a peer's own"))
	}
	if leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return ID{}, refuse(CauseBadChain, leaf, now, errors.New("keyUsage lacks digitalSignature"))
	}
	// crypto/x509 takes a leaf without extended key usages as good for all.
	if usage != x509.ExtKeyUsageAny && !slices.Contains(leaf.ExtKeyUsage, usage) {
		return ID{}, refuse(CauseBadChain, leaf, now, fmt.Errorf("the extended key usage lacks %s", usageName(usage)))
	}
	return id, nil
}

// Check decides whether a peer that Verify let in may still be there: to be called
// again and again during a long connection, whenever the Source has another snapshot or time has
// passed. It looks at validity, at the root (still in the bundle?) and at
// revocation, without signatures of certificates, so it takes microseconds. It is not a
// Verify: p must come from there. Every error is a *Refusal.
func (p Peer) Check(snap *Snapshot, now time.Time) error {
	refusal := p.check(snap, now)
	if refusal == nil {
		return nil
	}
	refusal.Peer = p.ID
	if snap != nil {
		refusal.Self = snap.ID
	}
	return refusal
}

func (p Peer) check(snap *Snapshot, now time.Time) *Refusal {
	if len(p.Chain) < 2 {
		return &Refusal{Cause: CauseBadChain, Clock: now, Err: errors.New("the peer does not come from Verify")}
	}
	for _, cert := range p.Chain {
		if refusal := checkValidity(cert, now); refusal != nil {
			return refusal
		}
	}
	root := p.Chain[len(p.Chain)-1]
	if snap == nil || snap.Bundle == nil || !slices.ContainsFunc(snap.Bundle.roots, root.Equal) {
		return refuse(CauseUnknownAuthority, root, now, fmt.Errorf("root %q is no longer in the bundle", root.Subject))
	}
	if p.ID.TrustDomain() != snap.Bundle.td {
		return refuse(CauseForeignTrustDomain, p.Chain[0], now, fmt.Errorf("the bundle vouches for trust domain %s now", snap.Bundle.td))
	}
	return checkStanding(p.Chain, snap, now)
}

func usageName(usage x509.ExtKeyUsage) string {
	switch usage {
	case x509.ExtKeyUsageServerAuth:
		return "serverAuth"
	case x509.ExtKeyUsageClientAuth:
		return "clientAuth"
	case x509.ExtKeyUsageOCSPSigning:
		return "OCSPSigning"
	default:
		return fmt.Sprintf("usage %d", int(usage))
	}
}
