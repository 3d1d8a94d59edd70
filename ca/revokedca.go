package ca

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// caCertificate is what a CRL calls the certificate of a CA below the root.
type caCertificate struct {
	issuer string // the key identifier of who signed it
	serial certs.Serial
}

func newCACertificate(certificate *x509.Certificate) (caCertificate, error) {
	serial, err := certificateSerial(certificate)
	if err != nil {
		return caCertificate{}, fmt.Errorf("a CA's certificate: %w", err)
	}
	return caCertificate{issuer: hex.EncodeToString(certificate.AuthorityKeyId), serial: serial}, nil
}

func caChain(ders [][]byte) ([]caCertificate, error) {
	chain := make([]caCertificate, 0, len(ders))
	for _, der := range ders {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("a CA's certificate: %w", err)
		}
		link, err := newCACertificate(certificate)
		if err != nil {
			return nil, err
		}
		chain = append(chain, link)
	}
	return chain, nil
}

// authorityRevoked refuses when the log, or a CRL that the publisher serves, lists one of chain: whoever
// has that CA's key can make certificates, so what it signed proves nothing.
func (c *CA) authorityRevoked(chain []caCertificate) error {
	if why := c.revokedAbove(chain); why != "" {
		return refuse(api.CodeRevoked, "enrol again with a new token when the CA has another issuer", "%s", why)
	}
	return nil
}

// revokedAbove says which of chain is revoked, "" for none.
func (c *CA) revokedAbove(chain []caCertificate) string {
	for _, link := range chain {
		if entry, revoked := c.publisher.Revoked(link.issuer, link.serial); revoked {
			return fmt.Sprintf("the issuing CA's certificate %s is revoked (%s), says number %d of its issuer %s", link.serial, entry.Reason, entry.Sequence, link.issuer)
		}
	}
	return ""
}
