package issuer

import (
	"bytes"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// SignCRL signs tbs, a DER TBSCertList (RFC 5280, section 5.1), and returns the
// signature as it stands in the CRL's BIT STRING. It refuses whatever does not have
// the shape of a version 2 list in this issuer's name, so whoever builds CRLs
// can never obtain a signature over a certificate or an OCSP response.
func (i *Issuer) SignCRL(tbs []byte) ([]byte, error) {
	if err := i.checkCertList(tbs); err != nil {
		return nil, err
	}
	return i.signer.sign(tbs)
}

// checkCertList reads the headers only: a list may have a million entries. A
// TBSCertificate of version 1 begins in the same way (an INTEGER, the algorithm, a
// name); it parts company where the certificate has its validity, a SEQUENCE, and the
// list a time.
func (i *Issuer) checkCertList(tbs []byte) error {
	input := cryptobyte.String(tbs)
	var list, algorithm, name cryptobyte.String
	var version int
	if !input.ReadASN1(&list, asn1.SEQUENCE) || !input.Empty() ||
		!list.ReadASN1Integer(&version) || version != 1 ||
		!list.ReadASN1Element(&algorithm, asn1.SEQUENCE) ||
		!list.ReadASN1Element(&name, asn1.SEQUENCE) {
		return errors.New("sign CRL: not a version 2 TBSCertList")
	}
	if !bytes.Equal(algorithm, i.signer.algorithm) {
		return errors.New("sign CRL: its signature algorithm is not this issuer's")
	}
	if !bytes.Equal(name, i.cert.RawSubject) {
		return errors.New("sign CRL: it is in another issuer's name")
	}
	extensions := asn1.Tag(0).ContextSpecific().Constructed()
	if !skipTimes(&list, 2) ||
		!list.SkipOptionalASN1(asn1.SEQUENCE) ||
		!list.SkipASN1(extensions) || !list.Empty() {
		return errors.New("sign CRL: not a TBSCertList with thisUpdate, nextUpdate and extensions")
	}
	return nil
}

func skipTimes(s *cryptobyte.String, n int) bool {
	for range n {
		kind := asn1.GeneralizedTime
		if s.PeekASN1Tag(asn1.UTCTime) {
			kind = asn1.UTCTime
		}
		if !s.SkipASN1(kind) {
			return false
		}
	}
	return true
}
