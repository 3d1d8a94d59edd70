package ocsp

import (
	"bytes"
	encodingasn1 "encoding/asn1"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// readExtensions reads optional Extensions under an explicit tag. understand says whether
// it knows an extension; one that is critical and not known is an error (RFC 6960,
// section 4.4), and so is one that comes twice (RFC 5280, section 4.2).
func readExtensions(from *cryptobyte.String, tag asn1.Tag, understand func(encodingasn1.ObjectIdentifier, cryptobyte.String) (bool, error)) error {
	var wrapped, list cryptobyte.String
	var present bool
	if !from.ReadOptionalASN1(&wrapped, &present, tag.ContextSpecific().Constructed()) {
		return malformed("extensions")
	}
	if !present {
		return nil
	}
	if !wrapped.ReadASN1(&list, asn1.SEQUENCE) || !wrapped.Empty() {
		return malformed("extensions")
	}
	var seen [][]byte
	for !list.Empty() {
		var extension, value, name cryptobyte.String
		var oid encodingasn1.ObjectIdentifier
		var critical bool
		if !list.ReadASN1(&extension, asn1.SEQUENCE) || len(seen) == 16 {
			return malformed("extensions")
		}
		peek := extension
		if !peek.ReadASN1Element(&name, asn1.OBJECT_IDENTIFIER) ||
			!extension.ReadASN1ObjectIdentifier(&oid) ||
			extension.PeekASN1Tag(asn1.BOOLEAN) && !extension.ReadASN1Boolean(&critical) ||
			!extension.ReadASN1(&value, asn1.OCTET_STRING) || !extension.Empty() {
			return malformed("extension")
		}
		for _, other := range seen {
			if bytes.Equal(other, name) {
				return malformed(fmt.Sprintf("extension %v comes twice", oid))
			}
		}
		seen = append(seen, name)
		known, err := understand(oid, value)
		if err != nil {
			return err
		}
		if critical && !known {
			return malformed(fmt.Sprintf("extension %v is critical and unknown", oid))
		}
	}
	return nil
}

func (r *Request) readNonce(value cryptobyte.String) error {
	var nonce cryptobyte.String
	if !value.ReadASN1(&nonce, asn1.OCTET_STRING) || !value.Empty() {
		return malformed("nonce is not an OCTET STRING")
	}
	if len(nonce) == 0 || len(nonce) > MaxNonce {
		return malformed(fmt.Sprintf("nonce of %d octets; 1 to %d are read", len(nonce), MaxNonce))
	}
	r.Nonce = nonce
	return nil
}

// addNonce adds Extensions that hold the nonce, or nothing without one.
func addNonce(b *cryptobyte.Builder, tag asn1.Tag, nonce []byte) {
	if nonce == nil {
		return
	}
	b.AddASN1(tag.ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidNonce)
				b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddASN1OctetString(nonce) })
			})
		})
	})
}
