package issuer

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"testing"
	"time"
)

// extensionValue returns the value of an extension that is not critical, nil without it.
func extensionValue(t *testing.T, c *x509.Certificate, oid ...int) []byte {
	t.Helper()
	for _, e := range c.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier(oid)) {
			if e.Critical {
				t.Errorf("extension %v is critical", e.Id)
			}
			return e.Value
		}
	}
	return nil
}

// What a profile says about staples and revocation is what its certificates carry, and what
// RFC 9608, section 4, forbids beside noRevAvail is not there.
func TestStapleProfiles(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	both := ProfileConfig{Name: "p", ServerAuth: true, ClientAuth: true}
	with := func(change func(*ProfileConfig)) ProfileConfig {
		c := both
		change(&c)
		return c
	}
	below := func(d time.Duration) ProfileConfig { return with(func(c *ProfileConfig) { c.NoRevAvailBelow = d }) }
	for name, test := range map[string]struct {
		config      ProfileConfig
		ttl         time.Duration
		now         time.Time
		short, must bool
	}{
		"plain":                        {config: both},
		"must staple":                  {config: with(func(c *ProfileConfig) { c.MustStaple = true }), must: true},
		"must staple, short":           {config: with(func(c *ProfileConfig) { c.MustStaple = true }), ttl: time.Minute, must: true},
		"lives as long as the line":    {config: below(time.Hour)},
		"lives a second shorter":       {config: below(time.Hour), ttl: time.Hour - time.Second, short: true},
		"a fraction does not count":    {config: below(time.Hour), now: epoch().Add(999 * time.Millisecond)},
		"shorter by the profile":       {config: below(2 * time.Hour), short: true},
		"shorter by the service":       {config: below(15 * time.Minute), ttl: 10 * time.Minute, short: true},
		"shorter by the issuer's end":  {config: below(15 * time.Minute), now: ca.issuing.NotAfter.Add(-time.Minute), short: true},
		"longer than the line by much": {config: below(15 * time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			p := ca.compile(t, test.config, testEndpoints())
			if test.now.IsZero() {
				test.now = epoch()
			}
			s := testSubject(t, mustCheckKey(t, mustKey(t, ECDSAP256).Public()))
			s.TTL = test.ttl
			cert, err := x509.ParseCertificate(ca.issue(t, p, s, test.now).DER)
			if err != nil {
				t.Fatal(err)
			}
			feature := extensionValue(t, cert, 1, 3, 6, 1, 5, 5, 7, 1, 24)
			if got := slices.Equal(feature, []byte{0x30, 3, 2, 1, 5}); got != test.must || !got && feature != nil {
				t.Errorf("the TLS feature extension is %x", feature)
			}
			none := extensionValue(t, cert, 2, 5, 29, 56)
			if got := slices.Equal(none, []byte{5, 0}); got != test.short || !got && none != nil {
				t.Errorf("noRevAvail is %x", none)
			}
			pointed := len(cert.CRLDistributionPoints) > 0
			if pointed == test.short || pointed != (len(cert.OCSPServer) > 0) || pointed != (extensionValue(t, cert, 2, 5, 29, 46) != nil) {
				t.Errorf("CRL %v, OCSP %v", cert.CRLDistributionPoints, cert.OCSPServer)
			}
			if len(cert.IssuingCertificateURL) == 0 {
				t.Error("the issuer's own certificate is not named")
			}
		})
	}
}

// The check is told nothing by the encoder: a certificate with the other form than its life demands does not pass.
func TestWrongFormIsNotSigned(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	p := ca.compile(t, ProfileConfig{Name: "p", ServerAuth: true, NoRevAvailBelow: 15 * time.Minute}, testEndpoints())
	s := testSubject(t, mustCheckKey(t, mustKey(t, ECDSAP256).Public()))
	for _, ttl := range []time.Duration{0, 10 * time.Minute} {
		life, err := p.validity(ttl, epoch())
		if err != nil {
			t.Fatal(err)
		}
		life.short = !life.short
		octets, err := newSerial(epoch())
		if err != nil {
			t.Fatal(err)
		}
		s.TTL = ttl
		draft, err := p.draft(s, epoch(), life, octets)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := draft.Check(); err == nil {
			t.Errorf("ttl %s: noRevAvail %t passed", ttl, life.short)
		}
	}
}
