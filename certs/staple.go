package certs

import (
	"bytes"
	"crypto"
	"crypto/sha1" //nolint:gosec // it names keys in OCSP and protects nothing
	_ "crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// MaxStapleSize is the longest OCSP response in octets that is read. Handfast's own have about 900.
const MaxStapleSize = 16 << 10

var (
	oidTLSFeature  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}    // RFC 7633
	oidOCSPNoCheck = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5} // RFC 6960, section 4.2.2.2.1
	oidSHA1        = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
)

// featureStatusRequest is the TLS extension number of status_request (RFC 6066, section 8).
const featureStatusRequest = 5

// MustStaple reports whether whoever shows cert in a handshake has to staple an OCSP
// response to it: cert has the TLS feature extension with status_request (RFC 7633). An
// extension that cannot be read counts as one that demands it.
func MustStaple(cert *x509.Certificate) bool {
	for _, extension := range cert.Extensions {
		if !extension.Id.Equal(oidTLSFeature) {
			continue
		}
		var features []int
		rest, err := asn1.Unmarshal(extension.Value, &features)
		return err != nil || len(rest) > 0 || slices.Contains(features, featureStatusRequest)
	}
	return false
}

// Staple is an OCSP response that says, in time, that one certificate is good.
type Staple struct {
	DER                    []byte
	ThisUpdate, NextUpdate time.Time // whole seconds, UTC
}

// StapleRequest returns the OCSPRequest (RFC 6960, section 4.1; RFC 9919, section 3.1: one certificate,
// no nonce, unsigned) whose answer leaf's holder staples. The issuer is named by SHA-1, because the
// response echoes that and relying parties compare it: curl 7.88 and openssl 3.0 look for nothing else.
func StapleRequest(leaf, issuer *x509.Certificate) ([]byte, error) {
	key, err := subjectPublicKey(issuer)
	if err != nil {
		return nil, fmt.Errorf("OCSP request: %w", err)
	}
	type certID struct {
		Algorithm         pkix.AlgorithmIdentifier
		NameHash, KeyHash []byte
		Serial            *big.Int
	}
	type single struct{ ID certID }
	type tbs struct{ List []single }
	return asn1.Marshal(struct{ TBS tbs }{tbs{[]single{{certID{
		Algorithm: pkix.AlgorithmIdentifier{Algorithm: oidSHA1, Parameters: asn1.NullRawValue},
		NameHash:  hashOf(crypto.SHA1, issuer.RawSubject),
		KeyHash:   hashOf(crypto.SHA1, key),
		Serial:    leaf.SerialNumber,
	}}}}})
}

// CheckStaple reads an OCSP response (RFC 6960, section 4.2; DER) strictly and demands that it is about
// leaf alone, signed by issuer or by a responder that issuer certified for that (OCSPSigning and
// id-pkix-ocsp-nocheck, valid now), dated and not over as of now (clocks may differ by five minutes), and
// good. issuer must be leaf's issuer in a verified path. Every error is a *Refusal: CauseRevoked,
// or CauseStapleInvalid.
func CheckStaple(response []byte, leaf, issuer *x509.Certificate, now time.Time) (Staple, error) {
	parsed, _, refusal := checkStaple(response, leaf, issuer, nil, now)
	if refusal != nil {
		return Staple{}, refusal
	}
	return Staple{DER: response, ThisUpdate: parsed.thisUpdate, NextUpdate: parsed.nextUpdate}, nil
}

// checkStaple is CheckStaple, and returns the delegated responder's certificate, nil when
// the issuer signed.
func checkStaple(response []byte, leaf, issuer *x509.Certificate, memo *stapleMemo, now time.Time) (*ocspResponse, *x509.Certificate, *Refusal) {
	parsed, err := parseStaple(response)
	var responder *x509.Certificate
	if err == nil {
		err = parsed.isAbout(leaf, issuer)
	}
	if err == nil {
		responder, err = memo.verify(response, parsed, issuer, now)
	}
	if err == nil {
		err = parsed.fresh(now)
	}
	if err != nil {
		return nil, nil, refuse(CauseStapleInvalid, leaf, now, fmt.Errorf("the OCSP response that is stapled to %s %w", describe(leaf), err))
	}
	switch parsed.status {
	case ocspGood:
		return parsed, responder, nil
	case ocspRevoked:
		return nil, nil, refuse(CauseRevoked, leaf, now, fmt.Errorf("%s was revoked at %s (%s), says the OCSP response of %s that is stapled to it", describe(leaf), stamp(parsed.revokedAt), parsed.reason, stamp(parsed.thisUpdate)))
	default:
		return nil, nil, refuse(CauseStapleInvalid, leaf, now, fmt.Errorf("the OCSP response that is stapled to %s says that its issuer does not know it", describe(leaf)))
	}
}

// isAbout holds the response's CertID against leaf (RFC 6960, section 4.1.1).
func (r *ocspResponse) isAbout(leaf, issuer *x509.Certificate) error {
	key, err := subjectPublicKey(issuer)
	if err != nil {
		return err
	}
	if !bytes.Equal(r.nameHash, hashOf(r.hash, issuer.RawSubject)) || !bytes.Equal(r.keyHash, hashOf(r.hash, key)) {
		return errors.New("is about a certificate of another issuer")
	}
	if !bytes.Equal(r.serial, leaf.SerialNumber.Bytes()) {
		return errors.New("is about another certificate")
	}
	return nil
}

// fresh says whether the response may be relied on now.
func (r *ocspResponse) fresh(now time.Time) error {
	switch {
	case now.Add(-clockSkew).After(r.nextUpdate):
		return fmt.Errorf("is stale: the next one was due at %s, the clock here says %s", stamp(r.nextUpdate), stamp(now))
	case now.Add(clockSkew).Before(r.thisUpdate), now.Add(clockSkew).Before(r.producedAt):
		return fmt.Errorf("is from the future: it is dated %s and made at %s, the clock here says %s", stamp(r.thisUpdate), stamp(r.producedAt), stamp(now))
	default:
		return nil
	}
}

// verify checks the signature, and returns the delegated responder's certificate, nil when
// it is the issuer's own.
func (r *ocspResponse) verify(issuer *x509.Certificate) (*x509.Certificate, error) {
	signer, responder := issuer, (*x509.Certificate)(nil)
	if !r.signedBy(issuer) {
		var err error
		if responder, err = r.responder(issuer); err != nil {
			return nil, err
		}
		signer = responder
	}
	if err := signer.CheckSignature(r.algorithm, r.tbs, r.signature); err != nil {
		return nil, fmt.Errorf("has a wrong signature: %w", err)
	}
	return responder, nil
}

// signedBy reports whether the response names cert as its responder.
func (r *ocspResponse) signedBy(cert *x509.Certificate) bool {
	if r.responderName != nil {
		return bytes.Equal(r.responderName, cert.RawSubject)
	}
	key, err := subjectPublicKey(cert)
	return err == nil && bytes.Equal(r.responderKey, hashOf(crypto.SHA1, key))
}

// responder finds the delegated responder among the certificates that came along (RFC 6960, section 4.2.2.2).
func (r *ocspResponse) responder(issuer *x509.Certificate) (*x509.Certificate, error) {
	for _, raw := range r.certificates {
		cert, err := x509.ParseCertificate(raw)
		if err != nil {
			return nil, fmt.Errorf("carries a certificate that cannot be read: %w", err)
		}
		if !r.signedBy(cert) {
			continue
		}
		if err := checkResponder(cert, issuer); err != nil {
			return nil, fmt.Errorf("is signed by %q, who may not: %w", cert.Subject, err)
		}
		return cert, nil
	}
	return nil, errors.New("is signed by a stranger: neither the issuer nor a responder whose certificate came along")
}

// checkResponder is about everything but time.
func checkResponder(cert, issuer *x509.Certificate) error {
	if err := checkIssued(cert, issuer); err != nil {
		return err
	}
	switch {
	case !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return errors.New("the extended key usage lacks OCSPSigning")
	case cert.IsCA:
		return errors.New("it is a CA")
	case cert.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return errors.New("keyUsage lacks digitalSignature")
	case !hasExtension(cert, oidOCSPNoCheck):
		return errors.New("it lacks id-pkix-ocsp-nocheck, so who would vouch for the voucher?")
	case !bytes.Equal(cert.RawIssuer, issuer.RawSubject):
		return errors.New("another CA issued it")
	}
	return cert.CheckSignatureFrom(issuer)
}

// subjectPublicKey returns what key hashes are made of: the BIT STRING without tag, length
// and number of unused bits.
func subjectPublicKey(cert *x509.Certificate) ([]byte, error) {
	outer := der(cert.RawSubjectPublicKeyInfo)
	info, _, err := outer.Read(tagSequence)
	if err == nil {
		_, _, err = info.Read(tagSequence)
	}
	var key der
	if err == nil {
		key, _, err = info.Read(tagBitString)
	}
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("%q has no readable public key", cert.Subject)
	}
	return key[1:], nil
}

func hashOf(hash crypto.Hash, data []byte) []byte {
	if hash == crypto.SHA1 {
		sum := sha1.Sum(data) //nolint:gosec // see the import
		return sum[:]
	}
	h := hash.New()
	h.Write(data)
	return h.Sum(nil)
}
