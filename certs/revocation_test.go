package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestRevocationNumbers(t *testing.T) {
	w := newWorld(t, crlNow)
	soon := w.root.crl(7, nil, func(l *x509.RevocationList) { l.NextUpdate = crlNow.Add(time.Minute) })
	newer, older := w.issuer.crl(12, nil), w.issuer.crl(11, nil)
	r := mustRevocation(t, newer, older, soon)
	numbers := r.Numbers()
	issuer, root := hex.EncodeToString(w.issuer.cert.SubjectKeyId), hex.EncodeToString(w.root.cert.SubjectKeyId)
	if len(numbers) != 2 || numbers[issuer].Int64() != 12 || numbers[root].Int64() != 7 {
		t.Errorf("numbers %v", numbers)
	}
	numbers[issuer].SetInt64(99)
	if r.Numbers()[issuer].Int64() != 12 {
		t.Error("a caller changed the number")
	}
	if !r.NextUpdate().Equal(crlNow.Add(time.Minute)) {
		t.Errorf("next update %v", r.NextUpdate())
	}
	if crls := r.CRLs(); len(crls) != 2 || slices.ContainsFunc(crls, func(der []byte) bool { return bytes.Equal(der, older) }) {
		t.Errorf("%d CRLs in force, the older one among them or one lost", len(crls))
	}
	var none *Revocation
	if len(none.Numbers()) != 0 || none.CRLs() != nil || !none.NextUpdate().IsZero() {
		t.Error("a nil Revocation knows something")
	}
	if _, err := NewRevocation([][]byte{newer, {1, 2}}); err == nil {
		t.Error("a broken CRL among good ones was passed over")
	}
}

// Each kind of CA key that Handfast or an outside root may have, in chains and lists.
func TestKindsOfKeys(t *testing.T) {
	now := time.Now()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"P-256": newKey(t), "P-384": p384, "Ed25519": ed, "RSA": rsaKey} {
		template := caTemplate("root", now)
		root := &authority{t: t, cert: sign(t, template, template, key.Public(), key), key: key, now: now}
		chain := chainOf(t, root.leaf("spiffe://prod.test/web"))
		for _, revoked := range [][]*x509.Certificate{nil, chain[:1]} {
			snap := &Snapshot{Bundle: mustBundle(t, mustDomain(t, "prod.test"), root), Revocation: mustRevocation(t, root.crl(1, revoked))}
			_, err := Verify(chain, snap, x509.ExtKeyUsageClientAuth, now)
			if want := len(revoked) > 0; (causeOf(t, err) == CauseRevoked) != want || (err != nil) != want {
				t.Errorf("%s, %d revoked: %v", name, len(revoked), err)
			}
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseKeyPEM(pemOf("PRIVATE KEY", der)); err != nil || checkKeyFits(root.cert, got) != nil {
			t.Errorf("%s: the key's file: %v", name, err)
		}
	}
	ec, err := x509.MarshalECPrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parseKeyPEM(pemOf("EC PRIVATE KEY", ec)); err != nil || !p384.Equal(got) {
		t.Errorf("SEC 1: %v", err)
	}
	if got, err := parseKeyPEM(pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))); err != nil || !rsaKey.Equal(got) {
		t.Errorf("PKCS #1: %v", err)
	}
	for _, kind := range []string{"PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "CERTIFICATE"} {
		if _, err := parseKeyPEM(pemOf(kind, []byte("nonsense"))); err == nil {
			t.Errorf("%s: nonsense was read", kind)
		}
	}
	if _, err := parseKeyPEM(make([]byte, maxPEMSize+1)); err == nil {
		t.Error("an endless key file was read")
	}
}

// A list's signature is checked once for each key, also when many handshakes come at once.
func TestSignatureIsCheckedOnce(t *testing.T) {
	w := newWorld(t, crlNow)
	list, err := parseCRL(w.issuer.crl(1, nil))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := list.verifiedBy(w.issuer.cert); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	// A spoiled signature after the verdict changes nothing for that key, and all for another.
	list.signature = []byte{1}
	if err := list.verifiedBy(w.issuer.cert); err != nil {
		t.Errorf("it was checked again: %v", err)
	}
	if err := list.verifiedBy(w.root.cert); err == nil {
		t.Error("another key's verdict was taken")
	}
	if err := list.verifiedBy(w.issuer.cert); err == nil {
		t.Error("the verdict of the key before last is still there")
	}
}

func BenchmarkParseCRL(b *testing.B) {
	const count = 100_000
	root := newRoot(b, "root", crlNow)
	serial := new(big.Int).Lsh(big.NewInt(1), 150)
	der := root.crl(1, nil, func(l *x509.RevocationList) {
		for range count {
			serial = new(big.Int).Add(serial, big.NewInt(1_000_003))
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: crlNow})
		}
	})
	b.SetBytes(int64(len(der)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseCRL(der); err != nil {
			b.Fatal(err)
		}
	}
}

// A revoked issuer counts also when the leaf's own list is stale, unknown or both: Peer.Check's callers
// keep connections through staleness.
func TestRevokedIssuerGoesBeforeAStaleList(t *testing.T) {
	w := newWorld(t, crlNow)
	chain := chainOf(t, w.issuer.leaf("spiffe://example.test/web"), w.issuer)
	stale := w.issuer.crl(2, nil, func(l *x509.RevocationList) {
		l.ThisUpdate, l.NextUpdate = crlNow.Add(-2*time.Hour), crlNow.Add(-time.Hour)
	})
	revoked := w.root.crl(2, []*x509.Certificate{w.issuer.cert})
	for name, crls := range map[string][][]byte{"stale": {stale, revoked}, "unknown": {revoked}} {
		snap := &Snapshot{Bundle: mustBundle(t, mustDomain(t, "example.test"), w.root), Revocation: mustRevocation(t, crls...)}
		_, err := Verify(chain, snap, x509.ExtKeyUsageClientAuth, crlNow)
		if cause := causeOf(t, err); cause != CauseRevoked {
			t.Errorf("%s list of the leaf's issuer, which is revoked: %s", name, cause)
		}
	}
}
