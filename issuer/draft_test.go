package issuer

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

// template describes to crypto/x509 what draft describes to the encoder.
func (d *Draft) template(t testing.TB) *x509.Certificate {
	t.Helper()
	c, e := d.profile.config, d.profile.endpoints
	template := &x509.Certificate{
		SerialNumber: d.serial.Int(), NotBefore: d.life.notBefore, NotAfter: d.life.notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		SubjectKeyId: d.subject.Key.keyID[:], DNSNames: d.subject.DNSNames, URIs: []*url.URL{d.subject.ID.URL()},
	}
	for _, use := range []struct {
		wanted bool
		usage  x509.ExtKeyUsage
	}{{c.ServerAuth, x509.ExtKeyUsageServerAuth}, {c.ClientAuth, x509.ExtKeyUsageClientAuth}, {c.OCSPSigning, x509.ExtKeyUsageOCSPSigning}} {
		if use.wanted {
			template.ExtKeyUsage = append(template.ExtKeyUsage, use.usage)
		}
	}
	if c.DocumentSigning {
		template.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 36}}
	}
	if path := d.subject.ID.Path(); len(path) <= 64 {
		template.Subject = pkix.Name{CommonName: path}
	}
	for _, ip := range d.subject.IPs {
		template.IPAddresses = append(template.IPAddresses, net.IP(ip.AsSlice()))
	}
	short := d.life.notAfter.Sub(d.now) < c.NoRevAvailBelow
	if short {
		e.OCSP, e.CRL, e.FreshestCRL = "", nil, nil
	}
	if e.OCSP != "" {
		template.OCSPServer = []string{e.OCSP}
	}
	if e.CAIssuers != "" {
		template.IssuingCertificateURL = []string{e.CAIssuers}
	}
	if e.CRL != nil {
		template.CRLDistributionPoints = []string{e.CRL(d.serial)}
	}
	if e.FreshestCRL != nil {
		template.ExtraExtensions = append(template.ExtraExtensions, freshest(t, e.FreshestCRL(d.serial)))
	}
	if c.MustStaple {
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}})
	}
	if short {
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 56}, Value: []byte{5, 0}})
	}
	if c.OCSPSigning {
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}, Value: []byte{5, 0}})
	}
	return template
}

func freshest(t testing.TB, u string) pkix.Extension {
	t.Helper()
	type name struct {
		FullName []asn1.RawValue `asn1:"optional,tag:0"`
	}
	type point struct {
		DistributionPoint name `asn1:"optional,tag:0"`
	}
	value, err := asn1.Marshal([]point{{name{[]asn1.RawValue{{Tag: 6, Class: 2, Bytes: []byte(u)}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 46}, Value: value}
}

// The hand-built encoding is, byte for byte, what crypto/x509 makes of the same template.
func TestDraftEqualsStandardLibrary(t *testing.T) {
	profiles := []ProfileConfig{
		ServiceDefault(), Operator(), Server(), OCSPResponder(), Feed(),
		{Name: "server-only", ServerAuth: true, Lifetime: 5 * time.Minute},
		{Name: "must-staple", ServerAuth: true, ClientAuth: true, MustStaple: true},
		{Name: "short", ServerAuth: true, ClientAuth: true, Lifetime: 10 * time.Minute, NoRevAvailBelow: 15 * time.Minute},
		{Name: "sometimes-short", ServerAuth: true, ClientAuth: true, Lifetime: 30 * time.Minute, NoRevAvailBelow: 15 * time.Minute},
	}
	endpoints := map[string]Endpoints{"all URLs": testEndpoints(), "no URLs": {}, "CRL only": {CRL: testEndpoints().CRL}, "OCSP only": {OCSP: "http://ocsp.example.org"}}
	for _, caAlgorithm := range CAAlgorithms() {
		ca := newTestCA(t, caAlgorithm)
		for _, config := range profiles {
			for name, e := range endpoints {
				if caAlgorithm != ECDSAP256 && (name != "all URLs" || config.Name != "default") {
					continue // the CA's key shows in two places only
				}
				if config.MustStaple && e.OCSP == "" {
					continue // refused: TestStapleProfiles
				}
				t.Run(string(caAlgorithm)+"/"+config.Name+"/"+name, func(t *testing.T) {
					compareShapes(t, ca, ca.compile(t, config, e))
				})
			}
		}
	}
}

func compareShapes(t *testing.T, ca testCA, p *Profile) {
	t.Helper()
	subjects, err := p.probes()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range subjects {
		// The second one is cut by the issuer's end.
		for _, now := range []time.Time{epoch(), ca.issuing.NotAfter.Add(-time.Minute)} {
			draft, err := p.Draft(s, now)
			if err != nil {
				t.Fatal(err)
			}
			der, err := x509.CreateCertificate(rand.Reader, draft.template(t), ca.issuing, s.Key.key, ca.issuingKey)
			if err != nil {
				t.Fatal(err)
			}
			standard, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(draft.tbs, standard.RawTBSCertificate) {
				t.Fatalf("%s, path of %d:\n ours %x\n x509 %x", s.Key.algorithm, len(s.ID.Path()), draft.tbs, standard.RawTBSCertificate)
			}
		}
	}
}

// A certificate past 2049 changes from UTCTime to GeneralizedTime (RFC 5280, section 4.1.2.5).
func TestDraftPast2049(t *testing.T) {
	now := time.Date(2049, 12, 31, 23, 59, 30, 0, time.UTC)
	ca := newTestCAFrom(t, ECDSAP256, now.Add(-time.Hour))
	p := ca.compile(t, ServiceDefault(), testEndpoints())
	s := testSubject(t, mustCheckKey(t, mustKey(t, ECDSAP256).Public()))
	draft, err := p.Draft(s, now)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, draft.template(t), ca.issuing, s.Key.key, ca.issuingKey)
	if err != nil {
		t.Fatal(err)
	}
	standard, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(draft.tbs, standard.RawTBSCertificate) {
		t.Fatalf("ours %x\nx509 %x", draft.tbs, standard.RawTBSCertificate)
	}
	if _, err := draft.Check(); err != nil {
		t.Fatal(err)
	}
}

func TestSubjectRefusals(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	service := ca.compile(t, ServiceDefault(), testEndpoints())
	good := testSubject(t, mustCheckKey(t, mustKey(t, ECDSAP256).Public()))
	with := func(change func(*Subject)) Subject {
		s := good
		change(&s)
		return s
	}
	dns := func(names ...string) Subject { return with(func(s *Subject) { s.DNSNames = names }) }
	tests := map[string]Subject{
		"zero subject":         {},
		"no identity":          with(func(s *Subject) { s.ID = mustIDZero() }),
		"foreign trust domain": with(func(s *Subject) { s.ID = mustID(t, "spiffe://other.example.org/payments/api") }),
		"reserved identity":    with(func(s *Subject) { s.ID = mustID(t, "spiffe://prod.example.org/handfast/operator/eve") }),
		"short lifetime":       with(func(s *Subject) { s.TTL = time.Second }),
		"negative lifetime":    with(func(s *Subject) { s.TTL = -time.Hour }),
		"no key":               with(func(s *Subject) { s.Key = PublicKey{} }),
		"wildcard":             dns("*.example.org"),
		"bare wildcard":        dns("*"),
		"empty name":           dns(""),
		"upper case":           dns("Payments.example.org"),
		"NUL":                  dns("payments.example.org\x00.evil.org"),
		"newline":              dns("payments\nexample.org"),
		"template":             dns("{{ .Subject }}"),
		"shell":                dns("$(id).example.org"),
		"slash":                dns("a/b"),
		"comma":                dns("a.org,DNS:b.org"),
		"trailing dot":         dns("example.org."),
		"empty label":          dns("a..b"),
		"leading hyphen":       dns("-a.org"),
		"trailing hyphen":      dns("a-.org"),
		"last hyphen":          dns("a.org-"),
		"long label":           dns(strings.Repeat("a", 64) + ".org"),
		"long name":            dns(strings.Repeat("a.", 127) + "org"),
		"not ASCII":            dns("bücher.example.org"),
		"too many":             dns(strings.Split(strings.Repeat("a,", 201), ",")[:201]...),
		"no address":           with(func(s *Subject) { s.IPs = addrs("") }),
		"zone":                 with(func(s *Subject) { s.IPs = addrs("fe80::1%eth0") }),
		"mapped":               with(func(s *Subject) { s.IPs = addrs("::ffff:10.0.0.1") }),
		"unspecified":          with(func(s *Subject) { s.IPs = addrs("0.0.0.0") }),
		"multicast":            with(func(s *Subject) { s.IPs = addrs("224.0.0.1") }),
	}
	for name, s := range tests {
		t.Run(name, func(t *testing.T) {
			if draft, err := service.Draft(s, epoch()); err == nil || draft.tbs != nil {
				t.Fatalf("drafted %+v", s)
			}
		})
	}
	if _, err := service.Draft(good, epoch()); err != nil {
		t.Fatalf("the subject that the others differ from: %v", err)
	}
	operator := ca.compile(t, Operator(), testEndpoints())
	if _, err := operator.Draft(Subject{ID: good.ID, Key: good.Key}, epoch()); err == nil {
		t.Fatal("the operator profile drafted a service")
	}
	if _, err := operator.Draft(with(func(s *Subject) { s.ID = mustID(t, "spiffe://prod.example.org/handfast/operator/eve") }), epoch()); err == nil {
		t.Fatal("the operator profile drafted DNS names")
	}
}
