package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// maxRoots bounds a bundle: a rotation needs two roots, a migration a few more.
const maxRoots = 64

// Bundle is the roots that may vouch for the identities of one trust domain. It is
// immutable and safe for concurrent use.
type Bundle struct {
	td    TrustDomain
	roots []*x509.Certificate
	pool  *x509.CertPool
}

// NewBundle makes a bundle of 1 to 64 roots. Each is a CA certificate of version 3
// that is signed by itself: a leaf is never a trust anchor, however it came into the file.
// Whether a root has expired is decided at each verification.
func NewBundle(td TrustDomain, roots []*x509.Certificate) (*Bundle, error) {
	switch {
	case td.IsZero():
		return nil, errors.New("bundle: trust domain is empty")
	case len(roots) == 0:
		return nil, errors.New("bundle holds no root, so nobody could be trusted")
	case len(roots) > maxRoots:
		return nil, fmt.Errorf("bundle holds %d roots; at most %d are allowed", len(roots), maxRoots)
	}
	pool := x509.NewCertPool()
	kept := make([]*x509.Certificate, 0, len(roots))
	for i, root := range roots {
		if err := checkRoot(td, root); err != nil {
			return nil, fmt.Errorf("bundle: root %d: %w", i+1, err)
		}
		if !slices.ContainsFunc(kept, root.Equal) {
			kept = append(kept, root)
			pool.AddCert(root)
		}
	}
	return &Bundle{td: td, roots: kept, pool: pool}, nil
}

// TrustDomain returns the domain whose identities the roots vouch for.
func (b *Bundle) TrustDomain() TrustDomain { return b.td }

// Roots returns the roots, without duplicates. The slice is the caller's, the certificates are shared.
func (b *Bundle) Roots() []*x509.Certificate { return slices.Clone(b.roots) }

// Fingerprint returns the SHA-256 of the certificate's DER in lower-case hexadecimal.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

func checkRoot(td TrustDomain, root *x509.Certificate) error {
	if root == nil {
		return errors.New("is nil")
	}
	if err := checkSize(root); err != nil {
		return err
	}
	if !bytes.Equal(root.RawSubject, root.RawIssuer) {
		return fmt.Errorf("%q is issued by %q; only self-signed roots are trust anchors", root.Subject, root.Issuer)
	}
	if err := checkAuthority(root); err != nil {
		return err
	}
	if err := checkAuthorityDomain(td, root); err != nil {
		return err
	}
	if err := root.CheckSignature(root.SignatureAlgorithm, root.RawTBSCertificate, root.Signature); err != nil {
		return fmt.Errorf("%q is not signed by itself: %w", root.Subject, err)
	}
	return nil
}
