package issuer

import (
	"crypto"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/zmap/zlint/v3/lint"
)

func TestRootAndIntermediate(t *testing.T) {
	for _, a := range CAAlgorithms() {
		ca := newTestCA(t, a)
		pool := x509.NewCertPool()
		pool.AddCert(ca.root)
		if _, err := ca.issuing.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: epoch(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			t.Errorf("%s: %v", a, err)
		}
		const usage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		switch {
		case ca.root.MaxPathLen != -1 || ca.issuing.MaxPathLen != 0 || !ca.issuing.MaxPathLenZero:
			t.Errorf("%s: path lengths %d and %d", a, ca.root.MaxPathLen, ca.issuing.MaxPathLen)
		case ca.root.KeyUsage != usage || ca.issuing.KeyUsage != usage:
			t.Errorf("%s: key usages %b and %b", a, ca.root.KeyUsage, ca.issuing.KeyUsage)
		case len(ca.root.SubjectKeyId) != 20 || len(ca.issuing.SubjectKeyId) != 20:
			t.Errorf("%s: key identifiers of %d and %d octets", a, len(ca.root.SubjectKeyId), len(ca.issuing.SubjectKeyId))
		case ca.root.NotAfter.Sub(ca.root.NotBefore) != DefaultRootLifetime || ca.issuing.NotAfter.Sub(ca.issuing.NotBefore) != DefaultIntermediateLifetime:
			t.Errorf("%s: lifetimes", a)
		case len(ca.root.CRLDistributionPoints)+len(ca.root.IssuingCertificateURL) != 0:
			t.Errorf("%s: the root points at revocation of itself", a)
		case len(ca.issuing.CRLDistributionPoints) != 1 || len(ca.issuing.IssuingCertificateURL) != 1:
			t.Errorf("%s: the intermediate does not point at the root's CRL and certificate", a)
		case !strings.HasPrefix(ca.root.Subject.CommonName, "prod.example.org Root CA ") || !strings.HasPrefix(ca.issuing.Subject.CommonName, "prod.example.org Issuing CA "):
			t.Errorf("%s: names %s and %s", a, ca.root.Subject, ca.issuing.Subject)
		}
	}
}

// What this package makes of CA certificates passes the same lints as leaves.
func TestCACertificatesAreClean(t *testing.T) {
	l, err := newLinter()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range CAAlgorithms() {
		ca := newTestCA(t, a)
		for _, cert := range []*x509.Certificate{ca.root, ca.issuing} {
			if err := l.run(cert.Raw); err != nil {
				t.Errorf("%s: %s: %v", a, cert.Subject, err)
			}
		}
	}
}

func TestCANames(t *testing.T) {
	td := mustTrustDomain(t, strings.Repeat("long.", 40)+"example.org")
	root, err := NewRoot(mustKey(t, ECDSAP256), RootRequest{TrustDomain: td, NotBefore: epoch()})
	if err != nil {
		t.Fatal(err)
	}
	cn := root.Subject.CommonName
	if len(cn) != 64 || !strings.HasSuffix(cn, " Root CA "+KeyID(root)[:8]) {
		t.Errorf("name %q has %d characters", cn, len(cn))
	}
	named, err := NewRoot(mustKey(t, ECDSAP256), RootRequest{TrustDomain: td, Name: "Acme, Inc.", NotBefore: epoch()})
	if err != nil || !strings.HasPrefix(named.Subject.CommonName, "Acme, Inc. Root CA ") {
		t.Errorf("name %s, %v", named.Subject, err)
	}
	for _, name := range []string{" padded", "new\nline", "nul\x00", "bücher", "\x7f"} {
		if _, err := NewRoot(mustKey(t, ECDSAP256), RootRequest{TrustDomain: td, Name: name, NotBefore: epoch()}); err == nil {
			t.Errorf("name %q accepted", name)
		}
	}
}

func TestCARefusals(t *testing.T) {
	td := mustTrustDomain(t, "prod.example.org")
	rootRequest := RootRequest{TrustDomain: td, NotBefore: epoch()}
	for name, c := range map[string]struct {
		key     crypto.Signer
		request RootRequest
	}{
		"RSA":             {mustKey(t, RSA2048), rootRequest},
		"no trust domain": {mustKey(t, ECDSAP256), RootRequest{NotBefore: epoch()}},
		"no time":         {mustKey(t, ECDSAP256), RootRequest{TrustDomain: td}},
		"short":           {mustKey(t, ECDSAP256), RootRequest{TrustDomain: td, NotBefore: epoch(), Lifetime: time.Minute}},
		"negative":        {mustKey(t, ECDSAP256), RootRequest{TrustDomain: td, NotBefore: epoch(), Lifetime: -time.Hour}},
	} {
		if _, err := NewRoot(c.key, c.request); err == nil {
			t.Errorf("root: %s accepted", name)
		}
	}
	ca := newTestCA(t, ECDSAP256)
	good := IntermediateRequest{TrustDomain: td, NotBefore: epoch()}
	with := func(change func(*IntermediateRequest)) IntermediateRequest {
		r := good
		change(&r)
		return r
	}
	fresh := mustKey(t, ECDSAP256)
	for name, c := range map[string]struct {
		signer crypto.Signer
		pub    crypto.PublicKey
		r      IntermediateRequest
	}{
		"another root's key":  {fresh, fresh.Public(), good},
		"the root's own key":  {ca.rootKey, ca.rootKey.Public(), good},
		"RSA":                 {ca.rootKey, mustKey(t, RSA2048).Public(), good},
		"https CRL":           {ca.rootKey, fresh.Public(), with(func(r *IntermediateRequest) { r.CRL = "https://pki.example.org/x.crl" })},
		"CRL without host":    {ca.rootKey, fresh.Public(), with(func(r *IntermediateRequest) { r.CRL = "http:///x.crl" })},
		"URL with user":       {ca.rootKey, fresh.Public(), with(func(r *IntermediateRequest) { r.CAIssuers = "http://a:b@pki.example.org/" })},
		"URL with newline":    {ca.rootKey, fresh.Public(), with(func(r *IntermediateRequest) { r.CAIssuers = "http://pki.example.org/\n" })},
		"after the root ends": {ca.rootKey, fresh.Public(), with(func(r *IntermediateRequest) { r.NotBefore = ca.root.NotAfter.Add(time.Hour) })},
		"no trust domain":     {ca.rootKey, fresh.Public(), with(func(r *IntermediateRequest) { r.TrustDomain = mustIDZero().TrustDomain() })},
	} {
		if _, err := NewIntermediate(ca.root, c.signer, c.pub, c.r); err == nil {
			t.Errorf("intermediate: %s accepted", name)
		}
	}
}

func TestIntermediateLiesWithinRoot(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	r := IntermediateRequest{TrustDomain: mustTrustDomain(t, "prod.example.org"), NotBefore: ca.root.NotBefore.Add(-time.Hour), Lifetime: 2 * DefaultRootLifetime}
	cert, err := NewIntermediate(ca.root, ca.rootKey, mustKey(t, Ed25519).Public(), r)
	if err != nil {
		t.Fatal(err)
	}
	if !cert.NotBefore.Equal(ca.root.NotBefore) || !cert.NotAfter.Equal(ca.root.NotAfter) {
		t.Fatalf("intermediate %s to %s", cert.NotBefore, cert.NotAfter)
	}
}

func TestRootCRL(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	revoked := []x509.RevocationListEntry{{SerialNumber: ca.issuing.SerialNumber, RevocationTime: epoch(), ReasonCode: 4}}
	der, err := SignRootCRL(ca.root, ca.rootKey, revoked, big.NewInt(7), epoch(), epoch().AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := crl.CheckSignatureFrom(ca.root); err != nil || crl.Number.Int64() != 7 || len(crl.RevokedCertificateEntries) != 1 {
		t.Fatalf("%v, number %d, %d entries", err, crl.Number, len(crl.RevokedCertificateEntries))
	}
	long := new(big.Int).Lsh(big.NewInt(1), 160)
	for name, err := range map[string]error{
		"wrong key":       second(SignRootCRL(ca.root, ca.issuingKey, nil, big.NewInt(1), epoch(), epoch().Add(time.Hour))),
		"no number":       second(SignRootCRL(ca.root, ca.rootKey, nil, nil, epoch(), epoch().Add(time.Hour))),
		"negative number": second(SignRootCRL(ca.root, ca.rootKey, nil, big.NewInt(-1), epoch(), epoch().Add(time.Hour))),
		"long number":     second(SignRootCRL(ca.root, ca.rootKey, nil, long, epoch(), epoch().Add(time.Hour))),
		"no validity":     second(SignRootCRL(ca.root, ca.rootKey, nil, big.NewInt(1), epoch(), epoch())),
	} {
		if err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// The reasons for leaving lints out stay true: each of them exists, and comes out of an RFC.
func TestLintsLeftOut(t *testing.T) {
	for name, reason := range notApplicable() {
		if l := lint.GlobalRegistry().CertificateLints().ByName(name); l == nil || reason == "" {
			t.Errorf("%s is no lint, or is left out without a reason", name)
		}
	}
	l, err := newLinter()
	if err != nil {
		t.Fatal(err)
	}
	names := l.registry.CertificateLints().Lints()
	if len(names) < 80 {
		t.Errorf("only %d lints", len(names))
	}
	for _, one := range names {
		if strings.Contains(one.Name, "emudhra") || one.Source == lint.CABFBaselineRequirements || one.Source == lint.Community {
			t.Errorf("%s is not for a private PKI", one.Name)
		}
	}
}
