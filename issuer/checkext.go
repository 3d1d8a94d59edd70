package issuer

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// wantedExtension is one extension that a certificate must carry.
type wantedExtension struct {
	name     string
	oid      string
	critical bool
	inspect  func(*Draft, cryptobyte.String) error
}

// wanted appends all extensions that the certificate must carry, in their order; any other is an error.
func (d *Draft) wanted(emptySubject bool, list []wantedExtension) []wantedExtension {
	e, c := d.announced(), &d.profile.config
	list = append(list,
		wantedExtension{"key usage", oidKeyUsage, true, (*Draft).inspectKeyUsage},
		wantedExtension{"extended key usage", oidExtKeyUsage, false, (*Draft).inspectExtKeyUsage},
		wantedExtension{"basic constraints", oidBasicConstraints, true, (*Draft).inspectConstraints},
		wantedExtension{"subject key identifier", oidSubjectKeyID, false, (*Draft).inspectSubjectKeyID},
		wantedExtension{"authority key identifier", oidAuthorityKeyID, false, (*Draft).inspectAuthorityKeyID},
	)
	if e.OCSP != "" || e.CAIssuers != "" {
		list = append(list, wantedExtension{"authority information access", oidAuthorityInfo, false, (*Draft).inspectAuthorityInfo})
	}
	list = append(list, wantedExtension{"subject alternative name", oidSubjectAltName, emptySubject, (*Draft).inspectNames})
	if e.CRL != nil {
		list = append(list, wantedExtension{"CRL distribution points", oidCRLPoints, false, (*Draft).inspectCRLPoint})
	}
	if e.FreshestCRL != nil {
		list = append(list, wantedExtension{"freshest CRL", oidFreshestCRL, false, (*Draft).inspectFreshest})
	}
	if c.MustStaple {
		list = append(list, wantedExtension{"TLS feature", oidTLSFeature, false, (*Draft).inspectFeatures})
	}
	if d.withoutRevocation() {
		list = append(list, wantedExtension{"no revocation available", oidNoRevAvail, false, (*Draft).inspectNull})
	}
	if c.OCSPSigning {
		list = append(list, wantedExtension{"OCSP no check", oidNoCheck, false, (*Draft).inspectNull})
	}
	return list
}

// withoutRevocation reports whether the certificate has to say that there is no
// revocation information: by what is left of its life, whatever the encoder thought of it.
func (d *Draft) withoutRevocation() bool {
	return d.life.notAfter.Sub(d.now.Truncate(time.Second)) < d.profile.config.NoRevAvailBelow
}

// announced returns the URLs that the certificate has to carry.
func (d *Draft) announced() Endpoints {
	e := d.profile.endpoints
	if d.withoutRevocation() {
		e.OCSP, e.CRL, e.FreshestCRL = "", nil, nil // RFC 9608, section 4
	}
	return e
}

// inspectExtensions demands exactly the wanted extensions, each once and in that order.
func (d *Draft) inspectExtensions(s cryptobyte.String, emptySubject bool) error {
	var room [11]wantedExtension
	for _, want := range d.wanted(emptySubject, room[:0]) {
		if s.Empty() {
			return fmt.Errorf("%s is missing", want.name)
		}
		var extension, oid, value cryptobyte.String
		critical := false
		if !s.ReadASN1(&extension, asn1.SEQUENCE) ||
			!extension.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) ||
			extension.PeekASN1Tag(asn1.BOOLEAN) && (!extension.ReadASN1Boolean(&critical) || !critical) ||
			!extension.ReadASN1(&value, asn1.OCTET_STRING) || !extension.Empty() {
			return errors.New("an extension is malformed")
		}
		switch {
		case string(oid) != want.oid:
			return fmt.Errorf("extension %x stands where %s belongs", []byte(oid), want.name)
		case critical != want.critical:
			return fmt.Errorf("%s: critical is %t instead of %t", want.name, critical, want.critical)
		}
		if err := want.inspect(d, value); err != nil {
			return fmt.Errorf("%s: %w", want.name, err)
		}
	}
	if !s.Empty() {
		return errors.New("there is an extension that is not one of the profile's, or one comes twice")
	}
	return nil
}

func (d *Draft) inspectKeyUsage(v cryptobyte.String) error {
	if string(v) != "\x03\x02\x07\x80" {
		return errors.New("it is not digitalSignature alone")
	}
	return nil
}

func (d *Draft) inspectExtKeyUsage(v cryptobyte.String) error {
	var list cryptobyte.String
	if !v.ReadASN1(&list, asn1.SEQUENCE) || !v.Empty() {
		return errMalformed
	}
	c := &d.profile.config
	for _, use := range [...]struct {
		allowed bool
		oid     string
	}{{c.ServerAuth, oidServerAuth}, {c.ClientAuth, oidClientAuth}, {c.OCSPSigning, oidOCSPSigning}, {c.DocumentSigning, oidDocumentSigning}} {
		if !use.allowed {
			continue
		}
		var oid cryptobyte.String
		if !list.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) || string(oid) != use.oid {
			return errors.New("the uses are not the profile's")
		}
	}
	if !list.Empty() {
		return errors.New("there are more uses than the profile's")
	}
	return nil
}

func (d *Draft) inspectConstraints(v cryptobyte.String) error {
	// CA FALSE is the default, so DER leaves the sequence empty.
	if string(v) != "\x30\x00" {
		return errors.New("it is not that of an end entity")
	}
	return nil
}

func (d *Draft) inspectSubjectKeyID(v cryptobyte.String) error {
	// The last element of a SubjectPublicKeyInfo is the key's BIT STRING; its length follows from the kind of key.
	var id, info, algorithm cryptobyte.String
	var bits []byte
	spki := cryptobyte.String(d.subject.Key.spki)
	if !v.ReadASN1(&id, asn1.OCTET_STRING) || !v.Empty() ||
		!spki.ReadASN1(&info, asn1.SEQUENCE) || !info.ReadASN1(&algorithm, asn1.SEQUENCE) ||
		!info.ReadASN1BitStringAsBytes(&bits) {
		return errMalformed
	}
	if sum := sha256.Sum256(bits); !bytes.Equal(id, sum[:20]) {
		return errors.New("it is not that of the key (RFC 7093, section 2, method 1)")
	}
	return nil
}

func (d *Draft) inspectAuthorityKeyID(v cryptobyte.String) error {
	var sequence, id cryptobyte.String
	if !v.ReadASN1(&sequence, asn1.SEQUENCE) || !v.Empty() ||
		!sequence.ReadASN1(&id, asn1.Tag(0).ContextSpecific()) || !sequence.Empty() {
		return errMalformed
	}
	if !bytes.Equal(id, d.profile.issuer.cert.SubjectKeyId) {
		return errors.New("it is not the issuer's")
	}
	return nil
}

func (d *Draft) inspectFeatures(v cryptobyte.String) error {
	if string(v) != "\x30\x03\x02\x01\x05" {
		return errors.New("it is not status_request alone")
	}
	return nil
}

func (d *Draft) inspectNull(v cryptobyte.String) error {
	if string(v) != "\x05\x00" {
		return errors.New("it is not NULL")
	}
	return nil
}
