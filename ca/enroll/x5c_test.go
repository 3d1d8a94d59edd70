package enroll_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.step.sm/crypto/jose"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/enroll"
	"github.com/handfast/handfast/internal/costtest"
)

// pki is a foreign PKI for x5c tokens.
type pki struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (p *pki) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})
}

func newPKI(t testing.TB) (*ecdsa.PrivateKey, *pki) {
	t.Helper()
	key := newECKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "machines"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	return key, &pki{cert: certify(t, template, template, key.Public(), key), key: key}
}

func newLeaf(t testing.TB, root *pki, public crypto.PublicKey, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	spiffe, _ := url.Parse("spiffe://dc/host/1")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0xabc), Subject: pkix.Name{CommonName: "host1"}, DNSNames: []string{"db-1.dc1.example.org"}, URIs: []*url.URL{spiffe},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	return certify(t, template, root.cert, public, root.key)
}

func certify(t testing.TB, template, parent *x509.Certificate, public, key any) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func x5cHeader(certificates ...*x509.Certificate) map[string]any {
	chain := make([]string, 0, len(certificates))
	for _, cert := range certificates {
		chain = append(chain, base64.StdEncoding.EncodeToString(cert.Raw))
	}
	return map[string]any{"x5c": chain}
}

func TestX5CToken(t *testing.T) {
	_, root := newPKI(t)
	_, foreign := newPKI(t)
	key := newECKey(t)
	e := newEnroller(t, func(c *enroll.Config) {
		c.Platforms.X5C = []enroll.X5C{{Name: "dc", Roots: root.pem(), Rules: []enroll.Rule{
			{Service: "db", DNS: "db-*.dc1.example.org"},
			{Service: "cache", URI: "spiffe://dc/cache/*"},
			{Service: "web", CommonName: "web1"},
		}}}
	})
	leaf := func(change func(*x509.Certificate)) *x509.Certificate { return newLeaf(t, root, key.Public(), change) }
	dns := func(names ...string) *x509.Certificate {
		return leaf(func(c *x509.Certificate) { c.DNSNames = names })
	}
	payload := fresh(claims{"iss": "dc", "aud": audience + "#x5c/dc", "sub": "whatever the holder likes"})
	tests := []struct {
		name   string
		cert   *x509.Certificate
		claims claims
		want   string // the service
		code   api.Code
	}{
		{"by DNS name", leaf(nil), payload, "db", ""},
		{"by URI", leaf(func(c *x509.Certificate) {
			c.DNSNames, c.URIs[0] = nil, &url.URL{Scheme: "spiffe", Host: "dc", Path: "/cache/7"}
		}), payload, "cache", ""},
		{"by common name", leaf(func(c *x509.Certificate) { c.DNSNames, c.Subject.CommonName = nil, "web1" }), payload, "web", ""},
		{"a star spans no dot", dns("db-1.evil.dc1.example.org"), payload, "", api.CodeRefused},
		{"a dot is a dot", dns("db-1xdc1.example.org"), payload, "", api.CodeRefused},
		{"nothing after the end", dns("db-1.dc1.example.org.evil.org"), payload, "", api.CodeRefused},
		{"two services in one certificate", leaf(func(c *x509.Certificate) { c.Subject.CommonName = "web1" }), payload, "", api.CodeRefused},
		{"foreign root", newLeaf(t, foreign, key.Public(), nil), payload, "", api.CodeTokenInvalid},
		{"other holder's certificate", newLeaf(t, root, newECKey(t).Public(), nil), payload, "", api.CodeTokenInvalid},
		{"not for client authentication", leaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), payload, "", api.CodeTokenInvalid},
		{"not for signatures", leaf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), payload, "", api.CodeTokenInvalid},
		{"expired certificate", leaf(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), payload, "", api.CodeTokenInvalid},
		{"audience of another provisioner", leaf(nil), fresh(claims{"iss": "dc", "aud": audience}), "", api.CodeTokenInvalid},
		{"other issuer", leaf(nil), fresh(claims{"iss": "ci", "aud": audience + "#x5c/dc"}), "", api.CodeTokenInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			claim, err := e.Verify(t.Context(), signed(t, key, jose.ES256, x5cHeader(tt.cert), tt.claims))
			if tt.code != "" {
				wantCode(t, err, tt.code, "")
				return
			}
			if err != nil || claim.Service != tt.want || claim.Method != ca.MethodX5C || !strings.Contains(claim.By, "serial abc") {
				t.Fatalf("claim = %+v, %v; want service %s", claim, err, tt.want)
			}
		})
	}
}

// SPIRE's x509pop and cert-manager burned CPU on huge keys: here they go before anything is verified.
func TestHugeKeysAreRefusedAtOnce(t *testing.T) {
	_, root := newPKI(t)
	e := newEnroller(t, func(c *enroll.Config) {
		c.Platforms.X5C = []enroll.X5C{{Name: "dc", Roots: root.pem(), Rules: []enroll.Rule{{Service: "db", DNS: "db"}}}}
	})
	modulus := new(big.Int).Lsh(big.NewInt(1), 40000)
	huge := newLeaf(t, root, &rsa.PublicKey{N: modulus.Add(modulus, big.NewInt(1)), E: 1<<31 - 1}, nil)
	chain := x5cHeader(huge)
	header, err := json.Marshal(map[string]any{"alg": "RS256", "x5c": chain["x5c"]})
	if err != nil {
		t.Fatal(err)
	}
	token := segment(string(header)) + "." + segment(`{"iss":"dc","sub":"x"}`) + "." + segment("signature")
	took := costtest.Measure(t, func() { _, err = e.Verify(t.Context(), token) })
	wantCode(t, err, api.CodeTokenInvalid, "8192 bits")
	if took > time.Second {
		t.Errorf("took %v", took)
	}
	many := x5cHeader(huge, huge, huge, huge, huge, huge, huge)["x5c"].([]string)
	for i := range many {
		many[i] = "AAAA"
	}
	header, err = json.Marshal(map[string]any{"alg": "RS256", "x5c": many})
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Verify(t.Context(), segment(string(header))+"."+segment(`{}`)+".AAAA")
	wantCode(t, err, api.CodeTokenInvalid, "7 certificates")
}
