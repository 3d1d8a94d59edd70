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

// List is a signed CRL.
type List struct {
	DER []byte
	// Encoded is the part of DER that holds the entries, for the builder of the next CRL.
	Encoded []byte
}

// Builder makes one CRL. It is not safe for concurrent use.
type Builder struct {
	buffer    []byte // room for the outer header, then the TBSCertList, then the signature
	algorithm []byte
	tail      []byte // crlExtensions
	entries   int    // where the entries start
	end       int    // where they must end
}

// room is kept free in front, for the outer SEQUENCE's tag and length.
const room = 6

// maxSignature is the longest signature that is expected behind the entries: RSA-4096,
// its BIT STRING header, and some. A longer one costs a copy.
const maxSignature = 1024

// NewBuilder starts a CRL with entries whose encodings take size octets together.
func NewBuilder(t Template, size int) (*Builder, error) {
	head, err := t.head()
	if err != nil {
		return nil, err
	}
	extensions, err := t.extensions()
	if err != nil {
		return nil, err
	}
	if size > 0 { // revokedCertificates must be absent rather than empty (section 5.1.2.6)
		head = appendHeader(head, tagSequence, size)
	}
	tbsSize := len(head) + size + len(extensions)
	buffer := make([]byte, room, room+headerRoom+tbsSize+len(t.SignatureAlgorithm)+maxSignature)
	buffer = appendHeader(buffer, tagSequence, tbsSize)
	buffer = append(buffer, head...)
	return &Builder{
		buffer: buffer, algorithm: t.SignatureAlgorithm, tail: extensions,
		entries: len(buffer), end: len(buffer) + size,
	}, nil
}

// Add appends one entry.
func (b *Builder) Add(e Entry) { b.buffer = AppendEntry(b.buffer, e) }

// AddEncoded appends entries that AppendEntry encoded before.
func (b *Builder) AddEncoded(entries []byte) { b.buffer = append(b.buffer, entries...) }

// Sign ends the CRL: sign gets the TBSCertList and returns the signature. The Builder is
// used up. It fails when the entries do not have the size that NewBuilder was told.
func (b *Builder) Sign(sign func(tbs []byte) ([]byte, error)) (List, error) {
	if len(b.buffer) != b.end {
		return List{}, fmt.Errorf("entries of the CRL have %d octets, %d were announced", len(b.buffer)-b.entries, b.end-b.entries)
	}
	b.buffer = append(b.buffer, b.tail...)
	tbs := b.buffer
	signature, err := sign(tbs[room:])
	if err != nil {
		return List{}, fmt.Errorf("sign CRL: %w", err)
	}
	if len(signature) == 0 {
		return List{}, errors.New("sign CRL: the signature is empty")
	}
	b.buffer = append(b.buffer, b.algorithm...) // NewBuilder left room: nothing moves
	der := appendHeader(b.buffer, byte(asn1.BIT_STRING), 1+len(signature))
	der = append(der, 0) // no unused bits
	der = append(der, signature...)

	outer := appendHeader(make([]byte, 0, headerRoom), tagSequence, len(der)-room)
	start := room - len(outer)
	copy(der[start:], outer)
	return List{DER: der[start:], Encoded: der[b.entries:b.end:b.end]}, nil
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
