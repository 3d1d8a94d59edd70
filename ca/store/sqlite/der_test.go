package sqlite

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"testing"
	"time"
)

func certificateDER(t testing.TB, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 158))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	certificate := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now, NotAfter: now.Add(time.Hour),
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: "pack.test", Path: "/" + name}},
		CRLDistributionPoints: []string{"http://pki.pack.test/v1/crl/0123456789abcdef0123456789abcdef01234567"},
		OCSPServer:            []string{"http://pki.pack.test/v1/ocsp"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, certificate, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestPackedCertificatesComeBack(t *testing.T) {
	first := newTemplate(1, certificateDER(t, "web"))
	for _, name := range []string{"web", "x", "shop/a-much-longer-name.of-a-service"} {
		der := certificateDER(t, name)
		packed, ok := first.pack(der)
		if !ok || len(packed) > len(der)*2/3 {
			t.Errorf("%s: %d of %d octets, %v: packing does not help", name, len(packed), len(der), ok)
			continue
		}
		if got, err := unpack(first.der, packed); err != nil || !bytes.Equal(got, der) {
			t.Errorf("%s: it does not come back: %v", name, err)
		}
	}
	if same, ok := first.pack(first.der); !ok || len(same) > 8 {
		t.Errorf("the template itself takes %d octets", len(same))
	}
	random := make([]byte, 800)
	rand.Read(random) //nolint:errcheck // never fails
	if _, ok := first.pack(random); ok {
		t.Error("noise was packed")
	}
	if _, ok := first.pack(bytes.Repeat(first.der, 1+maxPacked/len(first.der))); ok {
		t.Error("more than the bound was packed")
	}
}

// FuzzUnpack: damage is an error or other octets, never a panic or a flood; and what is
// packed comes back.
func FuzzUnpack(f *testing.F) {
	first := newTemplate(1, certificateDER(f, "web"))
	packed, _ := first.pack(certificateDER(f, "web"))
	f.Add(packed)
	f.Add([]byte{0, 4, 0, 0xff, 0xff, 3, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		if der, err := unpack(first.der, data); err == nil && len(der) > maxPacked {
			t.Fatalf("%d octets", len(der))
		}
		if again, ok := first.pack(data); ok {
			if whole, err := unpack(first.der, again); err != nil || !bytes.Equal(whole, data) {
				t.Fatalf("it does not come back: %v", err)
			}
		}
	})
}

func BenchmarkPack(b *testing.B) {
	first, der := newTemplate(1, certificateDER(b, "web")), certificateDER(b, "web")
	for b.Loop() {
		if _, ok := first.pack(der); !ok {
			b.Fatal("not packed")
		}
	}
}
