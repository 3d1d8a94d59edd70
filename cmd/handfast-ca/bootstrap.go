package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/ca/store/sqlite"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/operctx"
	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/revocation"
)

// bootstrap registers an operator with nobody's permission but that of whoever holds the
// CA's keys, and writes the operator's context to path, which must not exist.
func (env *environment) bootstrap(ctx context.Context, cfg *home.Config, material *home.Material, name string, role policy.Role, path string) (err error) {
	store, err := sqlite.Open(ctx, cfg.Dir.Ledger(), sqlite.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	authority, err := newCA(ctx, cfg, material, ca.Config{Ledger: store, Publisher: silent{}, Now: env.now})
	if err != nil {
		return err
	}
	key, csr, err := newRequest()
	if err != nil {
		return err
	}
	issued, err := authority.BootstrapOperator(ctx, name, role, csr)
	if err != nil {
		return fmt.Errorf("register operator %q: %w", name, err)
	}
	chain := make([]*x509.Certificate, 0, len(issued.Chain))
	for _, der := range issued.Chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		chain = append(chain, cert)
	}
	return operctx.Create(path, operctx.Context{
		CA: cfg.APIURL, TrustDomain: cfg.TrustDomain, Roots: []*x509.Certificate{material.Root}, Chain: chain, Key: key,
	})
}

// newRequest makes an operator's key, which never leaves this process but for the context.
func newRequest() (crypto.Signer, []byte, error) {
	key, err := issuer.GenerateKey(issuer.ECDSAP256)
	if err != nil {
		return nil, nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	return key, csr, err
}

// newCA makes the CA's core from its configuration and keys.
func newCA(ctx context.Context, cfg *home.Config, material *home.Material, c ca.Config) (*ca.CA, error) {
	c.TrustDomain = cfg.TrustDomain
	c.Issuers = []*issuer.Issuer{material.Issuer}
	c.Roots = []*x509.Certificate{material.Root}
	c.Profiles = cfg.Profiles
	c.DefaultProfile = cfg.DefaultProfile
	c.URLs = cfg.URLs
	c.Retention = cfg.Retention
	return ca.New(ctx, c)
}

// silent stands for the publisher where nothing is revoked: registering an operator
// beside a running daemon must not use up CRL numbers.
type silent struct{}

func (silent) Sync(context.Context) error                     { return nil }
func (silent) SetResponder(string, revocation.ResponseSigner) {}
func (silent) CRLs() []revocation.CRL                         { return nil }
func (silent) Changed() <-chan struct{}                       { return nil }
func (silent) Healthy(time.Time) error                        { return nil }
func (silent) Revoked(string, certs.Serial) (revocation.Entry, bool) {
	return revocation.Entry{}, false
}
