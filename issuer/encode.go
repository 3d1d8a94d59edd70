package issuer

import (
	"net/netip"
	"time"

	"github.com/handfast/handfast/certs"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// This file writes certificates; check.go reads them again and shares no code with it.
// The order of the extensions is that of crypto/x509, which tests compare with byte by byte.

// constantParts are the parts of a TBSCertificate that a profile's certificates share, DER.
type constantParts struct {
	head []byte // signature algorithm and issuer
	uses []byte // keyUsage, extKeyUsage, basicConstraints
	mid  []byte // authorityKeyIdentifier, authorityInfoAccess
	tail []byte // the TLS feature extension, id-pkix-ocsp-nocheck

	// In place of mid and tail where nothing about revocation is to be had (RFC 9608).
	shortMid, shortTail []byte
}

func (p *Profile) encodeConstantParts() (constantParts, error) {
	var parts constantParts
	var err error
	encode := func(into *[]byte, write func(*cryptobyte.Builder)) {
		var b cryptobyte.Builder
		write(&b)
		der, failed := b.Bytes()
		if failed != nil && err == nil {
			err = failed
		}
		*into = der
	}
	encode(&parts.head, func(b *cryptobyte.Builder) {
		b.AddBytes(p.issuer.signer.algorithm)
		b.AddBytes(p.issuer.cert.RawSubject)
	})
	encode(&parts.uses, p.writeUses)
	encode(&parts.mid, func(b *cryptobyte.Builder) { p.writeAuthority(b, p.endpoints.OCSP) })
	encode(&parts.tail, func(b *cryptobyte.Builder) {
		if p.config.MustStaple {
			writeExtension(b, oidTLSFeature, false, writeStatusRequest)
		}
		if p.config.OCSPSigning {
			writeNull(b, oidNoCheck)
		}
	})
	if p.config.NoRevAvailBelow > 0 {
		encode(&parts.shortMid, func(b *cryptobyte.Builder) { p.writeAuthority(b, "") })
		encode(&parts.shortTail, func(b *cryptobyte.Builder) { writeNull(b, oidNoRevAvail) })
	}
	return parts, err
}

// writeStatusRequest writes Features with status_request alone (RFC 7633, section 6).
func writeStatusRequest(b *cryptobyte.Builder) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1Int64(5) })
}

// writeNull writes an extension that says all by being there.
func writeNull(b *cryptobyte.Builder, oid string) {
	writeExtension(b, oid, false, func(b *cryptobyte.Builder) { b.AddASN1(asn1.NULL, nothing) })
}

func (p *Profile) writeUses(b *cryptobyte.Builder) {
	writeExtension(b, oidKeyUsage, true, func(b *cryptobyte.Builder) {
		// digitalSignature alone: TLS 1.3 signs and never encrypts to a key.
		b.AddBytes([]byte{byte(asn1.BIT_STRING), 2, 7, 0x80})
	})
	writeExtension(b, oidExtKeyUsage, false, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, use := range []struct {
				wanted bool
				oid    string
			}{
				{p.config.ServerAuth, oidServerAuth},
				{p.config.ClientAuth, oidClientAuth},
				{p.config.OCSPSigning, oidOCSPSigning},
				{p.config.DocumentSigning, oidDocumentSigning},
			} {
				if use.wanted {
					writeString(b, asn1.OBJECT_IDENTIFIER, use.oid)
				}
			}
		})
	})
	writeExtension(b, oidBasicConstraints, true, func(b *cryptobyte.Builder) { b.AddASN1(asn1.SEQUENCE, nothing) })
}

func (p *Profile) writeAuthority(b *cryptobyte.Builder, ocsp string) {
	writeExtension(b, oidAuthorityKeyID, false, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(p.issuer.cert.SubjectKeyId) })
		})
	})
	if ocsp == "" && p.endpoints.CAIssuers == "" {
		return
	}
	writeExtension(b, oidAuthorityInfo, false, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			writeAccess(b, oidAccessOCSP, ocsp)
			writeAccess(b, oidAccessCAIssuers, p.endpoints.CAIssuers)
		})
	})
}

func writeAccess(b *cryptobyte.Builder, method, url string) {
	if url == "" {
		return
	}
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		writeString(b, asn1.OBJECT_IDENTIFIER, method)
		writeString(b, nameURI, url)
	})
}

// encode writes a TBSCertificate (RFC 5280, section 4.1).
func (p *Profile) encode(s Subject, serial certs.Serial, octets []byte, life validity) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 1024))
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes([]byte{0xa0, 3, byte(asn1.INTEGER), 1, 2}) // [0] version 3
		b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(octets) })
		b.AddBytes(p.parts.head)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			writeTime(b, life.notBefore)
			writeTime(b, life.notAfter)
		})
		writeSubject(b, s.ID.Path())
		b.AddBytes(s.Key.spki)
		b.AddASN1(asn1.Tag(3).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { p.writeExtensions(b, s, serial, life.short) })
		})
	})
	return b.Bytes()
}

// writeExtensions leaves out every pointer to revocation information when short: RFC 9608,
// section 4, forbids CRL distribution points, freshest CRLs and OCSP beside noRevAvail.
func (p *Profile) writeExtensions(b *cryptobyte.Builder, s Subject, serial certs.Serial, short bool) {
	mid, tail := p.parts.mid, p.parts.tail
	if short {
		mid, tail = p.parts.shortMid, p.parts.shortTail
	}
	b.AddBytes(p.parts.uses)
	writeExtension(b, oidSubjectKeyID, false, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddBytes(s.Key.keyID[:]) })
	})
	b.AddBytes(mid)
	// RFC 5280, section 4.2.1.6: critical where the subject is empty.
	writeExtension(b, oidSubjectAltName, !hasCommonName(s.ID.Path()), func(b *cryptobyte.Builder) { writeNames(b, s) })
	if p.endpoints.CRL != nil && !short {
		writePoint(b, oidCRLPoints, p.endpoints.CRL(serial))
	}
	if p.endpoints.FreshestCRL != nil && !short {
		writePoint(b, oidFreshestCRL, p.endpoints.FreshestCRL(serial))
	}
	b.AddBytes(tail)
}

// GeneralName's choices (RFC 5280, section 4.2.1.6).
const (
	nameDNS = asn1.Tag(2 | 0x80)
	nameURI = asn1.Tag(6 | 0x80)
	nameIP  = asn1.Tag(7 | 0x80)
)

func writeNames(b *cryptobyte.Builder, s Subject) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, name := range s.DNSNames {
			writeString(b, nameDNS, name)
		}
		for _, ip := range s.IPs {
			b.AddASN1(nameIP, func(b *cryptobyte.Builder) { writeAddress(b, ip) })
		}
		writeString(b, nameURI, s.ID.String())
	})
}

func writeAddress(b *cryptobyte.Builder, ip netip.Addr) {
	if ip.Is4() {
		octets := ip.As4()
		b.AddBytes(octets[:])
		return
	}
	octets := ip.As16()
	b.AddBytes(octets[:])
}

// writePoint writes a CRLDistributionPoints (or FreshestCRL) with one URL.
func writePoint(b *cryptobyte.Builder, oid, url string) {
	zero := asn1.Tag(0).ContextSpecific().Constructed()
	writeExtension(b, oid, false, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(zero, func(b *cryptobyte.Builder) { // distributionPoint
					b.AddASN1(zero, func(b *cryptobyte.Builder) { writeString(b, nameURI, url) }) // fullName
				})
			})
		})
	})
}

// hasCommonName: a path that fits is also the subject, for people and old tools; a
// longer one leaves the subject empty, as RFC 5280 allows.
func hasCommonName(path string) bool { return len(path) <= maxCommonName }

func writeSubject(b *cryptobyte.Builder, path string) {
	if !hasCommonName(path) {
		b.AddASN1(asn1.SEQUENCE, nothing)
		return
	}
	kind := asn1.PrintableString
	for i := range len(path) {
		if path[i] == '_' { // the one character of a path that PrintableString lacks
			kind = asn1.UTF8String
		}
	}
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				writeString(b, asn1.OBJECT_IDENTIFIER, oidCommonName)
				writeString(b, kind, path)
			})
		})
	})
}

// writeTime writes UTCTime until 2049 and GeneralizedTime from then on (RFC 5280, section 4.1.2.5).
func writeTime(b *cryptobyte.Builder, t time.Time) {
	if t.Year() < 2050 {
		b.AddASN1UTCTime(t)
		return
	}
	b.AddASN1GeneralizedTime(t)
}

func writeExtension(b *cryptobyte.Builder, oid string, critical bool, value func(*cryptobyte.Builder)) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		writeString(b, asn1.OBJECT_IDENTIFIER, oid)
		if critical {
			b.AddASN1Boolean(true)
		}
		b.AddASN1(asn1.OCTET_STRING, value)
	})
}

func writeString(b *cryptobyte.Builder, tag asn1.Tag, s string) {
	b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
}

func nothing(*cryptobyte.Builder) {}
