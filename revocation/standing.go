package revocation

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"

	"github.com/handfast/handfast/certs"
)

// standing returns what tells whether an issuing certificate is revoked itself, by the log or by
// the CRL of who signed it that AddStaticCRL took.
func (p *Publisher) standing(certificate *x509.Certificate) func() (Entry, bool) {
	serial, err := certs.SerialFromInt(certificate.SerialNumber)
	parent := hex.EncodeToString(certificate.AuthorityKeyId)
	if err != nil || parent == "" || parent == hex.EncodeToString(certificate.SubjectKeyId) {
		return func() (Entry, bool) { return Entry{}, false } // a root: nobody revokes it
	}
	return func() (Entry, bool) {
		if entry, ok := p.logged(parent, serial); ok {
			return entry, true
		}
		return p.listed(parent, serial)
	}
}

// missing names what the log revokes and a CRL that was made elsewhere does not list: until
// it does, whoever knows CRLs only does not know.
func (p *Publisher) missing(d *document) error {
	h := (*p.follower.others.Load())[d.issuer]
	if h == nil {
		return nil
	}
	v := h.view(^uint64(0))
	for position := range v.count {
		r := v.at(position)
		serial, err := certs.SerialFromBytes(r.magnitude())
		if err != nil || !r.refuses() {
			continue
		}
		if _, listed := d.revoked[serial]; !listed {
			return fmt.Errorf("certificate %s is revoked, but the CRL of its issuer %s, which was made elsewhere, does not list it yet: sign a new one with that issuer's key (handfast-ca root-crl)", serial, d.issuer)
		}
	}
	return nil
}
