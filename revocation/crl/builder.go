package crl

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte" // builds DER without hand-counted lengths
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Template is everything in a CRL but its entries.
type Template struct {
	Issuer             []byte // DER of the issuer's subject Name
	AuthorityKeyID     []byte
	SignatureAlgorithm []byte // DER AlgorithmIdentifier
	Number             uint64 // CRLNumber
	ThisUpdate         time.Time
	NextUpdate         time.Time

	// Delta makes a delta CRL that lists what changed since the CRL with number Base.
	Delta bool
	Base  uint64
	// DistributionPoint is the URL of the partition's CRL, "" for a CRL that is not
	// partitioned. A partition's delta CRL has its full CRL's URL, because both must have the same scope.
	DistributionPoint string
	// Freshest is the URL of the delta CRL; not in delta CRLs.
	Freshest string
}

// room is kept free in front, for the outer SEQUENCE's tag and length.
const room = headerRoom

// Sign makes a CRL of entries that AppendEntry encoded, in any number of pieces. They are
// not copied: what was encoded once stands in every later list, and the CRL is returned
// in pieces too. sign gets the pieces of the TBSCertList, the first with everything
// before the entries and the last with everything behind them, and returns the signature.
func (t Template) Sign(entries [][]byte, sign func(tbs ...[]byte) ([]byte, error)) ([][]byte, error) {
	size := 0
	for _, piece := range entries {
		size += len(piece)
	}
	head, err := t.head()
	if err != nil {
		return nil, err
	}
	if size > 0 { // revokedCertificates must be absent rather than empty (section 5.1.2.6)
		head = appendHeader(head, tagSequence, size)
	}
	tail, err := t.extensions()
	if err != nil {
		return nil, err
	}
	tbsSize := len(head) + size + len(tail)
	front := make([]byte, room, room+headerRoom+len(head))
	front = append(appendHeader(front, tagSequence, tbsSize), head...)
	tbsSize += len(front) - room - len(head)

	pieces := append(append(append(make([][]byte, 0, len(entries)+2), front[room:]), entries...), tail)
	signature, err := sign(pieces...)
	if err != nil {
		return nil, fmt.Errorf("sign CRL: %w", err)
	}
	if len(signature) == 0 {
		return nil, errors.New("sign CRL: the signature is empty")
	}
	end := append(append([]byte(nil), tail...), t.SignatureAlgorithm...)
	end = appendHeader(end, byte(asn1.BIT_STRING), 1+len(signature))
	end = append(end, 0) // no unused bits
	end = append(end, signature...)

	outer := appendHeader(make([]byte, 0, headerRoom), tagSequence, tbsSize-len(tail)+len(end))
	start := room - len(outer)
	copy(front[start:], outer)
	pieces[0], pieces[len(pieces)-1] = front[start:], end
	return pieces, nil
}

// head is the TBSCertList up to revokedCertificates.
func (t Template) head() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1Int64(1) // version 2
	b.AddBytes(t.SignatureAlgorithm)
	b.AddBytes(t.Issuer)
	b.AddBytes(appendTime(nil, t.ThisUpdate.Unix()))
	b.AddBytes(appendTime(nil, t.NextUpdate.Unix()))
	return b.Bytes()
}

// headerRoom is the longest header that appendHeader writes.
const headerRoom = 6

// appendHeader appends a tag and a DER length.
func appendHeader(dst []byte, tag byte, length int) []byte {
	dst = append(dst, tag)
	if length < 0x80 {
		return append(dst, byte(length))
	}
	octets := 1
	for rest := length >> 8; rest > 0; rest >>= 8 {
		octets++
	}
	dst = append(dst, 0x80|byte(octets))
	for shift := 8 * (octets - 1); shift >= 0; shift -= 8 {
		dst = append(dst, byte(length>>shift))
	}
	return dst
}
