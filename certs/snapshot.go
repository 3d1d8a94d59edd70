package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// NewSnapshot puts a state together and checks that its parts belong together: the
// certificate carries an identity and its key fits, roots vouch for that identity's
// trust domain, a staple is about it, and policy, unless nil, is that identity's own; a feed of revocations is of its
// trust domain. Expiry is not looked at here but at each use. policy and revocation may be nil: unknown, so refused.
func NewSnapshot(certificate *tls.Certificate, roots []*x509.Certificate, policy *Policy, revocation *Revocation) (*Snapshot, error) {
	if certificate == nil || len(certificate.Certificate) == 0 {
		return nil, errors.New("snapshot: no certificate")
	}
	own := *certificate
	if own.Leaf == nil {
		leaf, err := x509.ParseCertificate(own.Certificate[0])
		if err != nil {
			return nil, fmt.Errorf("snapshot: certificate: %w", err)
		}
		own.Leaf = leaf
	}
	if err := checkKeyFits(own.Leaf, own.PrivateKey); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if err := checkStapleFits(own.OCSPStaple, own.Leaf); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	id, err := IDFromCertificate(own.Leaf)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	bundle, err := NewBundle(id.TrustDomain(), roots)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if policy != nil && policy.ID() != id {
		return nil, fmt.Errorf("snapshot: the certificate is of %s, but the policy of %s", id, policy.ID())
	}
	if domain := revocation.Feed().TrustDomain(); domain != "" && domain != id.TrustDomain().String() {
		return nil, fmt.Errorf("snapshot: the certificate is of %s, but the feed of revocations of trust domain %s", id, domain)
	}
	return &Snapshot{Certificate: &own, ID: id, Bundle: bundle, Policy: policy, Revocation: revocation}, nil
}

// checkOwn says whether this process may show s.Certificate now.
func (s *Snapshot) checkOwn(now time.Time) *Refusal {
	if s == nil || s.Certificate == nil || s.Certificate.Leaf == nil {
		return &Refusal{Cause: CauseOwnCertificate, Clock: now, Err: errors.New("the snapshot holds no certificate")}
	}
	refusal := checkValidity(s.Certificate.Leaf, now)
	if refusal != nil {
		refusal.Cause, refusal.Self = CauseOwnCertificate, s.ID
	}
	return refusal
}

func checkKeyFits(leaf *x509.Certificate, key crypto.PrivateKey) error {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return errors.New("the private key is missing or cannot sign")
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(leaf.PublicKey) {
		return errors.New("the private key does not belong to the certificate")
	}
	return nil
}
