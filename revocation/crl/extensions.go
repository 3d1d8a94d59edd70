package crl

import (
	encodingasn1 "encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// The extensions of a CRL (RFC 5280, section 5.2).
var (
	oidAuthorityKeyID   = encodingasn1.ObjectIdentifier{2, 5, 29, 35}
	oidNumber           = encodingasn1.ObjectIdentifier{2, 5, 29, 20}
	oidDeltaIndicator   = encodingasn1.ObjectIdentifier{2, 5, 29, 27}
	oidDistributionPart = encodingasn1.ObjectIdentifier{2, 5, 29, 28}
	oidFreshest         = encodingasn1.ObjectIdentifier{2, 5, 29, 46}
)

var (
	tagExtensions = asn1.Tag(0).ContextSpecific().Constructed()
	tagKeyID      = asn1.Tag(0).ContextSpecific()
	tagPoint      = asn1.Tag(0).ContextSpecific().Constructed() // distributionPoint
	tagFullName   = asn1.Tag(0).ContextSpecific().Constructed()
	tagURI        = asn1.Tag(6).ContextSpecific()
)

// extensions is the TBSCertList behind revokedCertificates.
func (t Template) extensions() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(tagExtensions, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addExtension(b, oidAuthorityKeyID, false, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(tagKeyID, func(b *cryptobyte.Builder) { b.AddBytes(t.AuthorityKeyID) })
				})
			})
			addExtension(b, oidNumber, false, func(b *cryptobyte.Builder) { b.AddASN1Uint64(t.Number) })
			if t.Delta {
				addExtension(b, oidDeltaIndicator, true, func(b *cryptobyte.Builder) { b.AddASN1Uint64(t.Base) })
			}
			if t.DistributionPoint != "" {
				addExtension(b, oidDistributionPart, true, func(b *cryptobyte.Builder) { addPoint(b, t.DistributionPoint) })
			}
			if t.Freshest != "" && !t.Delta {
				addExtension(b, oidFreshest, false, func(b *cryptobyte.Builder) {
					b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { addPoint(b, t.Freshest) })
				})
			}
		})
	})
	return b.Bytes()
}

// addPoint adds a SEQUENCE whose first field is a distributionPoint with one URL:
// a DistributionPoint and an IssuingDistributionPoint begin alike.
func addPoint(b *cryptobyte.Builder, url string) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(tagPoint, func(b *cryptobyte.Builder) {
			b.AddASN1(tagFullName, func(b *cryptobyte.Builder) {
				b.AddASN1(tagURI, func(b *cryptobyte.Builder) { b.AddBytes([]byte(url)) })
			})
		})
	})
}

func addExtension(b *cryptobyte.Builder, oid encodingasn1.ObjectIdentifier, critical bool, value func(*cryptobyte.Builder)) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		if critical {
			b.AddASN1Boolean(true)
		}
		b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) { value(b) })
	})
}
