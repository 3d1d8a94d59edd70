// Package operctx reads and writes an operator's context: the one file that says which CA
// an operator talks to, which roots vouch for it, and which certificate and key the
// operator shows. `handfast-ca init` writes the first one; `handfast operator add` the others.
//
// Whoever can read the file is the operator, so it is written with mode 0600 and
// refused when anyone but its owner can read it.
package operctx

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/handfast/handfast/certs"
)

// pathPrefix begins the path of every operator's SPIFFE ID.
const pathPrefix = certs.ReservedPrefix + "/operator/"

// Context is an operator's credential and where it counts. Parse and Load return only
// valid ones; Marshal, Save and Create refuse others. It is plain data: copies share the key.
type Context struct {
	CA          string              // the API's address, https://host:port
	TrustDomain certs.TrustDomain   // must be the domain of the certificate's SPIFFE ID
	Roots       []*x509.Certificate // at least one; whom to trust for the CA's own certificate
	Chain       []*x509.Certificate // the operator's certificate, then its intermediates, no root
	Key         crypto.Signer       // of Chain[0]; ECDSA, Ed25519 or RSA
}

// Format writes who and where, for every verb, so that the key cannot slip
// into a log or an error through %v.
func (c Context) Format(w fmt.State, _ rune) {
	who := "nobody"
	if id, err := c.ID(); err == nil {
		who = id.String()
	}
	_, _ = fmt.Fprintf(w, "%s at %s", who, c.CA) // a fmt.State keeps its own error
}

// ID returns the operator's identity.
func (c Context) ID() (certs.ID, error) {
	if len(c.Chain) == 0 {
		return certs.ID{}, errors.New("no certificate")
	}
	return certs.IDFromCertificate(c.Chain[0])
}

// Name returns the operator's name, the last part of the identity's path.
func (c Context) Name() string {
	id, err := c.ID()
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(id.Path(), pathPrefix)
}

// check reports why c is no usable context. Expiry is no reason: an expired context
// must still load, so that a program can say that it has expired.
func (c Context) check() error {
	if err := checkAddress(c.CA); err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	if c.TrustDomain.IsZero() {
		return errors.New("trust_domain: missing")
	}
	if err := checkRoots(c.Roots); err != nil {
		return fmt.Errorf("roots: %w", err)
	}
	id, err := c.ID()
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	if id.TrustDomain() != c.TrustDomain || !strings.HasPrefix(id.Path(), pathPrefix) {
		return fmt.Errorf("certificate: %s is no operator of trust domain %s", id, c.TrustDomain)
	}
	return checkKey(c.Key, c.Chain[0])
}

func checkAddress(ca string) error {
	u, err := url.Parse(ca)
	if err != nil {
		return fmt.Errorf("%q is not a URL; write https://HOST:PORT", ca)
	}
	// Compared with what was read, so that nothing (user, path, query) can hide in it.
	if u.Hostname() == "" || ca != "https://"+u.Host {
		return fmt.Errorf("%q is not an address; write https://HOST:PORT", ca)
	}
	return nil
}

func checkRoots(roots []*x509.Certificate) error {
	if len(roots) == 0 {
		return errors.New("missing")
	}
	for _, root := range roots {
		if !root.BasicConstraintsValid || !root.IsCA {
			return fmt.Errorf("%q is not a CA certificate", root.Subject)
		}
	}
	return nil
}

func checkKey(key crypto.Signer, leaf *x509.Certificate) error {
	if key == nil {
		return errors.New("key: missing")
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(leaf.PublicKey) {
		return errors.New("key: does not belong to the certificate")
	}
	return nil
}
