package certs

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

// FuzzParseStaple: what is read is put together again to the same octets, so nothing hides between
// or behind what was looked at.
func FuzzParseStaple(f *testing.F) {
	w := newWorld(f, time.Now().Truncate(time.Second))
	leaf, responder := w.issuer.leaf("spiffe://prod.test/web").Leaf, w.issuer.responder()
	f.Add(w.issuer.staple(responder, leaf))
	f.Add(w.issuer.staple(responder, leaf, func(p *stapleParts) { p.certificates = nil }))
	f.Add(w.issuer.staple(responder, leaf, func(p *stapleParts) { p.certStatus = revokedStatus(w.now, KeyCompromise) }))
	f.Add([]byte{0x30, 3, tagEnumerated, 1, 3})
	f.Fuzz(func(t *testing.T, response []byte) {
		r, err := parseStaple(response)
		if err != nil {
			return
		}
		if len(response) > MaxStapleSize || r.nextUpdate.Before(r.thisUpdate) || len(r.certificates) > maxResponderCertificates ||
			(r.responderName == nil) == (r.responderKey == nil) || r.status > ocspUnknown || r.hash == 0 {
			t.Fatalf("%+v should not have been read", r)
		}
		if !slices.ContainsFunc(rebuild(r), func(same []byte) bool { return bytes.Equal(same, response) }) {
			t.Fatalf("something of %x was not looked at", response)
		}
	})
}

// rebuild returns the encodings that r may have had: no certificates are none, or an empty list.
func rebuild(r *ocspResponse) (all [][]byte) {
	lists := [][]byte{tlv(tagContext0, tlv(tagSequence, r.certificates...))}
	if len(r.certificates) == 0 {
		lists = append(lists, nil)
	}
	for algorithm, known := range signatureAlgorithms {
		if known != r.algorithm {
			continue
		}
		for _, list := range lists {
			basic := tlv(tagSequence, r.tbs, []byte(algorithm), tlv(tagBitString, []byte{0}, r.signature), list)
			all = append(all, tlv(tagSequence, []byte{tagEnumerated, 1, 0}, tlv(tagContext0, tlv(tagSequence, tlv(tagObjectID, []byte(oidBasicResponse)), tlv(tagOctetString, basic)))))
		}
	}
	return all
}

// FuzzCheckStaple: no change of a good response makes anything else believed than what was signed.
func FuzzCheckStaple(f *testing.F) {
	w := newWorld(f, time.Now().Truncate(time.Second))
	leaf := w.issuer.leaf("spiffe://prod.test/web").Leaf
	good := w.issuer.staple(w.issuer.responder(), leaf)
	signed, err := parseStaple(good)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := CheckStaple(good, leaf, w.issuer.cert, w.now); err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), uint16(0), []byte(nil))
	f.Add(uint16(40), uint16(1), []byte{0x80})                     // another octet
	f.Add(uint16(100), uint16(0), []byte{5, 0})                    // two more
	f.Add(uint16(len(good)-9), uint16(9), []byte(nil))             // cut off
	f.Add(uint16(0), uint16(len(good)), []byte{0x30, 3, 10, 1, 3}) // another response
	f.Fuzz(func(t *testing.T, at, drop uint16, insert []byte) {
		from := int(at) % (len(good) + 1)
		to := min(from+int(drop), len(good))
		response := slices.Concat(good[:from], insert, good[to:])
		staple, err := CheckStaple(response, leaf, w.issuer.cert, w.now)
		if err != nil {
			return
		}
		parsed, err := parseStaple(response)
		if err != nil || !bytes.Equal(parsed.tbs, signed.tbs) || !staple.NextUpdate.Equal(signed.nextUpdate) {
			t.Fatalf("a response that nobody signed is believed: %x", response)
		}
	})
}
