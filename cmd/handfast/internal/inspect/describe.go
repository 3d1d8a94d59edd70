package inspect

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // a fingerprint to compare with older tools' output, no security rests on it
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/cmd/handfast/internal/pemfile"
)

// The words of Certificate.Validity.
const (
	validNow    = "valid"
	expired     = "expired"
	notYetValid = "not_yet_valid"
)

func (i *Inspector) certificate(cert *x509.Certificate) Certificate {
	c := Certificate{
		Serial: hexSerial(cert.SerialNumber), Subject: cert.Subject.String(), Issuer: cert.Issuer.String(),
		DNSNames: cert.DNSNames, IPs: addresses(cert.IPAddresses), Emails: cert.EmailAddresses,
		NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC(), Validity: validity(cert, i.Now()),
		CA: cert.IsCA, PathLength: pathLength(cert), Key: describeKey(cert.PublicKey), KeyUsage: keyUsage(cert.KeyUsage),
		ExtKeyUsage: extKeyUsage(cert), Signature: cert.SignatureAlgorithm.String(),
		SHA256: certs.Fingerprint(cert), SHA1: sha1Hex(cert.Raw),
		KeyID: hex.EncodeToString(cert.SubjectKeyId), AuthorityKeyID: hex.EncodeToString(cert.AuthorityKeyId),
		OCSPURLs: cert.OCSPServer, IssuerURLs: cert.IssuingCertificateURL, CRLURLs: cert.CRLDistributionPoints,
		MustStaple: certs.MustStaple(cert), NoRevAvail: slices.ContainsFunc(cert.Extensions, isNoRevAvail),
		SelfSigned: bytes.Equal(cert.RawSubject, cert.RawIssuer) && FindIssuer(cert, []*x509.Certificate{cert}) != nil,
	}
	if id, err := certs.IDFromCertificate(cert); err == nil {
		c.ID = id.String()
	} else {
		c.URIs = uris(cert.URIs)
	}
	return c
}

// isNoRevAvail tells the extension of a certificate about whose revocation nothing is published.
func isNoRevAvail(extension pkix.Extension) bool {
	return extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 56})
}

func describeRequest(request *x509.CertificateRequest) Request {
	possession := pemfile.CheckSize(request.PublicKey) == nil && request.CheckSignature() == nil
	return Request{
		Subject: request.Subject.String(), DNSNames: request.DNSNames, IPs: addresses(request.IPAddresses), URIs: uris(request.URIs),
		Key: describeKey(request.PublicKey), Signature: request.SignatureAlgorithm.String(), Possession: possession,
	}
}

func describeKey(pub crypto.PublicKey) Key {
	k := Key{Algorithm: keyAlgorithm(pub)}
	if der, err := x509.MarshalPKIXPublicKey(pub); err == nil {
		sum := sha256.Sum256(der)
		k.SHA256 = hex.EncodeToString(sum[:])
	}
	return k
}

func keyAlgorithm(pub crypto.PublicKey) string {
	switch key := pub.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d bits", key.N.BitLen())
	default:
		return "of a kind that is not known here"
	}
}

func validity(cert *x509.Certificate, now time.Time) string {
	switch {
	case now.Before(cert.NotBefore):
		return notYetValid
	case now.After(cert.NotAfter):
		return expired
	default:
		return validNow
	}
}

func pathLength(cert *x509.Certificate) *int {
	if !cert.IsCA || cert.MaxPathLen < 0 || cert.MaxPathLen == 0 && !cert.MaxPathLenZero {
		return nil
	}
	return &cert.MaxPathLen
}

// hexSerial writes every serial, also one that this project would never issue.
func hexSerial(n *big.Int) string {
	if serial, err := certs.SerialFromInt(n); err == nil {
		return serial.String()
	}
	return n.Text(16)
}

func sha1Hex(der []byte) string {
	sum := sha1.Sum(der) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

func addresses(list []net.IP) []string {
	var texts []string
	for _, ip := range list {
		texts = append(texts, ip.String())
	}
	return texts
}

func uris(list []*url.URL) []string {
	var texts []string
	for _, u := range list {
		texts = append(texts, u.String())
	}
	return texts
}

// keyUsageNames are those of RFC 5280, section 4.2.1.3, by bit.
var keyUsageNames = [...]string{
	"digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment", "keyAgreement",
	"keyCertSign", "cRLSign", "encipherOnly", "decipherOnly",
}

func keyUsage(usage x509.KeyUsage) []string {
	var names []string
	for bit, name := range keyUsageNames {
		if usage&(1<<bit) != 0 {
			names = append(names, name)
		}
	}
	return names
}

func extKeyUsage(cert *x509.Certificate) []string {
	var names []string
	for _, usage := range cert.ExtKeyUsage {
		names = append(names, extKeyUsageName(usage))
	}
	for _, oid := range cert.UnknownExtKeyUsage {
		name := oid.String()
		if name == "1.3.6.1.5.5.7.3.36" { // RFC 9336
			name = "documentSigning"
		}
		names = append(names, name)
	}
	return names
}

func extKeyUsageName(usage x509.ExtKeyUsage) string {
	switch usage {
	case x509.ExtKeyUsageAny:
		return "any"
	case x509.ExtKeyUsageServerAuth:
		return "serverAuth"
	case x509.ExtKeyUsageClientAuth:
		return "clientAuth"
	case x509.ExtKeyUsageCodeSigning:
		return "codeSigning"
	case x509.ExtKeyUsageEmailProtection:
		return "emailProtection"
	case x509.ExtKeyUsageTimeStamping:
		return "timeStamping"
	case x509.ExtKeyUsageOCSPSigning:
		return "OCSPSigning"
	default:
		return fmt.Sprintf("usage %d", int(usage))
	}
}
