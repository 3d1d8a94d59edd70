package issuer

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
)

func TestProfileDefaults(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	p := ca.compile(t, ProfileConfig{Name: "minimal", ServerAuth: true}, Endpoints{})
	if p.Name() != "minimal" || p.Lifetime() != time.Hour || p.Grace() != 0 || p.config.Backdate != time.Minute || len(p.config.KeyAlgorithms) != 6 || p.Issuer() != ca.issuer {
		t.Errorf("profile %+v", p.config)
	}
	for _, config := range []ProfileConfig{ServiceDefault(), Operator(), Server(), OCSPResponder(), Feed()} {
		if p := ca.compile(t, config, testEndpoints()); p.Lifetime() != config.Lifetime || p.Grace() != config.Grace {
			t.Errorf("%s: %s, %s", config.Name, p.Lifetime(), p.Grace())
		}
	}
}

func TestProfileRefusals(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	good := ServiceDefault()
	good.TrustDomain = mustTrustDomain(t, "prod.example.org")
	url := func(u string) Endpoints { return Endpoints{OCSP: u} }
	crl := func(u string) Endpoints { return Endpoints{CRL: func(certs.Serial) string { return u }} }
	for name, c := range map[string]struct {
		change func(*ProfileConfig)
		e      Endpoints
	}{
		"no name":              {change: func(c *ProfileConfig) { c.Name = "" }},
		"long name":            {change: func(c *ProfileConfig) { c.Name = strings.Repeat("x", 64) }},
		"name with newline":    {change: func(c *ProfileConfig) { c.Name = "a\nb" }},
		"upper-case name":      {change: func(c *ProfileConfig) { c.Name = "Web" }},
		"no trust domain":      {change: func(c *ProfileConfig) { c.TrustDomain = certs.TrustDomain{} }},
		"under a minute":       {change: func(c *ProfileConfig) { c.Lifetime = 59 * time.Second }},
		"over 90 days":         {change: func(c *ProfileConfig) { c.Lifetime = MaxLifetime + time.Second }},
		"negative lifetime":    {change: func(c *ProfileConfig) { c.Lifetime = -time.Hour }},
		"fraction":             {change: func(c *ProfileConfig) { c.Lifetime = time.Hour + time.Millisecond }},
		"long backdate":        {change: func(c *ProfileConfig) { c.Backdate = 2 * time.Hour }},
		"negative backdate":    {change: func(c *ProfileConfig) { c.Backdate = -time.Second }},
		"long grace":           {change: func(c *ProfileConfig) { c.Grace = 91 * 24 * time.Hour }},
		"negative grace":       {change: func(c *ProfileConfig) { c.Grace = -1 }},
		"long threshold":       {change: func(c *ProfileConfig) { c.NoRevAvailBelow = MaxNoRevAvailBelow + time.Second }},
		"negative threshold":   {change: func(c *ProfileConfig) { c.NoRevAvailBelow = -time.Second }},
		"staple and none":      {change: func(c *ProfileConfig) { c.MustStaple, c.NoRevAvailBelow = true, time.Minute }},
		"staple from nowhere":  {change: func(c *ProfileConfig) { c.MustStaple = true }, e: Endpoints{CRL: testEndpoints().CRL}},
		"unknown key":          {change: func(c *ProfileConfig) { c.KeyAlgorithms = []Algorithm{"dsa"} }},
		"key twice":            {change: func(c *ProfileConfig) { c.KeyAlgorithms = []Algorithm{Ed25519, Ed25519} }},
		"no use":               {change: func(c *ProfileConfig) { c.ServerAuth, c.ClientAuth = false, false }},
		"OCSP and server":      {change: func(c *ProfileConfig) { c.OCSPSigning = true }},
		"documents and client": {change: func(c *ProfileConfig) { c.DocumentSigning = true }},
		"documents and OCSP": {change: func(c *ProfileConfig) {
			c.DocumentSigning, c.OCSPSigning, c.ServerAuth, c.ClientAuth = true, true, false, false
		}},
		"https":               {e: url("https://pki.example.org/ocsp")},
		"no host":             {e: url("http:///ocsp")},
		"space":               {e: url("http://pki.example.org/o csp")},
		"not ASCII":           {e: url("http://pkí.example.org/")},
		"fragment":            {e: url("http://pki.example.org/#a")},
		"long URL":            {e: url("http://pki.example.org/" + strings.Repeat("x", 512))},
		"bad CRL":             {e: crl("ldap://pki.example.org/")},
		"delta without a CRL": {e: Endpoints{FreshestCRL: testEndpoints().FreshestCRL}},
	} {
		config := good
		if c.change != nil {
			c.change(&config)
		}
		if _, err := ca.issuer.Compile(config, c.e); err == nil || !strings.HasPrefix(err.Error(), "profile ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ca.issuer.Compile(good, Endpoints{CRL: func(certs.Serial) string { return "" }, FreshestCRL: func(certs.Serial) string { return "" }}); err != nil {
		t.Errorf("functions that return nothing: %v", err)
	}
}

// A profile whose certificates have a lint finding is refused: here one that leaves
// out a lint's demand because the issuer is unsound.
func TestUnsoundProfileIsRefused(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	unsound := *ca.issuing
	unsound.RawSubject = []byte{0x30, 0} // an empty issuer's name: RFC 5280, section 4.1.2.4, forbids it
	i := *ca.issuer
	i.cert = &unsound
	config := ServiceDefault()
	config.TrustDomain = mustTrustDomain(t, "prod.example.org")
	if _, err := i.Compile(config, testEndpoints()); err == nil || !strings.Contains(err.Error(), "e_issuer_field_empty") {
		t.Fatal(err)
	}
}

// The option LintEach refuses a draft that passes the check and not the linter.
func TestLintEach(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	config := ServiceDefault()
	config.LintEach = true
	p := ca.compile(t, config, testEndpoints())
	s := testSubject(t, mustCheckKey(t, mustKey(t, ECDSAP256).Public()))
	ca.issue(t, p, s, epoch())
	s.DNSNames = []string{"xn--99999999999.example.org"} // no valid Punycode; no concern of the check's
	for _, each := range []bool{true, false} {
		p.config.LintEach = each
		draft, err := p.Draft(s, epoch())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := draft.Check(); (err != nil) != each {
			t.Errorf("lint each %t: %v", each, err)
		}
	}
}

// SPIFFE's own examples of trust domains compile: hosts that are no DNS names.
func TestTrustDomainsThatAreNoDNSNames(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	for _, name := range []string{"demo", "under_score", "10.0.0.1", strings.Repeat("long.", 50) + "org"} {
		config := ServiceDefault()
		config.TrustDomain = mustTrustDomain(t, name)
		if _, err := ca.issuer.Compile(config, testEndpoints()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLifetimes(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	p := ca.compile(t, ServiceDefault(), testEndpoints())
	s := testSubject(t, mustCheckKey(t, mustKey(t, ECDSAP256).Public()))
	for ttl, want := range map[time.Duration]time.Duration{0: time.Hour, time.Minute: time.Minute, 48 * time.Hour: time.Hour} {
		s.TTL = ttl
		cert := ca.issue(t, p, s, epoch())
		if got := cert.NotAfter.Sub(epoch()); got != want || !cert.NotBefore.Equal(epoch().Add(-time.Minute)) {
			t.Errorf("TTL %s: valid for %s from %s", ttl, got, cert.NotBefore)
		}
	}
	if _, err := p.Draft(s, ca.issuing.NotAfter); !errors.Is(err, ErrIssuerExpired) {
		t.Error(err)
	}
	if _, err := p.Draft(s, ca.issuing.NotBefore.Add(-time.Second)); !errors.Is(err, ErrClock) {
		t.Error(err)
	}
}

func TestAlgorithmNames(t *testing.T) {
	for _, a := range Algorithms() {
		if got, err := ParseAlgorithm(string(a)); err != nil || got != a {
			t.Errorf("%s: %s, %v", a, got, err)
		}
	}
	var a Algorithm
	if err := a.UnmarshalText([]byte("")); err != nil || a != ECDSAP256 {
		t.Errorf("default %s, %v", a, err)
	}
	if err := a.UnmarshalText([]byte("rsa")); err == nil || !strings.Contains(err.Error(), "rsa-2048") {
		t.Error(err)
	}
	if _, err := GenerateKey("rsa"); err == nil {
		t.Error("generated an unknown key")
	}
}

func TestIssuerAccessors(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	if ca.issuer.ID() != KeyID(ca.issuing) || ca.issuer.Certificate() != ca.issuing || !slices.Equal(ca.issuer.Chain()[0], ca.issuing.Raw) {
		t.Error("accessors")
	}
	ca.issuer.Chain()[0] = nil
	ca.issuer.SignatureAlgorithm()[0] = 0
	if ca.issuer.Chain()[0] == nil || ca.issuer.SignatureAlgorithm()[0] == 0 {
		t.Error("the caller can change the issuer")
	}
	cert := ca.issue(t, ca.compile(t, ServiceDefault(), testEndpoints()), testSubject(t, mustCheckKey(t, mustKey(t, Ed25519).Public())), epoch())
	leaf, err := x509.ParseCertificate(cert.DER)
	if err != nil || cert.Issuer != ca.issuer.ID() || cert.Profile != "default" {
		t.Errorf("%+v, %v", cert, err)
	}
	pool, chain := x509.NewCertPool(), x509.NewCertPool()
	pool.AddCert(ca.root)
	chain.AddCert(ca.issuing)
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: chain, CurrentTime: epoch(), KeyUsages: []x509.ExtKeyUsage{usage}, DNSName: "payments.svc.cluster.local"}); err != nil {
			t.Error(err)
		}
	}
}

func TestFirstFailureIsTheFirstSubjects(t *testing.T) {
	subjects := make([]Subject, 50)
	for i := range subjects {
		subjects[i].DNSNames = make([]string, i)
	}
	failing := func(from int) func(Subject) error {
		return func(s Subject) error {
			if len(s.DNSNames) < from {
				return nil
			}
			return fmt.Errorf("subject %d", len(s.DNSNames))
		}
	}
	if err := firstFailure(subjects, failing(7)); err == nil || err.Error() != "subject 7" {
		t.Errorf("got %v, want subject 7", err)
	}
	if err := firstFailure(subjects, failing(50)); err != nil {
		t.Error(err)
	}
}
