package issuer

import (
	"net/netip"

	"github.com/handfast/handfast/certs"
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
	encode := func(into *[]byte, write func(*der)) {
		d := newDER(0)
		write(d)
		octets, failed := d.bytes()
		if failed != nil && err == nil {
			err = failed
		}
		*into = octets
	}
	encode(&parts.head, func(d *der) {
		d.add(p.issuer.signer.algorithm...)
		d.add(p.issuer.cert.RawSubject...)
	})
	encode(&parts.uses, p.writeUses)
	encode(&parts.mid, func(d *der) { p.writeAuthority(d, p.endpoints.OCSP) })
	encode(&parts.tail, func(d *der) {
		if p.config.MustStaple {
			writeExtension(d, oidTLSFeature, false, writeStatusRequest)
		}
		if p.config.OCSPSigning {
			writeNull(d, oidNoCheck)
		}
	})
	if p.config.NoRevAvailBelow > 0 {
		encode(&parts.shortMid, func(d *der) { p.writeAuthority(d, "") })
		encode(&parts.shortTail, func(d *der) { writeNull(d, oidNoRevAvail) })
	}
	return parts, err
}

// writeStatusRequest writes Features with status_request alone (RFC 7633, section 6).
func writeStatusRequest(d *der) {
	d.element(asn1.SEQUENCE, func(d *der) { d.add(byte(asn1.INTEGER), 1, 5) })
}

// writeNull writes an extension that says all by being there.
func writeNull(d *der, oid string) {
	writeExtension(d, oid, false, func(d *der) { d.element(asn1.NULL, nothing) })
}

func (p *Profile) writeUses(d *der) {
	writeExtension(d, oidKeyUsage, true, func(d *der) {
		// digitalSignature alone: TLS 1.3 signs and never encrypts to a key.
		d.add(byte(asn1.BIT_STRING), 2, 7, 0x80)
	})
	writeExtension(d, oidExtKeyUsage, false, func(d *der) {
		d.element(asn1.SEQUENCE, func(d *der) {
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
					d.value(asn1.OBJECT_IDENTIFIER, use.oid)
				}
			}
		})
	})
	writeExtension(d, oidBasicConstraints, true, func(d *der) { d.element(asn1.SEQUENCE, nothing) })
}

func (p *Profile) writeAuthority(d *der, ocsp string) {
	writeExtension(d, oidAuthorityKeyID, false, func(d *der) {
		d.element(asn1.SEQUENCE, func(d *der) {
			d.element(asn1.Tag(0).ContextSpecific(), func(d *der) { d.add(p.issuer.cert.SubjectKeyId...) })
		})
	})
	if ocsp == "" && p.endpoints.CAIssuers == "" {
		return
	}
	writeExtension(d, oidAuthorityInfo, false, func(d *der) {
		d.element(asn1.SEQUENCE, func(d *der) {
			writeAccess(d, oidAccessOCSP, ocsp)
			writeAccess(d, oidAccessCAIssuers, p.endpoints.CAIssuers)
		})
	})
}

func writeAccess(d *der, method, url string) {
	if url == "" {
		return
	}
	d.element(asn1.SEQUENCE, func(d *der) {
		d.value(asn1.OBJECT_IDENTIFIER, method)
		d.value(nameURI, url)
	})
}

// encode writes a TBSCertificate (RFC 5280, section 4.1).
func (p *Profile) encode(s Subject, serial certs.Serial, octets []byte, life validity) ([]byte, error) {
	d := newDER(1024)
	d.element(asn1.SEQUENCE, func(d *der) {
		d.add(0xa0, 3, byte(asn1.INTEGER), 1, 2) // [0] version 3
		d.element(asn1.INTEGER, func(d *der) { d.add(octets...) })
		d.add(p.parts.head...)
		d.element(asn1.SEQUENCE, func(d *der) {
			d.time(life.notBefore)
			d.time(life.notAfter)
		})
		writeSubject(d, s.ID.Path())
		d.add(s.Key.spki...)
		d.element(asn1.Tag(3).ContextSpecific().Constructed(), func(d *der) {
			d.element(asn1.SEQUENCE, func(d *der) { p.writeExtensions(d, s, serial, life.short) })
		})
	})
	return d.bytes()
}

// writeExtensions leaves out every pointer to revocation information when short: RFC 9608,
// section 4, forbids CRL distribution points, freshest CRLs and OCSP beside noRevAvail.
func (p *Profile) writeExtensions(d *der, s Subject, serial certs.Serial, short bool) {
	mid, tail := p.parts.mid, p.parts.tail
	if short {
		mid, tail = p.parts.shortMid, p.parts.shortTail
	}
	d.add(p.parts.uses...)
	writeExtension(d, oidSubjectKeyID, false, func(d *der) {
		d.element(asn1.OCTET_STRING, func(d *der) { d.add(s.Key.keyID[:]...) })
	})
	d.add(mid...)
	// RFC 5280, section 4.2.1.6: critical where the subject is empty.
	writeExtension(d, oidSubjectAltName, !hasCommonName(s.ID.Path()), func(d *der) { writeNames(d, s) })
	if p.endpoints.CRL != nil && !short {
		writePoint(d, oidCRLPoints, p.endpoints.CRL(serial))
	}
	if p.endpoints.FreshestCRL != nil && !short {
		writePoint(d, oidFreshestCRL, p.endpoints.FreshestCRL(serial))
	}
	d.add(tail...)
}

// GeneralName's choices (RFC 5280, section 4.2.1.6).
const (
	nameDNS = asn1.Tag(2 | 0x80)
	nameURI = asn1.Tag(6 | 0x80)
	nameIP  = asn1.Tag(7 | 0x80)
)

func writeNames(d *der, s Subject) {
	d.element(asn1.SEQUENCE, func(d *der) {
		for _, name := range s.DNSNames {
			d.value(nameDNS, name)
		}
		for _, ip := range s.IPs {
			d.element(nameIP, func(d *der) { writeAddress(d, ip) })
		}
		d.value(nameURI, s.ID.String())
	})
}

func writeAddress(d *der, ip netip.Addr) {
	if ip.Is4() {
		octets := ip.As4()
		d.add(octets[:]...)
		return
	}
	octets := ip.As16()
	d.add(octets[:]...)
}

// writePoint writes a CRLDistributionPoints (or FreshestCRL) with one URL.
func writePoint(d *der, oid, url string) {
	zero := asn1.Tag(0).ContextSpecific().Constructed()
	writeExtension(d, oid, false, func(d *der) {
		d.element(asn1.SEQUENCE, func(d *der) {
			d.element(asn1.SEQUENCE, func(d *der) {
				d.element(zero, func(d *der) { // distributionPoint
					d.element(zero, func(d *der) { d.value(nameURI, url) }) // fullName
				})
			})
		})
	})
}

// hasCommonName: a path that fits is also the subject, for people and old tools; a
// longer one leaves the subject empty, as RFC 5280 allows.
func hasCommonName(path string) bool { return len(path) <= maxCommonName }

func writeSubject(d *der, path string) {
	if !hasCommonName(path) {
		d.element(asn1.SEQUENCE, nothing)
		return
	}
	kind := asn1.PrintableString
	for i := range len(path) {
		if path[i] == '_' { // the one character of a path that PrintableString lacks
			kind = asn1.UTF8String
		}
	}
	d.element(asn1.SEQUENCE, func(d *der) {
		d.element(asn1.SET, func(d *der) {
			d.element(asn1.SEQUENCE, func(d *der) {
				d.value(asn1.OBJECT_IDENTIFIER, oidCommonName)
				d.value(kind, path)
			})
		})
	})
}

func writeExtension(d *der, oid string, critical bool, value func(*der)) {
	d.element(asn1.SEQUENCE, func(d *der) {
		d.value(asn1.OBJECT_IDENTIFIER, oid)
		if critical {
			d.add(byte(asn1.BOOLEAN), 1, 0xff)
		}
		d.element(asn1.OCTET_STRING, value)
	})
}

func nothing(*der) {}
