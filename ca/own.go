package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"

	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/issuer"
)

// ServerCertificate issues a certificate with a fresh key for the API's server, under the
// names dns and ips. Its chain ends in the root, so that an agent that knows only the
// root's fingerprint can check it. Ask again at about two thirds of its life.
func (c *CA) ServerCertificate(ctx context.Context, dns []string, ips []netip.Addr) (*tls.Certificate, error) {
	certificate, err := c.serverCertificate(ctx, dns, ips)
	return certificate, c.answer(ctx, who{"ca", MethodInternal, "ca"}, err)
}

func (c *CA) serverCertificate(ctx context.Context, dns []string, ips []netip.Addr) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the server's key: %w", err)
	}
	id, err := c.td.ID(policy.ServerPath)
	if err != nil {
		return nil, err
	}
	a := c.authorities.Load()
	recorded, err := c.issueOwn(ctx, a.active, a.server, order{kind: KindServer, name: "ca", id: id, dns: dns, ips: ips}, key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(recorded.DER)
	if err != nil {
		return nil, err
	}
	chain := append([][]byte{recorded.DER}, a.active.issuer.Chain()...)
	root, err := a.rootOf(chain)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: append(chain, root.Raw), PrivateKey: key, Leaf: leaf}, nil
}

// rootOf finds the root that chain ends in.
func (a *authorities) rootOf(chain [][]byte) (*x509.Certificate, error) {
	last, err := x509.ParseCertificate(chain[len(chain)-1])
	if err != nil {
		return nil, err
	}
	for _, root := range a.roots {
		if last.CheckSignatureFrom(root) == nil {
			return root, nil
		}
	}
	return nil, errors.New("the active issuer does not chain to any of the roots")
}

func (c *CA) issueOwn(ctx context.Context, s *signing, profile *issuer.Profile, o order, key crypto.Signer) (Certificate, error) {
	public, err := issuer.CheckKey(key.Public())
	if err != nil {
		return Certificate{}, csrError(err)
	}
	o.method, o.by, o.key, o.signing, o.profile = MethodInternal, "ca", public, s, profile
	recorded, _, err := c.fulfil(ctx, o)
	return recorded, err
}

func hexID(keyID []byte) string { return hex.EncodeToString(keyID) }
