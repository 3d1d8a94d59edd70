package issuer

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
)

// hostile lists what a broken or malicious encoder could produce, as changes to the honest template.
func hostile() map[string]func(*x509.Certificate) {
	uri := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			panic(err)
		}
		return u
	}
	extension := func(critical bool, value []byte, id ...int) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Critical: critical, Value: value})
		}
	}
	return map[string]func(*x509.Certificate){
		"CA":                     func(c *x509.Certificate) { c.IsCA = true; c.KeyUsage |= x509.KeyUsageCertSign },
		"CA without key usage":   func(c *x509.Certificate) { c.IsCA = true },
		"no basic constraints":   func(c *x509.Certificate) { c.BasicConstraintsValid = false },
		"certificate signing":    func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign },
		"CRL signing":            func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign },
		"no key usage":           func(c *x509.Certificate) { c.KeyUsage = 0 },
		"another key usage":      func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement },
		"no extended key usage":  func(c *x509.Certificate) { c.ExtKeyUsage = nil },
		"any extended key usage": func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageAny) },
		"code signing":           func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) },
		"OCSP signing":           func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) },
		"document signing": func(c *x509.Certificate) {
			c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 36}}
		},
		"unknown extended usage":   func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} },
		"server only":              func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] },
		"two URIs":                 func(c *x509.Certificate) { c.URIs = append(c.URIs, uri("spiffe://prod.example.org/other")) },
		"the same URI twice":       func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) },
		"no URI":                   func(c *x509.Certificate) { c.URIs = nil },
		"another identity":         func(c *x509.Certificate) { c.URIs = []*url.URL{uri("spiffe://prod.example.org/payments/apj")} },
		"same path, other domain":  func(c *x509.Certificate) { c.URIs = []*url.URL{uri("spiffe://evil.example.org/payments/api")} },
		"operator's identity":      func(c *x509.Certificate) { c.URIs = []*url.URL{uri("spiffe://prod.example.org/handfast/operator/eve")} },
		"https URI":                func(c *x509.Certificate) { c.URIs = []*url.URL{uri("https://prod.example.org/payments/api")} },
		"one more DNS name":        func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames[:2:2], "evil.example.org") },
		"one DNS name less":        func(c *x509.Certificate) { c.DNSNames = c.DNSNames[:1] },
		"another DNS name":         func(c *x509.Certificate) { c.DNSNames = []string{c.DNSNames[0], "*.example.org"} },
		"no names but the URI":     func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil },
		"another address":          func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 9, 9, 9), c.IPAddresses[1]} },
		"one more address":         func(c *x509.Certificate) { c.IPAddresses = append(c.IPAddresses[:2:2], net.IPv4(10, 9, 9, 9)) },
		"an email address":         func(c *x509.Certificate) { c.EmailAddresses = []string{"eve@example.org"} },
		"no names at all":          func(c *x509.Certificate) { c.DNSNames, c.IPAddresses, c.URIs = nil, nil, nil },
		"another common name":      func(c *x509.Certificate) { c.Subject.CommonName = "root" },
		"no common name":           func(c *x509.Certificate) { c.Subject = pkix.Name{} },
		"an organisation":          func(c *x509.Certificate) { c.Subject.Organization = []string{"system:masters"} },
		"organisation alone":       func(c *x509.Certificate) { c.Subject = pkix.Name{Organization: []string{"payments/api"}} },
		"lives longer":             func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Second) },
		"outlives the issuer":      func(c *x509.Certificate) { c.NotAfter = c.NotAfter.AddDate(20, 0, 0) },
		"begins earlier":           func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(-time.Second) },
		"begins before the issuer": func(c *x509.Certificate) { c.NotBefore = c.NotBefore.AddDate(-2, 0, 0) },
		"begins later":             func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(time.Hour) },
		"another serial":           func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Add(c.SerialNumber, big.NewInt(1)) },
		"a short serial":           func(c *x509.Certificate) { c.SerialNumber = big.NewInt(4711) },
		"a long serial":            func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(c.SerialNumber, 8) },
		"another key's identifier": func(c *x509.Certificate) { c.SubjectKeyId = bytes.Repeat([]byte{7}, 20) },
		"no key identifier":        func(c *x509.Certificate) { c.SubjectKeyId = nil },
		"no CRL":                   func(c *x509.Certificate) { c.CRLDistributionPoints = nil },
		"another shard":            func(c *x509.Certificate) { c.CRLDistributionPoints = []string{"http://pki.example.org/crl/16/x.crl"} },
		"one more CRL": func(c *x509.Certificate) {
			c.CRLDistributionPoints = append(c.CRLDistributionPoints[:1:1], "http://evil/")
		},
		"no delta CRL":             func(c *x509.Certificate) { c.ExtraExtensions = nil },
		"two delta CRLs":           func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions[:1:1], c.ExtraExtensions[0]) },
		"no OCSP":                  func(c *x509.Certificate) { c.OCSPServer = nil },
		"another OCSP":             func(c *x509.Certificate) { c.OCSPServer = []string{"http://evil.example.org/"} },
		"two OCSP":                 func(c *x509.Certificate) { c.OCSPServer = append(c.OCSPServer[:1:1], c.OCSPServer[0]) },
		"no AIA":                   func(c *x509.Certificate) { c.OCSPServer, c.IssuingCertificateURL = nil, nil },
		"a policy":                 func(c *x509.Certificate) { c.Policies = []x509.OID{mustOID("1.2.3")} },
		"name constraints":         func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"evil.example.org"} },
		"no check":                 extension(false, []byte{5, 0}, 1, 3, 6, 1, 5, 5, 7, 48, 1, 5),
		"noRevAvail":               extension(false, []byte{5, 0}, 2, 5, 29, 56),
		"an unknown extension":     extension(false, []byte("x"), 1, 2, 3),
		"an unknown critical one":  extension(true, []byte("x"), 1, 2, 3),
		"critical AIA":             extension(true, []byte("x"), 1, 3, 6, 1, 5, 5, 7, 1, 1),
		"empty extended key usage": extension(false, []byte{0x30, 0}, 2, 5, 29, 37),
		"extended usage twice":     extension(false, []byte{0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1}, 2, 5, 29, 37),
		"critical SAN":             extension(true, nil, 2, 5, 29, 17),
		"empty SAN":                extension(false, []byte{0x30, 0}, 2, 5, 29, 17),
		"not critical usage":       extension(false, []byte{3, 2, 7, 0x80}, 2, 5, 29, 15),
		"zero length usage":        extension(true, []byte{}, 2, 5, 29, 15),
		"empty constraints":        extension(true, []byte{}, 2, 5, 29, 19),
		"issuer's serial in AKI":   extension(false, []byte{0x30, 3, 0x82, 1, 1}, 2, 5, 29, 35),
		"empty CRL points":         extension(false, []byte{0x30, 0}, 2, 5, 29, 31),
		"CRL issuer":               extension(false, []byte{0x30, 6, 0x30, 4, 0xa2, 2, 0x86, 0}, 2, 5, 29, 31),
	}
}

func mustOID(s string) x509.OID {
	oid, err := x509.ParseOID(s)
	if err != nil {
		panic(err)
	}
	return oid
}

// Invariant 7: a draft that fails its check cannot be signed: drafts with any wrong part do not pass.
func TestHostileDraftsDoNotPass(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	p := ca.compile(t, ServiceDefault(), testEndpoints())
	s := testSubject(t, mustCheckKey(t, mustKey(t, ECDSAP256).Public()))
	honest := func() (Draft, *x509.Certificate) {
		draft, err := p.Draft(s, epoch())
		if err != nil {
			t.Fatal(err)
		}
		return draft, draft.template(t)
	}
	try := func(t *testing.T, draft Draft, template, parent *x509.Certificate, pub any, mustFail bool) {
		t.Helper()
		der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, ca.issuingKey)
		if err != nil {
			t.Fatal(err)
		}
		draft.tbs = tbsOf(t, der)
		checked, err := draft.Check()
		if mustFail == (err == nil) {
			t.Fatalf("check: %v", err)
		}
		if _, err := ca.issuer.Sign(checked); mustFail == (err == nil) {
			t.Fatalf("sign: %v", err)
		}
	}
	for name, change := range hostile() {
		t.Run(name, func(t *testing.T) {
			draft, template := honest()
			change(template)
			try(t, draft, template, ca.issuing, s.Key.key, true)
		})
	}
	t.Run("another key", func(t *testing.T) {
		draft, template := honest()
		try(t, draft, template, ca.issuing, mustKey(t, ECDSAP256).Public(), true)
	})
	t.Run("another issuer's name", func(t *testing.T) {
		draft, template := honest()
		parent := *ca.issuing
		parent.RawSubject = ca.root.RawSubject
		try(t, draft, template, &parent, s.Key.key, true)
	})
	t.Run("another issuer's key identifier", func(t *testing.T) {
		draft, template := honest()
		parent := *ca.issuing
		parent.SubjectKeyId = ca.root.SubjectKeyId
		try(t, draft, template, &parent, s.Key.key, true)
	})
	t.Run("honest", func(t *testing.T) {
		draft, template := honest()
		try(t, draft, template, ca.issuing, s.Key.key, false)
	})
}

func tbsOf(t *testing.T, der []byte) []byte {
	t.Helper()
	var cert struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &cert); err != nil {
		t.Fatal(err)
	}
	return cert.TBS.FullBytes
}

// Every bit of a draft is under the check: there is none that can flip unnoticed, nor a
// byte that can go missing or be appended.
func TestCheckCoversEveryBit(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	for _, c := range []ProfileConfig{ServiceDefault(), OCSPResponder(), Feed()} {
		p := ca.compile(t, c, testEndpoints())
		s := testSubject(t, mustCheckKey(t, mustKey(t, ECDSAP256).Public()))
		if c.Reserved {
			s = Subject{ID: mustID(t, "spiffe://prod.example.org/handfast/"+strings.Repeat("ocsp/", 20)+"1"), Key: s.Key}
		}
		draft, err := p.Draft(s, epoch())
		if err != nil {
			t.Fatal(err)
		}
		refused := func(tbs []byte) bool {
			changed := draft
			changed.tbs, changed.steps = tbs, new(steps)
			_, err := changed.Check()
			return err != nil
		}
		for i := range draft.tbs {
			for bit := range 8 {
				tbs := bytes.Clone(draft.tbs)
				tbs[i] ^= 1 << bit
				if !refused(tbs) {
					t.Fatalf("%s: bit %d of byte %d flips unnoticed", c.Name, bit, i)
				}
			}
			if !refused(draft.tbs[:i]) || !refused(append(bytes.Clone(draft.tbs[:i]), draft.tbs[i+1:]...)) {
				t.Fatalf("%s: truncated or shortened at byte %d unnoticed", c.Name, i)
			}
		}
		if !refused(append(bytes.Clone(draft.tbs), 0)) || !refused(nil) {
			t.Fatal("trailing data or nothing at all passes")
		}
		if refused(draft.tbs) {
			t.Fatal("the honest draft does not pass")
		}
	}
}

// An Endpoints function that is not pure is a fault that the check notices.
func TestEndpointsThatChangeAreNoticed(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	calls := 0
	e := testEndpoints()
	e.FreshestCRL = nil
	p := ca.compile(t, ServiceDefault(), e)
	for name, crl := range map[string]func(certs.Serial) string{
		"changes":    func(certs.Serial) string { calls++; return "http://pki.example.org/" + strings.Repeat("x", calls) },
		"empty":      func(certs.Serial) string { return "" },
		"oversize":   func(certs.Serial) string { return "http://pki.example.org/" + strings.Repeat("x", 1000) },
		"characters": func(certs.Serial) string { return "http://pki.example.org/\r\nx" },
	} {
		p.endpoints.CRL = crl
		draft, err := p.Draft(testSubject(t, mustCheckKey(t, mustKey(t, ECDSAP256).Public())), epoch())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := draft.Check(); err == nil {
			t.Errorf("%s: passes", name)
		}
	}
}

// splice changes honest bytes. Fuzzing works on changes, because each of its processes has keys of its own.
func splice(honest []byte, at, remove uint16, insert []byte) []byte {
	from := int(at) % (len(honest) + 1)
	to := min(from+int(remove), len(honest))
	return slices.Concat(honest[:from], insert, honest[to:])
}

// FuzzCheck feeds the reader changed drafts: it does not panic, and it accepts nothing but the honest bytes.
func FuzzCheck(f *testing.F) {
	ca := newTestCA(f, ECDSAP256)
	p := ca.compile(f, ServiceDefault(), testEndpoints())
	draft, err := p.Draft(testSubject(f, mustCheckKey(f, mustKey(f, ECDSAP256).Public())), epoch())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), uint16(0), []byte{})
	f.Add(uint16(1), uint16(2), []byte{0x80})
	f.Add(uint16(0), uint16(0xffff), []byte{0x30, 0})
	f.Add(uint16(0xfff), uint16(3), []byte{0x05, 0})
	f.Fuzz(func(t *testing.T, at, remove uint16, insert []byte) {
		changed := draft
		changed.tbs, changed.steps = splice(draft.tbs, at, remove, insert), new(steps)
		if _, err := changed.Check(); err == nil && !bytes.Equal(changed.tbs, draft.tbs) {
			// The one freedom that the check leaves: UTF8String for PrintableString.
			if d := bytes.Replace(changed.tbs, []byte("\x0c\x0cpayments/api"), []byte("\x13\x0cpayments/api"), 1); !bytes.Equal(d, draft.tbs) {
				t.Fatalf("accepted %x instead of %x", changed.tbs, draft.tbs)
			}
		}
	})
}
