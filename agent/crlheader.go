package agent

import (
	"errors"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// crlHeader is the part of a CRL that status and metrics show.
type crlHeader struct {
	thisUpdate, nextUpdate time.Time
}

var errCRLHeader = errors.New("its beginning is not a CRL's (RFC 5280, section 5.1)")

// parseCRLHeader reads the two times without walking the entries, of which there may be
// millions. Everything else about a CRL is certs.NewRevocation's business.
func parseCRLHeader(der []byte) (crlHeader, error) {
	var list, tbs cryptobyte.String
	input := cryptobyte.String(der)
	if !input.ReadASN1(&list, asn1.SEQUENCE) || !list.ReadASN1(&tbs, asn1.SEQUENCE) {
		return crlHeader{}, errCRLHeader
	}
	if !tbs.SkipOptionalASN1(asn1.INTEGER) || // version
		!tbs.SkipASN1(asn1.SEQUENCE) || // signature algorithm
		!tbs.SkipASN1(asn1.SEQUENCE) { // issuer
		return crlHeader{}, errCRLHeader
	}
	var header crlHeader
	if !readTime(&tbs, &header.thisUpdate) || !readTime(&tbs, &header.nextUpdate) {
		return crlHeader{}, errCRLHeader
	}
	return header, nil
}

func readTime(s *cryptobyte.String, out *time.Time) bool {
	if s.PeekASN1Tag(asn1.UTCTime) {
		return s.ReadASN1UTCTime(out)
	}
	return s.ReadASN1GeneralizedTime(out)
}
