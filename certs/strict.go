package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
)

// Limits that bound the work that a hostile peer can cause. What Handfast itself
// issues stays far below: three certificates of about a kilobyte.
const (
	maxChainLength     = 8        // certificates in a path, with the leaf and the root
	maxPresented       = 16       // certificates that a peer may send
	maxCertificateSize = 32 << 10 // bytes of one DER certificate
	minRSABits         = 2048
	maxRSABits         = 8192 // crypto/tls has the same bound: verification time grows with the square
)

var (
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidNoRevAvail       = asn1.ObjectIdentifier{2, 5, 29, 56} // RFC 9608
)

// checkPath holds a path that crypto/x509 has found against what crypto/x509 leaves
// open. path is leaf first, root last.
func checkPath(path []*x509.Certificate) (at *x509.Certificate, err error) {
	if len(path) < 2 {
		// crypto/x509 accepts a leaf that is itself in the pool of roots.
		return path[0], errors.New("the certificate is itself a trust anchor; a leaf has to be issued by one")
	}
	if len(path) > maxChainLength {
		return path[0], fmt.Errorf("the path has %d certificates; at most %d are allowed", len(path), maxChainLength)
	}
	for i, cert := range path[:len(path)-1] {
		if err := checkIssued(cert, path[i+1]); err != nil {
			return cert, err
		}
		if i == 0 {
			continue
		}
		if err := checkAuthority(cert); err != nil {
			return cert, err
		}
	}
	return nil, nil
}

// checkIssued holds a certificate that is not a trust anchor against RFC 5280,
// section 4.1 and 4.2, and against its issuer.
func checkIssued(cert, issuer *x509.Certificate) error {
	if err := checkCommon(cert); err != nil {
		return err
	}
	if _, err := SerialFromInt(cert.SerialNumber); err != nil {
		return fmt.Errorf("%q: %w", cert.Subject, err)
	}
	// The key identifiers are hints for crypto/x509, which accepts a contradiction.
	if len(cert.AuthorityKeyId) > 0 && len(issuer.SubjectKeyId) > 0 && !bytes.Equal(cert.AuthorityKeyId, issuer.SubjectKeyId) {
		return fmt.Errorf("%q names the issuer's key %x, but %q has key %x", cert.Subject, cert.AuthorityKeyId, issuer.Subject, issuer.SubjectKeyId)
	}
	return nil
}

// checkAuthority holds a CA certificate (an intermediate or a root) against RFC 5280, section 4.2.1.
func checkAuthority(cert *x509.Certificate) error {
	if err := checkCommon(cert); err != nil {
		return err
	}
	if !cert.BasicConstraintsValid || !cert.IsCA {
		return fmt.Errorf("%q is not a CA (basicConstraints)", cert.Subject)
	}
	if !isCritical(cert, oidBasicConstraints) {
		return fmt.Errorf("%q: basicConstraints of a CA has to be critical (RFC 5280, section 4.2.1.9)", cert.Subject)
	}
	if cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("%q may not sign certificates (keyUsage lacks keyCertSign)", cert.Subject)
	}
	if hasExtension(cert, oidNoRevAvail) {
		return fmt.Errorf("%q is a CA with noRevAvail, which only an end entity may carry (RFC 9608)", cert.Subject)
	}
	return nil
}

// checkAuthorityDomain refuses a CA certificate whose own SPIFFE ID is of another trust
// domain than the one it would vouch for (X.509-SVID, section 4.2).
func checkAuthorityDomain(td TrustDomain, cert *x509.Certificate) error {
	for _, uri := range cert.URIs {
		if uri.Scheme == "spiffe" && uri.Host != td.String() {
			return fmt.Errorf("%q is a CA of trust domain %q, not of %q", cert.Subject, uri.Host, td)
		}
	}
	return nil
}

func checkCommon(cert *x509.Certificate) error {
	if err := checkSize(cert); err != nil {
		return err
	}
	if cert.Version != 3 {
		return fmt.Errorf("%q is an X.509 certificate of version %d; only 3 has the extensions that are needed", cert.Subject, cert.Version)
	}
	if len(cert.UnhandledCriticalExtensions) > 0 {
		return fmt.Errorf("%q has the critical extension %s, which is not understood here", cert.Subject, cert.UnhandledCriticalExtensions[0])
	}
	return checkKey(cert)
}

func checkSize(cert *x509.Certificate) error {
	if len(cert.Raw) == 0 {
		return errors.New("certificate was not parsed from DER")
	}
	if len(cert.Raw) > maxCertificateSize {
		return fmt.Errorf("certificate has %d bytes; at most %d are allowed", len(cert.Raw), maxCertificateSize)
	}
	return nil
}

func checkKey(cert *x509.Certificate) error {
	switch key := cert.PublicKey.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("%q has an RSA key of %d bits; %d to %d are allowed", cert.Subject, bits, minRSABits, maxRSABits)
		}
		return nil
	default:
		return fmt.Errorf("%q has a key of an unknown kind (%s)", cert.Subject, cert.PublicKeyAlgorithm)
	}
}

func isCritical(cert *x509.Certificate, oid asn1.ObjectIdentifier) bool {
	for _, extension := range cert.Extensions {
		if extension.Id.Equal(oid) {
			return extension.Critical
		}
	}
	return false
}

func hasExtension(cert *x509.Certificate, oid asn1.ObjectIdentifier) bool {
	for _, extension := range cert.Extensions {
		if extension.Id.Equal(oid) {
			return true
		}
	}
	return false
}
