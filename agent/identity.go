package agent

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// Limits of what the CA or a state file may hand over as one identity.
const (
	maxChain = 8
	maxRoots = 64
)

// identity is what is kept of an issued certificate, as it stands in the state file:
// everything that belongs together changes together because it is one file.
type identity struct {
	CA          string       `json:"ca"`          // the address that issued it
	Fingerprint string       `json:"fingerprint"` // of the root that the token pinned, for the record
	Chain       [][]byte     `json:"chain"`       // DER, the leaf first
	Key         []byte       `json:"key"`         // PKCS #8, DER
	Roots       [][]byte     `json:"roots"`       // DER
	RenewAfter  time.Time    `json:"renew_after"`
	Grace       api.Duration `json:"grace"`
	TokenDigest string       `json:"token_digest"` // SHA-256 of the token that was used, so that it is not tried again
}

// credential is a parsed identity: the key matches the certificate, the identity
// belongs to the trust domain of the roots. It is immutable.
type credential struct {
	raw        identity
	cert       *tls.Certificate
	id         certs.ID
	serial     certs.Serial
	issuer     *x509.Certificate // of cert
	bundle     *certs.Bundle
	renewAfter time.Time
}

func (c *credential) notBefore() time.Time { return c.cert.Leaf.NotBefore }
func (c *credential) notAfter() time.Time  { return c.cert.Leaf.NotAfter }
func (c *credential) graceEnds() time.Time { return c.notAfter().Add(time.Duration(c.raw.Grace)) }

// parse checks that everything in raw belongs together. Times are not judged here: an expired
// identity is still good for a rekey, and one that seems not yet valid for a clock that is corrected.
func (raw identity) parse() (*credential, error) {
	chain, err := parseCertificates("chain", raw.Chain, maxChain)
	if err != nil {
		return nil, err
	}
	roots, err := parseCertificates("roots", raw.Roots, maxRoots)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(raw.Key)
	if err != nil {
		return nil, err
	}
	if !samePublicKey(key.Public(), chain[0].PublicKey) {
		return nil, errors.New("the key does not belong to the certificate")
	}
	id, err := certs.IDFromCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	serial, err := certs.SerialFromInt(chain[0].SerialNumber)
	if err != nil {
		return nil, err
	}
	bundle, err := certs.NewBundle(id.TrustDomain(), roots)
	if err != nil {
		return nil, err
	}
	// At the middle of its life the certificate must verify, whatever our own clock says: a wrong
	// clock is reported on its own and must not cost a token.
	middle := chain[0].NotBefore.Add(chain[0].NotAfter.Sub(chain[0].NotBefore) / 2)
	path, err := certs.VerifyChain(chain, bundle, x509.ExtKeyUsageClientAuth, middle)
	if err != nil {
		return nil, fmt.Errorf("the certificate does not lead to the CA's roots: %w", err)
	}
	return &credential{
		raw:        raw,
		cert:       &tls.Certificate{Certificate: raw.Chain, PrivateKey: key, Leaf: chain[0]},
		id:         id,
		serial:     serial,
		issuer:     path[1],
		bundle:     bundle,
		renewAfter: renewalTime(chain[0].NotBefore, chain[0].NotAfter, raw.RenewAfter),
	}, nil
}

// renewalTime is the CA's wish when it lies within the certificate's life, and two
// thirds of the life otherwise.
func renewalTime(notBefore, notAfter, wish time.Time) time.Time {
	if wish.After(notBefore) && wish.Before(notAfter) {
		return wish
	}
	return notBefore.Add(notAfter.Sub(notBefore) * 2 / 3)
}

func parseCertificates(what string, ders [][]byte, limit int) ([]*x509.Certificate, error) {
	if len(ders) == 0 {
		return nil, fmt.Errorf("%s: no certificate", what)
	}
	if len(ders) > limit {
		return nil, fmt.Errorf("%s: %d certificates; at most %d are allowed", what, len(ders), limit)
	}
	parsed := make([]*x509.Certificate, len(ders))
	for i, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d: %w", what, i, err)
		}
		parsed[i] = cert
	}
	return parsed, nil
}

func parseKey(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		// The parser's text may describe the bytes; none of them belong into an error.
		return nil, errors.New("the private key is malformed")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the private key cannot sign")
	}
	return signer, nil
}

func samePublicKey(a, b crypto.PublicKey) bool {
	comparable, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && comparable.Equal(b)
}
