package certs

import (
	"crypto/x509"
	"net/url"
	"testing"
	"time"
)

func TestNewBundle(t *testing.T) {
	now := time.Now()
	w := newWorld(t, now)
	foreign := &url.URL{Scheme: "spiffe", Host: "other.test"}
	own := &url.URL{Scheme: "spiffe", Host: "prod.test"}
	forged := *w.root.cert
	forged.Signature = append([]byte(nil), forged.Signature...)
	forged.Signature[10] ^= 1
	many := make([]*x509.Certificate, maxRoots+1)
	for i := range many {
		many[i] = w.root.cert
	}
	for _, test := range []struct {
		name  string
		roots []*x509.Certificate
		ok    bool
	}{
		{"one root", []*x509.Certificate{w.root.cert}, true},
		{"two roots", []*x509.Certificate{w.root.cert, newRoot(t, "root 2", now).cert}, true},
		{"the domain's own ID", []*x509.Certificate{newRoot(t, "r", now, func(c *x509.Certificate) { c.URIs = []*url.URL{own} }).cert}, true},
		{"none", nil, false},
		{"too many", many, false},
		{"nil", []*x509.Certificate{nil}, false},
		{"an intermediate", []*x509.Certificate{w.issuer.cert}, false},
		{"a leaf", []*x509.Certificate{w.issuer.leaf("spiffe://prod.test/web").Leaf}, false},
		{"a self-signed leaf", []*x509.Certificate{newRoot(t, "r", now, func(c *x509.Certificate) { c.IsCA = false }).cert}, false},
		{"no keyCertSign", []*x509.Certificate{newRoot(t, "r", now, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }).cert}, false},
		{"another domain's", []*x509.Certificate{newRoot(t, "r", now, func(c *x509.Certificate) { c.URIs = []*url.URL{foreign} }).cert}, false},
		{"a broken signature", []*x509.Certificate{&forged}, false},
		{"the issuer's name is its own, the key is not", []*x509.Certificate{crossSigned(t, w.root)}, false},
		{"not parsed", []*x509.Certificate{{Version: 3, IsCA: true}}, false},
	} {
		b, err := NewBundle(w.td, test.roots)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
		if err == nil && (len(b.Roots()) != len(test.roots) || b.TrustDomain() != w.td) {
			t.Errorf("%s: %d roots of %s", test.name, len(b.Roots()), b.TrustDomain())
		}
	}
	if _, err := NewBundle(TrustDomain{}, []*x509.Certificate{w.root.cert}); err == nil {
		t.Error("a bundle of no trust domain")
	}
	if b, err := NewBundle(w.td, []*x509.Certificate{w.root.cert, w.root.cert}); err != nil || len(b.Roots()) != 1 {
		t.Errorf("a root twice: %v, %v", b, err)
	}
}

// crossSigned has the root's name as subject and issuer, but is signed by the root for another key.
func crossSigned(t *testing.T, root *authority) *x509.Certificate {
	t.Helper()
	template := caTemplate("root", root.now)
	return sign(t, template, root.cert, newKey(t).Public(), root.key)
}

func TestFingerprint(t *testing.T) {
	cert := newRoot(t, "r", time.Now()).cert
	if got := Fingerprint(cert); len(got) != 64 || got == Fingerprint(newRoot(t, "r", time.Now()).cert) {
		t.Errorf("fingerprint %q", got)
	}
}

// A version 1 certificate has no extensions, so it cannot say that it is a CA.
func TestVersionOneIsRefused(t *testing.T) {
	w := newWorld(t, time.Now())
	chain := chainOf(t, w.issuer.leaf("spiffe://prod.test/web"))
	old := *chain[0]
	old.Version = 1
	if err := checkCommon(&old); err == nil {
		t.Error("version 1 was accepted")
	}
	if _, err := VerifyChain([]*x509.Certificate{&old, chain[1]}, mustBundle(t, w.td, w.root), x509.ExtKeyUsageAny, w.now); causeOf(t, err) != CauseBadChain {
		t.Errorf("in a chain: %v", err)
	}
	root := *w.root.cert
	root.Version = 1
	if _, err := NewBundle(w.td, []*x509.Certificate{&root}); err == nil {
		t.Error("a root of version 1 was accepted")
	}
}

func TestCertificateSizeIsBounded(t *testing.T) {
	w := newWorld(t, time.Now())
	fat := w.issuer.leaf("spiffe://prod.test/web", func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, withExtension([]int{1, 2, 3, 4}, false, make([]byte, maxCertificateSize)))
	})
	_, err := Verify([]*x509.Certificate{fat.Leaf, w.issuer.cert}, w.trust(t), x509.ExtKeyUsageClientAuth, w.now)
	if causeOf(t, err) != CauseBadChain {
		t.Errorf("a certificate of %d bytes: %v", len(fat.Leaf.Raw), err)
	}
	if _, err := parseAll([][]byte{fat.Leaf.Raw}); err == nil {
		t.Error("it was parsed")
	}
}
