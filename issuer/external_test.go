package issuer

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"
)

// sign makes what an external CA answers to csr, with changes.
func signExternally(t *testing.T, ca testCA, csr []byte, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	if err := request.CheckSignature(); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(77), Subject: request.Subject, NotBefore: epoch().Add(-time.Minute), NotAfter: epoch().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.root, request.PublicKey, ca.rootKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestIntermediateCSR(t *testing.T) {
	for _, a := range CAAlgorithms() {
		csr, err := NewIntermediateCSR(mustKey(t, a), IntermediateRequest{TrustDomain: mustTrustDomain(t, "prod.example.org")})
		if err != nil {
			t.Fatal(err)
		}
		request, err := x509.ParseCertificateRequest(csr)
		if err != nil {
			t.Fatal(err)
		}
		if err := request.CheckSignature(); err != nil {
			t.Error(err)
		}
		if len(request.Extensions) != 2 || !request.Extensions[0].Critical || !bytes.Equal(request.Extensions[0].Value, []byte{0x30, 6, 1, 1, 0xff, 2, 1, 0}) {
			t.Errorf("extensions %v", request.Extensions)
		}
		if _, err := ParseCSR(csr); err != nil {
			t.Error(err)
		}
	}
	if _, err := NewIntermediateCSR(mustKey(t, RSA2048), IntermediateRequest{TrustDomain: mustTrustDomain(t, "prod.example.org")}); err == nil {
		t.Error("RSA accepted")
	}
}

func TestCheckIntermediate(t *testing.T) {
	ca, other := newTestCA(t, ECDSAP256), newTestCA(t, ECDSAP256)
	key := mustKey(t, ECDSAP256)
	csr, err := NewIntermediateCSR(key, IntermediateRequest{TrustDomain: mustTrustDomain(t, "prod.example.org")})
	if err != nil {
		t.Fatal(err)
	}
	good := signExternally(t, ca, csr, nil)
	if err := CheckIntermediate([]*x509.Certificate{good}, ca.root, key.Public(), epoch()); err != nil {
		t.Fatal(err)
	}
	if _, err := New([]*x509.Certificate{good}, key); err != nil {
		t.Fatal(err)
	}
	changed := func(change func(*x509.Certificate)) []*x509.Certificate {
		return []*x509.Certificate{signExternally(t, ca, csr, change)}
	}
	for name, c := range map[string]struct {
		chain []*x509.Certificate
		root  *x509.Certificate
		pub   crypto.PublicKey
		now   time.Time
		want  string
	}{
		"empty chain":         {nil, ca.root, key.Public(), epoch(), "empty"},
		"no root":             {[]*x509.Certificate{good}, nil, key.Public(), epoch(), "root is missing"},
		"another key":         {[]*x509.Certificate{good}, ca.root, mustKey(t, ECDSAP256).Public(), epoch(), "does not hold the key"},
		"another root":        {[]*x509.Certificate{good}, other.root, key.Public(), epoch(), "issuer is"},
		"a leaf as root":      {[]*x509.Certificate{good}, ca.issuing, key.Public(), epoch(), "not signed by itself"},
		"root in the chain":   {[]*x509.Certificate{ca.root, good}, ca.root, ca.root.PublicKey, epoch(), "self-issued"},
		"wrong order":         {[]*x509.Certificate{good, ca.issuing}, ca.root, key.Public(), epoch(), "next comes"},
		"not yet":             {[]*x509.Certificate{good}, ca.root, key.Public(), epoch().Add(-30 * time.Minute), "not now"},
		"expired":             {[]*x509.Certificate{good}, ca.root, key.Public(), epoch().AddDate(2, 0, 0), "not now"},
		"root expired":        {[]*x509.Certificate{good}, ca.root, key.Public(), epoch().AddDate(20, 0, 0), "not now"},
		"no CA":               {changed(func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false }), ca.root, key.Public(), epoch(), "not a CA"},
		"no CRL signing":      {changed(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }), ca.root, key.Public(), epoch(), "cRLSign"},
		"clients only":        {changed(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), ca.root, key.Public(), epoch(), "extended key usage"},
		"same name as root's": {changed(func(c *x509.Certificate) { c.Subject = ca.root.Subject }), ca.root, key.Public(), epoch(), "self-issued"},
	} {
		err := CheckIntermediate(c.chain, c.root, c.pub, c.now)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A chain whose upper certificates leave no room for this CA's leaves verifies by itself,
// and every certificate issued under it would be refused (RFC 5280, section 6.1.4 (m)).
func TestCheckIntermediateLeavesRoomForLeaves(t *testing.T) {
	td := mustTrustDomain(t, "prod.example.org")
	ca := newTestCA(t, ECDSAP256)
	upperKey, key := mustKey(t, ECDSAP256), mustKey(t, ECDSAP256)
	upperCSR, err := NewIntermediateCSR(upperKey, IntermediateRequest{TrustDomain: td, Name: "upper"})
	if err != nil {
		t.Fatal(err)
	}
	csr, err := NewIntermediateCSR(key, IntermediateRequest{TrustDomain: td})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		path int
		zero bool
		good bool
	}{
		{"no room", 0, true, false},
		{"room for one", 1, false, true},
		{"no limit", -1, false, true},
	} {
		upper := signExternally(t, ca, upperCSR, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = tt.path, tt.zero })
		issuing := signExternally(t, testCA{root: upper, rootKey: upperKey}, csr, nil)
		err := CheckIntermediate([]*x509.Certificate{issuing, upper}, ca.root, key.Public(), epoch())
		if tt.good && err != nil || !tt.good && (err == nil || !strings.Contains(err.Error(), "path length")) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// A root of the same name with another key is not the root (Vault CVE-2025-6037's kin).
func TestCheckIntermediateWithNamesake(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	key := mustKey(t, ECDSAP256)
	template := *ca.root
	template.PublicKey, template.SubjectKeyId = nil, []byte{1}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	namesake, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckIntermediate([]*x509.Certificate{ca.issuing}, namesake, ca.issuing.PublicKey, epoch()); err == nil || !strings.Contains(err.Error(), "signature") {
		t.Fatal(err)
	}
}

func TestNewIssuerRefusals(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	leafKey := mustKey(t, ECDSAP256)
	leaf, err := x509.ParseCertificate(ca.issue(t, ca.compile(t, ServiceDefault(), testEndpoints()), testSubject(t, mustCheckKey(t, leafKey.Public())), epoch()).DER)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		chain  []*x509.Certificate
		signer crypto.Signer
	}{
		"empty chain": {nil, ca.issuingKey},
		"nil":         {[]*x509.Certificate{nil}, ca.issuingKey},
		"no key":      {[]*x509.Certificate{ca.issuing}, nil},
		"wrong key":   {[]*x509.Certificate{ca.issuing}, ca.rootKey},
		"the root":    {[]*x509.Certificate{ca.root}, ca.rootKey},
		"a leaf":      {[]*x509.Certificate{leaf}, leafKey},
	} {
		if _, err := New(c.chain, c.signer); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}
