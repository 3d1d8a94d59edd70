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
//
// The list may come in pieces, because one with a million entries is kept in pieces: the
// first then ends where the entries begin, and the last begins where they end.
func (i *Issuer) SignCRL(tbs ...[]byte) ([]byte, error) {
	if err := i.checkCertList(tbs); err != nil {
		return nil, err
	}
	return i.signer.sign(tbs...)
}

// checkCertList reads the headers only: a list may have a million entries. A
// TBSCertificate of version 1 begins in the same way (an INTEGER, the algorithm, a
// name); it parts company where the certificate has its validity, a SEQUENCE, and the
// list a time.
func (i *Issuer) checkCertList(tbs [][]byte) error {
	if len(tbs) == 0 {
		return errors.New("sign CRL: there is none")
	}
	list := cryptobyte.String(tbs[0])
	var algorithm, name cryptobyte.String
	var version int
	if !readHeader(&list, length(tbs[1:])) ||
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
	if !skipTimes(&list, 2) || !skipEntries(&list, tbs[1:]) || !list.SkipASN1(extensions) || !list.Empty() {
		return errors.New("sign CRL: not a TBSCertList with thisUpdate, nextUpdate and extensions")
	}
	return nil
}

// skipEntries skips revokedCertificates, whose contents are all of the rest but its last
// piece, where there is a rest; list becomes that piece.
func skipEntries(list *cryptobyte.String, rest [][]byte) bool {
	if len(rest) == 0 {
		return list.SkipOptionalASN1(asn1.SEQUENCE)
	}
	last := len(rest) - 1
	entries := length(rest[:last])
	if entries > 0 && !readHeader(list, entries) {
		return false
	}
	empty := list.Empty()
	*list = rest[last]
	return empty
}

// readHeader reads the header of a SEQUENCE that ends beyond octets behind s.
func readHeader(s *cryptobyte.String, beyond int) bool {
	var tag, first uint8
	if !s.ReadUint8(&tag) || tag != uint8(asn1.SEQUENCE) || !s.ReadUint8(&first) {
		return false
	}
	size := int(first)
	if first >= 0x80 {
		octets := int(first & 0x7f)
		var digits []byte
		if octets == 0 || octets > 4 || !s.ReadBytes(&digits, octets) || digits[0] == 0 {
			return false
		}
		size = 0
		for _, digit := range digits {
			size = size<<8 | int(digit)
		}
		if size < 0x80 {
			return false // not the shortest form, which DER demands
		}
	}
	return size == len(*s)+beyond
}

func length(pieces [][]byte) int {
	n := 0
	for _, piece := range pieces {
		n += len(piece)
	}
	return n
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
