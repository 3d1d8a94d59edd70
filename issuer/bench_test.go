package issuer

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"testing"
)

func benchmarkSetup(b *testing.B) (testCA, *Profile, Subject) {
	b.Helper()
	ca := newTestCA(b, ECDSAP256)
	p := ca.compile(b, ServiceDefault(), testEndpoints())
	key := mustKey(b, ECDSAP256).(*ecdsa.PrivateKey)
	s := testSubject(b, mustCheckKey(b, &key.PublicKey))
	s.DNSNames, s.IPs = s.DNSNames[:1], s.IPs[:1]
	b.ReportAllocs()
	b.ResetTimer()
	return ca, p, s
}

// BenchmarkIssue is what one issuance costs in this package after the CSR.
func BenchmarkIssue(b *testing.B) {
	ca, p, s := benchmarkSetup(b)
	for b.Loop() {
		draft, err := p.Draft(s, epoch())
		if err != nil {
			b.Fatal(err)
		}
		checked, err := draft.Check()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := ca.issuer.Sign(checked); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCreateCertificate is the same certificate by crypto/x509.
func BenchmarkCreateCertificate(b *testing.B) {
	ca, p, s := benchmarkSetup(b)
	draft, err := p.Draft(s, epoch())
	if err != nil {
		b.Fatal(err)
	}
	template := draft.template(b)
	for b.Loop() {
		if _, err := x509.CreateCertificate(rand.Reader, template, ca.issuing, s.Key.key, ca.issuingKey); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDraft(b *testing.B) {
	_, p, s := benchmarkSetup(b)
	for b.Loop() {
		if _, err := p.Draft(s, epoch()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	_, p, s := benchmarkSetup(b)
	draft, err := p.Draft(s, epoch())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		draft.steps = new(steps)
		if _, err := draft.Check(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLint(b *testing.B) {
	_, p, s := benchmarkSetup(b)
	draft, err := p.Draft(s, epoch())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := draft.lint(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	ca, p, _ := benchmarkSetup(b)
	for b.Loop() {
		if _, err := ca.issuer.Compile(p.config, testEndpoints()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseCSR(b *testing.B) {
	for _, a := range []Algorithm{ECDSAP256, ECDSAP384, Ed25519, RSA2048, RSA4096} {
		b.Run(string(a), func(b *testing.B) {
			der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, mustKey(b, a))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				if _, err := ParseCSR(der); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
