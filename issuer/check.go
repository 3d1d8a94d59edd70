package issuer

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Check reads the very bytes that would be signed and compares what it finds with the
// profile, the subject and the issuer. It shares no code with the encoder, so one
// mistake is not made twice. It may be called once; a second call is ErrUsed.
//
// An error means a fault of this program (or a hostile Endpoints function), not of the
// subject: nothing was signed, and repeating does not help.
func (d Draft) Check() (Checked, error) {
	if d.profile == nil || d.steps == nil {
		return Checked{}, fmt.Errorf("check draft: the zero draft %w", ErrUnchecked)
	}
	if d.steps.checked.Swap(true) {
		return Checked{}, fmt.Errorf("check draft: %w", ErrUsed)
	}
	if err := d.inspect(); err != nil {
		return Checked{}, fmt.Errorf("check draft: %w", err)
	}
	if d.profile.config.LintEach {
		if err := d.lint(); err != nil {
			return Checked{}, fmt.Errorf("check draft: %w", err)
		}
	}
	return Checked{draft: &d}, nil
}

// inspect walks the TBSCertificate from front to back.
func (d *Draft) inspect() error {
	input := cryptobyte.String(d.tbs)
	var tbs, version, serial, algorithm, issuer, validity, subject, key, wrapped, extensions cryptobyte.String
	explicit := func(n uint8) asn1.Tag { return asn1.Tag(n).ContextSpecific().Constructed() }
	if !input.ReadASN1(&tbs, asn1.SEQUENCE) || !input.Empty() ||
		!tbs.ReadASN1(&version, explicit(0)) ||
		!tbs.ReadASN1(&serial, asn1.INTEGER) ||
		!tbs.ReadASN1Element(&algorithm, asn1.SEQUENCE) ||
		!tbs.ReadASN1Element(&issuer, asn1.SEQUENCE) ||
		!tbs.ReadASN1(&validity, asn1.SEQUENCE) ||
		!tbs.ReadASN1(&subject, asn1.SEQUENCE) ||
		!tbs.ReadASN1Element(&key, asn1.SEQUENCE) ||
		!tbs.ReadASN1(&wrapped, explicit(3)) || !tbs.Empty() ||
		!wrapped.ReadASN1(&extensions, asn1.SEQUENCE) || !wrapped.Empty() {
		return errors.New("it is not a TBSCertificate")
	}
	if string(version) != "\x02\x01\x02" {
		return errors.New("version is not 3")
	}
	if !bytes.Equal(algorithm, d.profile.issuer.signer.algorithm) {
		return errors.New("signature algorithm is not the issuer's")
	}
	if !bytes.Equal(issuer, d.profile.issuer.cert.RawSubject) {
		return errors.New("issuer's name is not the issuer's subject")
	}
	if !bytes.Equal(key, d.subject.Key.spki) {
		return errors.New("public key is not the one that was checked")
	}
	if !d.profile.accepts(d.subject.Key.algorithm) {
		return errors.New("the profile does not accept this kind of key")
	}
	if err := d.inspectSerial(serial); err != nil {
		return err
	}
	if err := d.inspectValidity(validity); err != nil {
		return err
	}
	hasName, err := d.inspectSubject(subject)
	if err != nil {
		return err
	}
	return d.inspectExtensions(extensions, !hasName)
}

// minSerialOctets leaves room for 120 random bits below the sign bit.
const minSerialOctets = 16

func (d *Draft) inspectSerial(serial []byte) error {
	switch {
	case len(serial) < minSerialOctets || len(serial) > 20:
		return fmt.Errorf("serial number has %d octets", len(serial))
	case serial[0]&0x80 != 0:
		return errors.New("serial number is negative")
	case serial[0] == 0 && serial[1]&0x80 == 0:
		return errors.New("serial number is not encoded in the shortest form")
	case !bytes.Equal(bytes.TrimLeft(serial, "\x00"), d.serial.Bytes()):
		return errors.New("serial number is not the draft's")
	default:
		return nil
	}
}

func (d *Draft) inspectValidity(s cryptobyte.String) error {
	var notBefore, notAfter time.Time
	if !readTime(&s, &notBefore) || !readTime(&s, &notAfter) || !s.Empty() {
		return errors.New("validity is malformed")
	}
	issuer, config := d.profile.issuer.cert, &d.profile.config
	limit := config.Lifetime
	if ttl := d.subject.TTL; ttl != 0 && ttl < limit {
		limit = ttl
	}
	switch {
	case !notBefore.Equal(d.life.notBefore) || !notAfter.Equal(d.life.notAfter):
		return errors.New("validity is not the draft's")
	case notBefore.Before(issuer.NotBefore):
		return errors.New("validity begins before the issuer's")
	case notAfter.After(issuer.NotAfter):
		return errors.New("validity ends after the issuer's")
	case notBefore.After(d.now) || !notAfter.After(d.now.Truncate(time.Second)):
		return errors.New("validity does not include now")
	case notAfter.Sub(d.now) > limit:
		return errors.New("lifetime is longer than the profile allows")
	case d.now.Sub(notBefore) >= config.Backdate+time.Second:
		return errors.New("validity is backdated further than the profile allows")
	default:
		return nil
	}
}

// readTime insists on the form that RFC 5280, section 4.1.2.5, asks for in each year.
func readTime(s *cryptobyte.String, t *time.Time) bool {
	if s.PeekASN1Tag(asn1.UTCTime) {
		return s.ReadASN1UTCTime(t)
	}
	return s.ReadASN1GeneralizedTime(t) && t.Year() >= 2050
}

// inspectSubject reports whether there is a common name.
func (d *Draft) inspectSubject(s cryptobyte.String) (bool, error) {
	path := d.subject.ID.Path()
	if s.Empty() {
		if len(path) <= 64 {
			return false, errors.New("subject is empty although the identity's path would fit")
		}
		return false, nil
	}
	var set, attribute, kind, value cryptobyte.String
	var tag asn1.Tag
	if !s.ReadASN1(&set, asn1.SET) || !s.Empty() ||
		!set.ReadASN1(&attribute, asn1.SEQUENCE) || !set.Empty() ||
		!attribute.ReadASN1(&kind, asn1.OBJECT_IDENTIFIER) ||
		!attribute.ReadAnyASN1(&value, &tag) || !attribute.Empty() {
		return false, errors.New("subject is malformed")
	}
	switch {
	case string(kind) != oidCommonName:
		return false, errors.New("subject has an attribute other than the common name")
	case tag != asn1.PrintableString && tag != asn1.UTF8String:
		return false, errors.New("common name is neither PrintableString nor UTF8String")
	case len(value) > 64:
		return false, errors.New("common name is over 64 characters long")
	case string(value) != path:
		return false, errors.New("common name is not the identity's path")
	default:
		return true, nil
	}
}
