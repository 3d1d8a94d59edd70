package certs

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

func TestVerifyChain(t *testing.T) {
	now := time.Now()
	w := newWorld(t, now)
	bundle := mustBundle(t, w.td, w.root)
	const id = "spiffe://prod.test/web"
	sound := chainOf(t, w.issuer.leaf(id))
	under := func(c ...change) []*x509.Certificate {
		return chainOf(t, w.root.intermediate("odd", c...).leaf(id))
	}
	leaf := func(c change) []*x509.Certificate { return chainOf(t, w.issuer.leaf(id, c)) }
	stranger := newRoot(t, "root", now) // the name of the root, another key
	unknown := withExtension([]int{1, 3, 6, 1, 4, 1, 99999, 1}, true, []byte{5, 0})
	expired := func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }
	for _, test := range []struct {
		name  string
		chain []*x509.Certificate
		cause Cause
	}{
		{"sound", sound, ""},
		{"with the root", append(chainOf(t, w.issuer.leaf(id)), w.root.cert), ""},
		{"with strangers beside it", append(chainOf(t, w.issuer.leaf(id)), stranger.cert, newRoot(t, "x", now).cert), ""},
		{"an issuer's own", []*x509.Certificate{w.issuer.cert}, ""},
		{"none", nil, CauseNoCertificate},
		{"nil", []*x509.Certificate{nil}, CauseBadChain},
		{"without the issuer", sound[:1], CauseUnknownAuthority},
		{"same name, different key", chainOf(t, stranger.intermediate("issuer").leaf(id)), CauseUnknownAuthority},
		{"same name, different key, sent along", append(chainOf(t, stranger.intermediate("issuer").leaf(id)), stranger.cert), CauseUnknownAuthority},
		{"the issuer's name and another key", []*x509.Certificate{sound[0], w.root.intermediate("issuer").cert}, CauseUnknownAuthority},
		{"the root as its own leaf", []*x509.Certificate{w.root.cert}, CauseBadChain},
		{"expired", leaf(expired), CauseExpired},
		{"not yet valid", leaf(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) }), CauseNotYetValid},
		{"expired issuer", under(expired), CauseExpired},
		{"issuer not yet valid", under(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) }), CauseNotYetValid},
		{"issuer is no CA", under(func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false }), CauseUnknownAuthority},
		{"issuer without basicConstraints", under(func(c *x509.Certificate) { c.BasicConstraintsValid = false }), CauseUnknownAuthority},
		{"issuer without keyUsage", under(func(c *x509.Certificate) { c.KeyUsage = 0 }), CauseBadChain},
		{"issuer without keyCertSign", under(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), CauseUnknownAuthority},
		{"a CA's basicConstraints not critical", under(func(c *x509.Certificate) {
			c.BasicConstraintsValid, c.IsCA = false, false
			c.ExtraExtensions = []pkix.Extension{withExtension(oidBasicConstraints, false, []byte{0x30, 3, 1, 1, 0xff})}
		}), CauseBadChain},
		{"unknown critical extension", leaf(func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{unknown} }), CauseBadChain},
		{"unknown critical extension of the issuer", under(func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{unknown} }), CauseBadChain},
		{"noRevAvail in a CA", under(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{withExtension(oidNoRevAvail, false, []byte{5, 0})}
		}), CauseBadChain},
		{"wrong usage", leaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), CauseBadChain},
		{"usage that the issuer does not have", under(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), CauseBadChain},
		{"below a path length of zero", chainOf(t, w.issuer.intermediate("deeper").leaf(id), w.issuer), CauseBadChain},
		{"names outside constraints", chainOf(t, w.root.intermediate("c", func(c *x509.Certificate) {
			c.PermittedURIDomains, c.PermittedDNSDomainsCritical = []string{"elsewhere.test"}, true
		}).leaf(id)), CauseBadChain},
		{"too many", repeat(sound[0], maxPresented+1), CauseBadChain},
	} {
		path, err := VerifyChain(test.chain, bundle, x509.ExtKeyUsageClientAuth, now)
		if got := causeOf(t, err); got != test.cause {
			t.Errorf("%s: cause %q, want %q: %v", test.name, got, test.cause, err)
		}
		if err == nil && (path[0] != test.chain[0] || !path[len(path)-1].Equal(w.root.cert)) {
			t.Errorf("%s: path of %d", test.name, len(path))
		}
	}
	if _, err := VerifyChain(sound, nil, x509.ExtKeyUsageClientAuth, now); causeOf(t, err) != CauseUnknownAuthority {
		t.Errorf("without a bundle: %v", err)
	}
	if _, err := VerifyChain(sound, bundle, x509.ExtKeyUsageClientAuth, time.Time{}); causeOf(t, err) != CauseNotYetValid {
		t.Errorf("without a clock: %v", err)
	}
}

func repeat(cert *x509.Certificate, n int) []*x509.Certificate {
	chain := make([]*x509.Certificate, n)
	for i := range chain {
		chain[i] = cert
	}
	return chain
}

// Vault CVE-2021-32923 and 2025-6037 let a leaf in as a trust anchor: here neither the
// bundle takes it, nor a path that ends in it.
func TestLeafIsNeverATrustAnchor(t *testing.T) {
	now := time.Now()
	w := newWorld(t, now)
	self := newRoot(t, "self", now, func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature
		c.URIs = w.issuer.leaf("spiffe://prod.test/web").Leaf.URIs
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	if _, err := NewBundle(w.td, []*x509.Certificate{self.cert}); err == nil {
		t.Error("a self-signed leaf became a root")
	}
	// Even in a pool that something else filled, the path is refused.
	pool := x509.NewCertPool()
	pool.AddCert(self.cert)
	forced := &Bundle{td: w.td, roots: []*x509.Certificate{self.cert}, pool: pool}
	if _, err := VerifyChain([]*x509.Certificate{self.cert}, forced, x509.ExtKeyUsageClientAuth, now); causeOf(t, err) != CauseBadChain {
		t.Errorf("a leaf in the pool of roots: %v", err)
	}
}

// crypto/x509 takes key identifiers as hints; a contradiction is refused here.
func TestKeyIdentifiersHaveToAgree(t *testing.T) {
	now := time.Now()
	w := newWorld(t, now)
	key := newKey(t)
	template := w.issuer.leaf("spiffe://prod.test/web").Leaf
	liar := *w.issuer.cert
	liar.SubjectKeyId = []byte("another key id, twenty")
	leaf := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(77), NotBefore: template.NotBefore, NotAfter: template.NotAfter,
		KeyUsage: template.KeyUsage, ExtKeyUsage: template.ExtKeyUsage, URIs: template.URIs,
	}, &liar, key.Public(), w.issuer.key)
	_, err := VerifyChain([]*x509.Certificate{leaf, w.issuer.cert}, mustBundle(t, w.td, w.root), x509.ExtKeyUsageClientAuth, now)
	if causeOf(t, err) != CauseBadChain {
		t.Errorf("got %v", err)
	}
}

func TestChainLengthIsBounded(t *testing.T) {
	now := time.Now()
	root := newRoot(t, "root", now)
	td := mustDomain(t, "prod.test")
	deep := func(intermediates int) error {
		a, below := root, []*authority(nil)
		for range intermediates {
			a = a.intermediate("i", func(c *x509.Certificate) {
				c.MaxPathLenZero = false
				c.Subject.SerialNumber = rand.Text()
			})
			below = append(below, a)
		}
		_, err := VerifyChain(chainOf(t, a.leaf("spiffe://prod.test/web"), below...), mustBundle(t, td, root), x509.ExtKeyUsageAny, now)
		return err
	}
	if err := deep(maxChainLength - 2); err != nil {
		t.Errorf("%d certificates: %v", maxChainLength, err)
	}
	if err := deep(maxChainLength - 1); causeOf(t, err) != CauseBadChain {
		t.Errorf("%d certificates: %v", maxChainLength+1, err)
	}
}

// A stranger can send certificates with keys so large that each signature costs
// milliseconds; they are refused before any signature is looked at.
func TestHugeKeysAreRefusedUnverified(t *testing.T) {
	w := newWorld(t, time.Now())
	chain := chainOf(t, w.issuer.leaf("spiffe://prod.test/web"))
	for _, bits := range []uint{1024, 16384} {
		huge := *chain[1]
		huge.PublicKey = &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), bits-1), E: 65537}
		_, err := VerifyChain([]*x509.Certificate{chain[0], &huge}, mustBundle(t, w.td, w.root), x509.ExtKeyUsageAny, w.now)
		if causeOf(t, err) != CauseBadChain {
			t.Errorf("%d bits: %v", bits, err)
		}
	}
}

// A mebibyte of hostile PEM costs little: sizes and counts come before parsing
// (SPIRE's x509pop and cert-manager, CVE-2024-12401).
func TestHostilePEMIsBoundedWork(t *testing.T) {
	w := newWorld(t, time.Now())
	fill := func(unit string) []byte { return bytes.Repeat([]byte(unit), maxPEMSize/len(unit)) }
	leaf := pemOf("CERTIFICATE", w.issuer.leaf("spiffe://prod.test/web").Leaf.Raw)
	for name, data := range map[string][]byte{
		"begins":            fill("-----BEGIN CERTIFICATE-----\n"),
		"begins, no breaks": fill("-----BEGIN "),
		"dashes":            fill("-----"),
		"certificates":      fill(string(leaf)),
		"headers":           fill("-----BEGIN CERTIFICATE-----\na: b\n"),
		"one huge block":    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: make([]byte, maxPEMSize*5/7)}),
		"ends":              fill("-----END CERTIFICATE-----\n"),
		"nested":            append(fill("-----BEGIN CERTIFICATE-----\n")[:28*60], fill("AAAA\n")[:maxPEMSize/2]...),
		"over the limit":    append(leaf, make([]byte, maxPEMSize)...),
	} {
		var err error
		took := processorTime(t, func() { _, err = ParseCertificates(data) })
		if err == nil {
			t.Errorf("%s: was parsed", name)
		}
		// A hundred milliseconds; ten times that under the race detector.
		if took > time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
	if _, err := ParseCertificates(leaf); err != nil {
		t.Errorf("a sound file: %v", err)
	}
	if _, err := ParseCertificates(append([]byte("subject: web\n"), leaf...)); err != nil {
		t.Errorf("text before the block: %v", err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(w.issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseCertificates(append(leaf, pemOf("PRIVATE KEY", key)...)); err == nil {
		t.Error("a private key among certificates was taken")
	}
}
