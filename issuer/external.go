package issuer

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"
)

// NewIntermediateCSR returns a DER-encoded PKCS #10 request for an issuing certificate
// that somebody else's CA signs. It asks for the constraints that [CheckIntermediate]
// expects of the answer. Of r only TrustDomain and Name are used.
func NewIntermediateCSR(signer crypto.Signer, r IntermediateRequest) ([]byte, error) {
	template, err := intermediateTemplate(signer.Public(), r)
	if err != nil {
		return nil, fmt.Errorf("make request for an intermediate: %w", err)
	}
	constraints, err := asn1.Marshal(struct {
		IsCA       bool
		MaxPathLen int
	}{true, 0})
	if err != nil {
		return nil, err
	}
	// keyCertSign (5) and cRLSign (6), as a BIT STRING with one unused bit.
	usage := []byte{0x03, 0x02, 0x01, 0x06}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: template.Subject,
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: constraints},
			{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: usage},
		},
	}, signer)
	if err != nil {
		return nil, fmt.Errorf("sign request for an intermediate: %w", err)
	}
	return der, nil
}

// CheckIntermediate decides whether a chain made elsewhere can be served: issuing
// certificate first, then its intermediates if any, without the root. pub is the key
// that the issuing certificate must hold. It says in words what is wrong.
func CheckIntermediate(chain []*x509.Certificate, root *x509.Certificate, pub crypto.PublicKey, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("the chain is empty; put the issuing certificate first")
	}
	issuing := chain[0]
	if !sameKey(pub, issuing.PublicKey) {
		return errors.New("the first certificate of the chain does not hold the key of the request; was it made for another request, or is the order wrong?")
	}
	if err := checkRoot(root, now); err != nil {
		return err
	}
	if err := checkIssuing(issuing); err != nil {
		return err
	}
	path := append(append([]*x509.Certificate{}, chain...), root)
	for i, cert := range chain {
		if err := checkLink(cert, path[i+1], now); err != nil {
			return fmt.Errorf("certificate %d of the chain (%s): %w", i+1, cert.Subject, err)
		}
	}
	if err := checkRoom(path); err != nil {
		return err
	}
	// The standard verifier sees what the links do not: name constraints, unknown critical extensions.
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	options := x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	if _, err := issuing.Verify(options); err != nil {
		return fmt.Errorf("the chain does not verify up to the root: %w", err)
	}
	return nil
}

// checkRoom holds each path length against the CA certificates that stand below it once there
// is a leaf (RFC 5280, section 6.1.4 (m)). The standard verifier takes the issuing certificate for the leaf.
func checkRoom(path []*x509.Certificate) error {
	for below, cert := range path {
		if limited := cert.MaxPathLen > 0 || cert.MaxPathLenZero; limited && cert.MaxPathLen < below {
			return fmt.Errorf("%s allows a path length of %d, but %d CA certificates stand below it, so no leaf would verify", cert.Subject, cert.MaxPathLen, below)
		}
	}
	return nil
}

func checkRoot(root *x509.Certificate, now time.Time) error {
	switch {
	case root == nil:
		return errors.New("the root is missing")
	case !root.BasicConstraintsValid || !root.IsCA:
		return errors.New("the root is not a CA certificate")
	case !bytes.Equal(root.RawSubject, root.RawIssuer) || root.CheckSignature(root.SignatureAlgorithm, root.RawTBSCertificate, root.Signature) != nil:
		return errors.New("the root is not signed by itself; give the top of the chain")
	case now.Before(root.NotBefore) || now.After(root.NotAfter):
		return fmt.Errorf("the root is valid from %s to %s, not now (%s)", root.NotBefore.Format(time.RFC3339), root.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	default:
		return nil
	}
}

// checkIssuing says whether cert may be what this CA signs with.
func checkIssuing(cert *x509.Certificate) error {
	const needed = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	switch {
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return errors.New("the issuing certificate is not a CA certificate (basicConstraints CA:TRUE)")
	case cert.KeyUsage&needed != needed:
		return errors.New("the issuing certificate needs the key usages keyCertSign and cRLSign")
	case len(cert.SubjectKeyId) == 0:
		return errors.New("the issuing certificate has no subject key identifier")
	case len(cert.SubjectKeyId) > 64:
		return errors.New("the issuing certificate's subject key identifier is over 64 octets long")
	case len(cert.Subject.Names) == 0:
		return errors.New("the issuing certificate has an empty subject")
	case bytes.Equal(cert.RawSubject, cert.RawIssuer):
		return errors.New("the issuing certificate is self-issued; serve an intermediate and keep the root away")
	case len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) > 0 && !allowsTLS(cert):
		return errors.New("the issuing certificate's extended key usage excludes TLS server or client authentication")
	}
	_, err := checkCAKey(cert.PublicKey)
	return err
}

func allowsTLS(cert *x509.Certificate) bool {
	var server, client bool
	for _, usage := range cert.ExtKeyUsage {
		server = server || usage == x509.ExtKeyUsageServerAuth || usage == x509.ExtKeyUsageAny
		client = client || usage == x509.ExtKeyUsageClientAuth || usage == x509.ExtKeyUsageAny
	}
	return server && client
}

func checkLink(cert, parent *x509.Certificate, now time.Time) error {
	switch {
	case !bytes.Equal(cert.RawIssuer, parent.RawSubject):
		return fmt.Errorf("its issuer is %q, but next comes %q", cert.Issuer, parent.Subject)
	case now.Before(cert.NotBefore) || now.After(cert.NotAfter):
		return fmt.Errorf("it is valid from %s to %s, not now (%s)", cert.NotBefore.Format(time.RFC3339), cert.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if err := cert.CheckSignatureFrom(parent); err != nil {
		return fmt.Errorf("its signature is not by %q: %w", parent.Subject, err)
	}
	return nil
}
