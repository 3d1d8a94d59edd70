package issuer

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/handfast/handfast/certs"
)

// Default lifetimes of CA certificates.
const (
	DefaultRootLifetime         = 10 * 365 * 24 * time.Hour
	DefaultIntermediateLifetime = 365 * 24 * time.Hour
)

// RootRequest says what a new root is like.
type RootRequest struct {
	TrustDomain certs.TrustDomain
	Name        string        // begins the common name; "" is the trust domain
	NotBefore   time.Time     // usually now
	Lifetime    time.Duration // 0 is DefaultRootLifetime
}

// IntermediateRequest says what a new issuing certificate is like.
type IntermediateRequest struct {
	TrustDomain certs.TrustDomain
	Name        string        // begins the common name; "" is the trust domain
	NotBefore   time.Time     // usually now; never before the root's
	Lifetime    time.Duration // 0 is DefaultIntermediateLifetime; never past the root's end
	CRL         string        // http URL of the root's CRL; "" for none
	CAIssuers   string        // http URL of the root's certificate; "" for none
}

// NewRoot makes a self-signed root for signer's key. Its subject key identifier
// is by RFC 7093, section 2, method 1, and its common name ends in that
// identifier's first digits, so that two roots of one trust domain have two names.
func NewRoot(signer crypto.Signer, r RootRequest) (*x509.Certificate, error) {
	template, err := caTemplate(signer.Public(), r.TrustDomain, r.Name, "Root CA")
	if err != nil {
		return nil, fmt.Errorf("make root: %w", err)
	}
	template.NotBefore, template.NotAfter, err = lifetime(r.NotBefore, r.Lifetime, DefaultRootLifetime)
	if err != nil {
		return nil, fmt.Errorf("make root: %w", err)
	}
	return createCA(template, template, signer.Public(), signer)
}

// NewIntermediate makes the issuing certificate for pub, signed by root's key. It may
// sign leaves and CRLs only (pathLenConstraint 0) and lies within the root's validity.
func NewIntermediate(root *x509.Certificate, rootSigner crypto.Signer, pub crypto.PublicKey, r IntermediateRequest) (*x509.Certificate, error) {
	if !sameKey(rootSigner.Public(), root.PublicKey) {
		return nil, errors.New("make intermediate: the root's key does not belong to the root certificate")
	}
	if sameKey(pub, root.PublicKey) {
		return nil, errors.New("make intermediate: it needs a key of its own, not the root's")
	}
	template, err := intermediateTemplate(pub, r)
	if err != nil {
		return nil, fmt.Errorf("make intermediate: %w", err)
	}
	template.NotBefore, template.NotAfter, err = lifetime(r.NotBefore, r.Lifetime, DefaultIntermediateLifetime)
	if err != nil {
		return nil, fmt.Errorf("make intermediate: %w", err)
	}
	if template.NotBefore.Before(root.NotBefore) {
		template.NotBefore = root.NotBefore
	}
	if template.NotAfter.After(root.NotAfter) {
		template.NotAfter = root.NotAfter
	}
	if !template.NotBefore.Before(template.NotAfter) {
		return nil, fmt.Errorf("make intermediate: the root is valid until %s, before the intermediate would begin", root.NotAfter.Format(time.RFC3339))
	}
	if r.CRL != "" {
		template.CRLDistributionPoints = []string{r.CRL}
	}
	if r.CAIssuers != "" {
		template.IssuingCertificateURL = []string{r.CAIssuers}
	}
	return createCA(template, root, pub, rootSigner)
}

func createCA(template, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	serial, err := newSerial(template.NotBefore)
	if err != nil {
		return nil, err
	}
	template.SerialNumber = new(big.Int).SetBytes(serial)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, signer)
	if err != nil {
		return nil, fmt.Errorf("sign CA certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// intermediateTemplate is what an intermediate and a request for one share.
func intermediateTemplate(pub crypto.PublicKey, r IntermediateRequest) (*x509.Certificate, error) {
	for _, u := range []string{r.CRL, r.CAIssuers} {
		if u == "" {
			continue
		}
		if err := checkURL(u); err != nil {
			return nil, err
		}
	}
	template, err := caTemplate(pub, r.TrustDomain, r.Name, "Issuing CA")
	if err != nil {
		return nil, err
	}
	template.MaxPathLen = 0
	template.MaxPathLenZero = true
	return template, nil
}

func caTemplate(pub crypto.PublicKey, td certs.TrustDomain, name, role string) (*x509.Certificate, error) {
	algorithm, err := checkCAKey(pub)
	if err != nil {
		return nil, err
	}
	key, err := encodeKey(pub, algorithm)
	if err != nil {
		return nil, err
	}
	if td.IsZero() {
		return nil, errors.New("trust domain is missing")
	}
	if name == "" {
		name = td.String()
	}
	commonName, err := caName(name, role, key.keyID)
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            -1,
		SubjectKeyId:          key.keyID[:],
	}, nil
}

// maxCommonName is ub-common-name of RFC 5280, appendix A.1.
const maxCommonName = 64

// caName is "NAME ROLE KEYID", with NAME shortened to what fits: two CAs must not
// share a name, because CRLs and chains are looked up by it, so the key's part stays whole.
func caName(name, role string, keyID [keyIDSize]byte) (string, error) {
	for _, c := range []byte(name) {
		if c < ' ' || c > '~' {
			return "", fmt.Errorf("CA name %q: use printable ASCII characters", name)
		}
	}
	if strings.TrimSpace(name) != name {
		return "", fmt.Errorf("CA name %q begins or ends with a space", name)
	}
	tail := " " + role + " " + hex.EncodeToString(keyID[:4])
	if room := maxCommonName - len(tail); len(name) > room {
		name = strings.TrimRight(name[:room], " ")
	}
	return name + tail, nil
}

func lifetime(from time.Time, d, byDefault time.Duration) (notBefore, notAfter time.Time, err error) {
	if from.IsZero() {
		return notBefore, notAfter, errors.New("NotBefore is missing")
	}
	switch {
	case d == 0:
		d = byDefault
	case d < time.Hour:
		return notBefore, notAfter, fmt.Errorf("lifetime of %s is too short for a CA certificate (at least 1h)", d)
	}
	from = from.UTC().Truncate(time.Second)
	return from, from.Add(d), nil
}

// maxURL keeps certificates small and every client's buffer large enough.
const maxURL = 512

// checkURL accepts what belongs into AIA and CRL distribution points: plain http, because
// a TLS client that asks for revocation cannot verify TLS yet (RFC 5280, section 8).
func checkURL(s string) error {
	if len(s) > maxURL {
		return fmt.Errorf("URL has %d bytes; at most %d are allowed", len(s), maxURL)
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return fmt.Errorf("URL %q holds a character that is not printable ASCII", s)
		}
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("URL %q is not of the form http://HOST/PATH", s)
	}
	return nil
}
