package issuer

import (
	"errors"
	"fmt"
	"time"

	"github.com/handfast/handfast/certs"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Certificate is a signed certificate and what the ledger records of it.
type Certificate struct {
	DER       []byte
	Serial    certs.Serial
	ID        certs.ID
	Issuer    string // the issuer's subject key identifier, lower-case hexadecimal
	Profile   string
	NotBefore time.Time // UTC, whole seconds
	NotAfter  time.Time // UTC, whole seconds
}

// Sign signs exactly the bytes that passed the check. c is used up, whatever comes of
// it: a second call with it (or with a copy) is ErrUsed, and one that did not come from
// [Draft.Check] of one of this issuer's profiles is ErrUnchecked.
func (i *Issuer) Sign(c Checked) (*Certificate, error) {
	d := c.draft
	if d == nil {
		return nil, fmt.Errorf("sign certificate: the draft %w", ErrUnchecked)
	}
	if d.profile.issuer != i {
		return nil, errors.New("sign certificate: the draft is another issuer's")
	}
	if d.steps.signed.Swap(true) {
		return nil, fmt.Errorf("sign certificate: the draft was %w", ErrUsed)
	}
	signature, err := i.signer.sign(d.tbs)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	der, err := assemble(d.tbs, i.signer.algorithm, signature)
	if err != nil {
		return nil, fmt.Errorf("encode certificate: %w", err)
	}
	return &Certificate{
		DER:       der,
		Serial:    d.serial,
		ID:        d.subject.ID,
		Issuer:    i.ID(),
		Profile:   d.profile.config.Name,
		NotBefore: d.life.notBefore,
		NotAfter:  d.life.notAfter,
	}, nil
}

// assemble puts a Certificate (RFC 5280, section 4.1) around tbs.
func assemble(tbs, algorithm, signature []byte) ([]byte, error) {
	d := newDER(len(tbs) + len(algorithm) + len(signature) + 16)
	d.element(asn1.SEQUENCE, func(d *der) {
		d.add(tbs...)
		d.add(algorithm...)
		d.element(asn1.BIT_STRING, func(d *der) {
			d.add(0) // no unused bits
			d.add(signature...)
		})
	})
	return d.bytes()
}
