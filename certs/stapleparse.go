package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"
)

// maxResponderCertificates is how many certificates an OCSP response may carry.
const maxResponderCertificates = 4

// The statuses of an OCSP response (RFC 6960, section 4.2.1), by the context tag's number.
const (
	ocspGood    = 0
	ocspRevoked = 1
	ocspUnknown = 2
)

// oidBasicResponse is id-pkix-ocsp-basic, as the content of its OBJECT IDENTIFIER.
const oidBasicResponse = "\x2b\x06\x01\x05\x05\x07\x30\x01\x01"

// certIDHashes are the AlgorithmIdentifiers that a CertID may have, as their content: parameters are NULL or absent.
var certIDHashes = map[string]crypto.Hash{
	"\x06\x05\x2b\x0e\x03\x02\x1a":                         crypto.SHA1,
	"\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00":                 crypto.SHA1,
	"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01":         crypto.SHA256,
	"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00": crypto.SHA256,
}

// ocspResponse is an OCSP response about one certificate. Nothing of it is verified.
type ocspResponse struct {
	tbs, signature []byte
	algorithm      x509.SignatureAlgorithm
	responderName  []byte // the DER of the name, or nil
	responderKey   []byte // the SHA-1 of the key, or nil
	producedAt     time.Time
	certificates   [][]byte

	hash                      crypto.Hash
	nameHash, keyHash, serial []byte // serial without leading zeros
	status                    byte
	revokedAt                 time.Time
	reason                    Reason
	thisUpdate, nextUpdate    time.Time
}

var errNoOCSP = errors.New("is malformed")

// parseStaple reads a successful OCSPResponse with a BasicOCSPResponse about exactly one
// certificate (RFC 6960, section 4.2.1). It refuses what nobody could check: a response without
// nextUpdate, unknown critical extensions, anything behind a value's last member.
func parseStaple(raw []byte) (*ocspResponse, error) {
	if len(raw) > MaxStapleSize {
		return nil, fmt.Errorf("has %d octets; at most %d are read", len(raw), MaxStapleSize)
	}
	outer := der(raw)
	response, _, err := outer.Read(tagSequence)
	if err != nil || len(outer) > 0 {
		return nil, errNoOCSP
	}
	status, _, err := response.Read(tagEnumerated)
	if err != nil || len(status) != 1 {
		return nil, errNoOCSP
	}
	if status[0] != 0 {
		return nil, fmt.Errorf("is not successful (OCSPResponseStatus %d)", status[0])
	}
	wrapped, _, err1 := response.Read(tagContext0)
	content, _, err2 := wrapped.Read(tagSequence)
	kind, _, err3 := content.Read(tagObjectID)
	basic, _, err4 := content.Read(tagOctetString)
	if errors.Join(err1, err2, err3, err4) != nil || len(response)+len(wrapped)+len(content) > 0 {
		return nil, errNoOCSP
	}
	if string(kind) != oidBasicResponse {
		return nil, errors.New("is of an unknown type")
	}
	r := new(ocspResponse)
	return r, r.parseBasic(basic)
}

func (r *ocspResponse) parseBasic(outer der) error {
	basic, _, err1 := outer.Read(tagSequence)
	content, tbs, err2 := basic.Read(tagSequence)
	_, algorithm, err3 := basic.Read(tagSequence)
	bits, _, err4 := basic.Read(tagBitString)
	if errors.Join(err1, err2, err3, err4) != nil || len(outer) > 0 || len(bits) == 0 || bits[0] != 0 {
		return errNoOCSP
	}
	known, ok := signatureAlgorithms[string(algorithm)]
	if !ok {
		return errors.New("is signed with an algorithm that is not allowed")
	}
	r.tbs, r.algorithm, r.signature = tbs, known, bits[1:]
	if err := r.parseCertificates(basic); err != nil {
		return err
	}
	return r.parseData(content)
}

func (r *ocspResponse) parseCertificates(rest der) error {
	if len(rest) == 0 {
		return nil
	}
	wrapped, _, err1 := rest.Read(tagContext0)
	list, _, err2 := wrapped.Read(tagSequence)
	if errors.Join(err1, err2) != nil || len(rest)+len(wrapped) > 0 {
		return errNoOCSP
	}
	for len(list) > 0 {
		_, cert, err := list.Read(tagSequence)
		if err != nil {
			return errNoOCSP
		}
		if len(r.certificates) == maxResponderCertificates {
			return fmt.Errorf("carries more than %d certificates", maxResponderCertificates)
		}
		r.certificates = append(r.certificates, cert)
	}
	return nil
}

// parseData reads the content of a ResponseData. Its version is the default, so DER leaves it out.
func (r *ocspResponse) parseData(data der) error {
	tag, responder, _, err := data.Next()
	if err != nil {
		return errNoOCSP
	}
	switch tag {
	case tagContext1:
		_, r.responderName, err = responder.Read(tagSequence)
	case tagContext2:
		r.responderKey, _, err = responder.Read(tagOctetString)
	default:
		err = errDER
	}
	if err != nil || len(responder) > 0 {
		return errNoOCSP
	}
	if r.producedAt, err = readGeneralizedTime(&data); err != nil {
		return errNoOCSP
	}
	list, _, err := data.Read(tagSequence)
	if err != nil {
		return errNoOCSP
	}
	single, _, err := list.Read(tagSequence)
	if err != nil {
		return errNoOCSP
	}
	if len(list) > 0 {
		return errors.New("is about more than one certificate")
	}
	if err := parseOCSPExtensions(data); err != nil {
		return err
	}
	return r.parseSingle(single)
}

func (r *ocspResponse) parseSingle(single der) error {
	id, _, err := single.Read(tagSequence)
	if err != nil {
		return errNoOCSP
	}
	if err := r.parseCertID(id); err != nil {
		return err
	}
	if err := r.parseStatus(&single); err != nil {
		return err
	}
	if r.thisUpdate, err = readGeneralizedTime(&single); err != nil {
		return errNoOCSP
	}
	if single.Peek() != tagContext0 {
		return errors.New("has no nextUpdate, so nobody could tell when it is stale")
	}
	next, _, err := single.Read(tagContext0)
	if err != nil {
		return errNoOCSP
	}
	if r.nextUpdate, err = readGeneralizedTime(&next); err != nil || len(next) > 0 {
		return errNoOCSP
	}
	if r.nextUpdate.Before(r.thisUpdate) {
		return errors.New("has a nextUpdate before its thisUpdate")
	}
	return parseOCSPExtensions(single)
}

func (r *ocspResponse) parseCertID(id der) error {
	algorithm, _, err1 := id.Read(tagSequence)
	nameHash, _, err2 := id.Read(tagOctetString)
	keyHash, _, err3 := id.Read(tagOctetString)
	serial, _, err4 := id.Read(tagInteger)
	if errors.Join(err1, err2, err3, err4) != nil || len(id) > 0 || len(serial) == 0 || serial[0]&0x80 != 0 {
		return errNoOCSP
	}
	hash, ok := certIDHashes[string(algorithm)]
	if !ok {
		return errors.New("names its certificate by a hash that is neither SHA-1 nor SHA-256")
	}
	if len(serial) > 1 && serial[0] == 0 && serial[1]&0x80 == 0 {
		return errNoOCSP // not minimal
	}
	r.hash, r.nameHash, r.keyHash, r.serial = hash, nameHash, keyHash, bytes.TrimLeft(serial, "\x00")
	return nil
}

// parseStatus reads a CertStatus. Good and unknown are an empty NULL with another tag.
func (r *ocspResponse) parseStatus(single *der) error {
	tag, content, _, err := single.Next()
	if err != nil {
		return errNoOCSP
	}
	switch tag {
	case 0x80 | ocspGood, 0x80 | ocspUnknown:
		r.status = tag &^ 0x80
		if len(content) > 0 {
			return errNoOCSP
		}
		return nil
	case tagContext1:
		r.status = ocspRevoked
	default:
		return errNoOCSP
	}
	if r.revokedAt, err = readGeneralizedTime(&content); err != nil {
		return errNoOCSP
	}
	if len(content) == 0 {
		return nil
	}
	wrapped, _, err1 := content.Read(tagContext0)
	reason, _, err2 := wrapped.Read(tagEnumerated)
	if errors.Join(err1, err2) != nil || len(content)+len(wrapped) > 0 || len(reason) != 1 || reason[0] > 10 {
		return errNoOCSP
	}
	r.reason = Reason(reason[0])
	return nil
}

// parseOCSPExtensions reads optional Extensions under [1], and refuses what is critical: none
// of those that exist change what a response means (RFC 6960, section 4.4).
func parseOCSPExtensions(rest der) error {
	if len(rest) == 0 {
		return nil
	}
	wrapped, _, err := rest.Read(tagContext1)
	if err != nil || len(rest) > 0 {
		return errNoOCSP
	}
	var extensions []pkix.Extension
	if rest, err := asn1.Unmarshal(wrapped, &extensions); err != nil || len(rest) > 0 {
		return errNoOCSP
	}
	for _, extension := range extensions {
		if extension.Critical {
			return fmt.Errorf("has the critical extension %s, which is not understood here", extension.Id)
		}
	}
	return nil
}

// readGeneralizedTime reads a time in UTC with seconds and without fractions (RFC 6960, section 4.2.2.1).
func readGeneralizedTime(d *der) (time.Time, error) {
	content, _, err := d.Read(tagGeneralizedTime)
	if err != nil {
		return time.Time{}, err
	}
	const layout = "20060102150405Z" // time.Parse would read fractions, too
	t, err := time.Parse(layout, string(content))
	if err != nil || len(content) != len(layout) {
		return time.Time{}, errDER
	}
	return t, nil
}
