// Package ocsp reads OCSP requests and writes OCSP responses (RFC 6960, with the
// nonces of RFC 9654 and the transport of the lightweight profile, RFC 9919). It decides
// nothing: who answers what is the caller's. golang.org/x/crypto/ocsp knows one
// certificate a request, no nonces, and times to the minute.
package ocsp

import (
	"crypto"
	_ "crypto/sha1" // CertIDs are SHA-1 in most clients; it names a key here and protects nothing
	_ "crypto/sha256"
	_ "crypto/sha512"
	encodingasn1 "encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte" // reads and builds DER without hand-counted lengths
	"golang.org/x/crypto/cryptobyte/asn1"
)

const (
	// MaxRequest is the longest request in octets that is read.
	MaxRequest = 8 << 10
	// MaxCertificates is how many certificates one request may ask for.
	MaxCertificates = 32
	// MaxNonce is the longest nonce that is not malformed (RFC 9654, section 2.1).
	MaxNonce = 128
)

var (
	oidNonce         = encodingasn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}
	oidResponseTypes = encodingasn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 4} // only id-pkix-ocsp-basic exists
	oidPreferredAlgs = encodingasn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 8} // a delegated responder has one key
)

// hashes are the CertID hash algorithms whose values can be compared with an issuer. oid
// is the contents of the OBJECT IDENTIFIER: to compare those costs nothing, to decode
// them would be a good part of reading a request.
var hashes = []struct {
	hash crypto.Hash
	oid  string
}{
	{crypto.SHA1, "\x2b\x0e\x03\x02\x1a"},                   // 1.3.14.3.2.26
	{crypto.SHA256, "\x60\x86\x48\x01\x65\x03\x04\x02\x01"}, // 2.16.840.1.101.3.4.2.1
	{crypto.SHA384, "\x60\x86\x48\x01\x65\x03\x04\x02\x02"},
	{crypto.SHA512, "\x60\x86\x48\x01\x65\x03\x04\x02\x03"},
}

// Hashes returns the algorithms that a CertID may use to name an issuer.
func Hashes() []crypto.Hash {
	known := make([]crypto.Hash, len(hashes))
	for i, h := range hashes {
		known[i] = h.hash
	}
	return known
}

// CertID names a certificate (RFC 6960, section 4.1.1).
type CertID struct {
	Raw      []byte      // the DER as it was sent, to be echoed
	Hash     crypto.Hash // 0: an algorithm that is not in Hashes
	NameHash []byte      // of the issuer's Name
	KeyHash  []byte      // of the issuer's public key, without tag, length and unused bits
	Serial   []byte      // contents of the INTEGER, minimal, possibly negative
}

// Request is what a client asks. The requestor's name and signature are not kept:
// anybody may ask.
type Request struct {
	IDs   []CertID // at least one
	Nonce []byte   // 1 to MaxNonce octets, nil without one
}

// errMalformed is the beginning of every error of ParseRequest.
var errMalformed = errors.New("malformed OCSP request")

func malformed(what string) error { return fmt.Errorf("%w: %s", errMalformed, what) }

// ParseRequest reads the DER of an OCSPRequest. Whatever it refuses is to be
// answered with Malformed. The result refers to der.
func ParseRequest(der []byte) (*Request, error) {
	if len(der) > MaxRequest {
		return nil, malformed(fmt.Sprintf("%d octets; at most %d are read", len(der), MaxRequest))
	}
	input := cryptobyte.String(der)
	var outer, tbs cryptobyte.String
	if !input.ReadASN1(&outer, asn1.SEQUENCE) || !input.Empty() || !outer.ReadASN1(&tbs, asn1.SEQUENCE) {
		return nil, malformed("not one SEQUENCE with a tbsRequest")
	}
	if !outer.SkipOptionalASN1(asn1.Tag(0).ContextSpecific().Constructed()) || !outer.Empty() {
		return nil, malformed("something other than a signature follows the tbsRequest")
	}
	request := new(Request)
	if err := request.readHead(&tbs); err != nil {
		return nil, err
	}
	if err := request.readList(&tbs); err != nil {
		return nil, err
	}
	err := readExtensions(&tbs, asn1.Tag(2), func(oid encodingasn1.ObjectIdentifier, value cryptobyte.String) (bool, error) {
		switch {
		case oid.Equal(oidNonce):
			return true, request.readNonce(value)
		case oid.Equal(oidResponseTypes), oid.Equal(oidPreferredAlgs):
			return true, nil
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	if !tbs.Empty() {
		return nil, malformed("something follows the requestExtensions")
	}
	return request, nil
}

// OnlyCertID returns the CertID of a request that holds nothing else, in the shortest form
// that DER has for it, without looking into the CertID. Most requests are of this form.
func OnlyCertID(der []byte) ([]byte, bool) {
	const depth = 4 // OCSPRequest, TBSRequest, requestList, Request: a tag and an octet of length each
	if len(der) < 2*(depth+1) || len(der) > 2+0x7f {
		return nil, false
	}
	for at := 0; at <= 2*depth; at += 2 {
		if der[at] != byte(asn1.SEQUENCE) || int(der[at+1]) != len(der)-at-2 {
			return nil, false
		}
	}
	return der[2*depth:], true
}

func (r *Request) readHead(tbs *cryptobyte.String) error {
	var version cryptobyte.String
	var present bool
	if !tbs.ReadOptionalASN1(&version, &present, asn1.Tag(0).ContextSpecific().Constructed()) {
		return malformed("version")
	}
	if present {
		var number int64
		if !version.ReadASN1Integer(&number) || !version.Empty() || number != 0 {
			return malformed("version is not 1")
		}
	}
	if !tbs.SkipOptionalASN1(asn1.Tag(1).ContextSpecific().Constructed()) {
		return malformed("requestorName")
	}
	return nil
}

func (r *Request) readList(tbs *cryptobyte.String) error {
	var list cryptobyte.String
	if !tbs.ReadASN1(&list, asn1.SEQUENCE) || list.Empty() {
		return malformed("requestList is missing or empty")
	}
	for !list.Empty() {
		if len(r.IDs) == MaxCertificates {
			return malformed(fmt.Sprintf("more than %d certificates", MaxCertificates))
		}
		var single cryptobyte.String
		if !list.ReadASN1(&single, asn1.SEQUENCE) {
			return malformed("Request")
		}
		id, err := readCertID(&single)
		if err != nil {
			return err
		}
		err = readExtensions(&single, asn1.Tag(0), func(encodingasn1.ObjectIdentifier, cryptobyte.String) (bool, error) {
			return false, nil // the only one that is defined routes requests, which is not done here
		})
		if err != nil {
			return err
		}
		if !single.Empty() {
			return malformed("something follows the singleRequestExtensions")
		}
		r.IDs = append(r.IDs, id)
	}
	return nil
}

func readCertID(single *cryptobyte.String) (CertID, error) {
	var element, fields, algorithm, oid, serial cryptobyte.String
	var id CertID
	if !single.ReadASN1Element(&element, asn1.SEQUENCE) {
		return id, malformed("CertID")
	}
	id.Raw = element
	if !element.ReadASN1(&fields, asn1.SEQUENCE) ||
		!fields.ReadASN1(&algorithm, asn1.SEQUENCE) ||
		!algorithm.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) || !wellFormedOID(oid) ||
		!fields.ReadASN1((*cryptobyte.String)(&id.NameHash), asn1.OCTET_STRING) ||
		!fields.ReadASN1((*cryptobyte.String)(&id.KeyHash), asn1.OCTET_STRING) ||
		!fields.ReadASN1(&serial, asn1.INTEGER) || !fields.Empty() {
		return id, malformed("CertID")
	}
	// Parameters are NULL, absent, or unknown to us; the CertID is echoed as it is.
	var parameters cryptobyte.String
	var tag asn1.Tag
	if !algorithm.Empty() && (!algorithm.ReadAnyASN1(&parameters, &tag) || !algorithm.Empty()) {
		return id, malformed("hashAlgorithm")
	}
	if !minimal(serial) {
		return id, malformed("serialNumber is not a DER INTEGER")
	}
	id.Serial = serial
	for _, known := range hashes {
		if string(oid) == known.oid {
			id.Hash = known.hash
		}
	}
	return id, nil
}

// wellFormedOID reports whether contents are those of an OBJECT IDENTIFIER: whole arcs,
// without leading zeros (X.690, section 8.19).
func wellFormedOID(contents []byte) bool {
	begins := true
	for _, octet := range contents {
		if begins && octet == 0x80 {
			return false
		}
		begins = octet&0x80 == 0
	}
	return begins && len(contents) > 0
}

// minimal reports whether contents are those of a DER INTEGER.
func minimal(contents []byte) bool {
	switch {
	case len(contents) == 0:
		return false
	case len(contents) == 1:
		return true
	case contents[0] == 0:
		return contents[1]&0x80 != 0
	case contents[0] == 0xff:
		return contents[1]&0x80 == 0
	}
	return true
}

// Marshal returns the DER of the request: unsigned, without a requestor's name.
func (r *Request) Marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, id := range r.IDs {
					b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(id.Raw) })
				}
			})
			addNonce(b, asn1.Tag(2), r.Nonce)
		})
	})
	return b.Bytes()
}
