package certs

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"
	"time"
)

func TestCheckStaple(t *testing.T) {
	w := newWorld(t, time.Now().Truncate(time.Second))
	other := w.root.intermediate("other")
	leaf := w.issuer.leaf("spiffe://prod.test/web").Leaf
	sibling := w.issuer.leaf("spiffe://prod.test/web").Leaf
	responder := w.issuer.responder()
	direct := &tls.Certificate{Certificate: [][]byte{w.issuer.cert.Raw}, PrivateKey: w.issuer.key, Leaf: w.issuer.cert}
	at := func(d time.Duration) []byte { return tlvTime(w.now.Add(d)) }
	next := func(d time.Duration) []byte { return tlv(tagContext0, at(d)) }
	critical := tlv(tagContext1, tlv(tagSequence, tlv(tagSequence, tlv(tagObjectID, []byte{0x2a, 3}), []byte{tagBoolean, 1, 0xff}, tlv(tagOctetString, nil))))
	harmless := tlv(tagContext1, tlv(tagSequence, tlv(tagSequence, tlv(tagObjectID, []byte{0x2a, 3}), tlv(tagOctetString, nil))))
	by := func(r *tls.Certificate) func(...func(*stapleParts)) []byte {
		return func(changes ...func(*stapleParts)) []byte { return w.issuer.staple(r, leaf, changes...) }
	}
	honest := by(responder)
	for name, test := range map[string]struct {
		staple []byte
		cause  Cause
		text   string
	}{
		"good":                         {honest(), "", ""},
		"good, SHA-256":                {honest(func(p *stapleParts) { p.certID = certIDFor(t, crypto.SHA256, leaf, w.issuer.cert) }), "", ""},
		"good, responder by name":      {honest(func(p *stapleParts) { p.responderID = tlv(tagContext1, responder.Leaf.RawSubject) }), "", ""},
		"good, by the issuer itself":   {by(direct)(func(p *stapleParts) { p.certificates = nil }), "", ""},
		"good, extensions":             {honest(func(p *stapleParts) { p.dataExt, p.singleExt = harmless, harmless }), "", ""},
		"good, nextUpdate just passed": {honest(func(p *stapleParts) { p.nextUpdate = next(-4 * time.Minute); p.thisUpdate = at(-time.Hour) }), "", ""},
		"good, a clock that is ahead":  {honest(func(p *stapleParts) { p.thisUpdate = at(4 * time.Minute) }), "", ""},
		"revoked":                      {honest(func(p *stapleParts) { p.certStatus = revokedStatus(w.now, KeyCompromise) }), CauseRevoked, "keyCompromise"},
		"revoked, no reason":           {honest(func(p *stapleParts) { p.certStatus = tlv(tagContext1, at(0)) }), CauseRevoked, "unspecified"},
		"unknown":                      {honest(func(p *stapleParts) { p.certStatus = []byte{0x82, 0} }), CauseStapleInvalid, "does not know it"},
		"about a sibling":              {w.issuer.staple(responder, sibling), CauseStapleInvalid, "another certificate"},
		"about the serial of another issuer": {honest(func(p *stapleParts) {
			p.certID = certIDFor(t, crypto.SHA1, leaf, other.cert)
		}), CauseStapleInvalid, "another issuer"},
		"about the same name with another key": {honest(func(p *stapleParts) {
			id := bytes.Clone(p.certID)
			id[len(id)-5] ^= 1 // the last octet of the key's hash, before a serial of four octets
			p.certID = id
		}), CauseStapleInvalid, "another"},
		"no nextUpdate":             {honest(func(p *stapleParts) { p.nextUpdate = nil }), CauseStapleInvalid, "no nextUpdate"},
		"stale":                     {honest(func(p *stapleParts) { p.nextUpdate = next(-6 * time.Minute); p.thisUpdate = at(-time.Hour) }), CauseStapleInvalid, "stale"},
		"ends before it begins":     {honest(func(p *stapleParts) { p.nextUpdate = next(-2 * time.Minute) }), CauseStapleInvalid, "before its thisUpdate"},
		"from the future":           {honest(func(p *stapleParts) { p.thisUpdate = at(6 * time.Minute) }), CauseStapleInvalid, "future"},
		"made in the future":        {honest(func(p *stapleParts) { p.producedAt = at(6 * time.Minute) }), CauseStapleInvalid, "future"},
		"a wrong signature":         {honest(func(p *stapleParts) { p.flip = true }), CauseStapleInvalid, "wrong signature"},
		"signed by another key":     {honest(func(p *stapleParts) { p.key = w.root.key }), CauseStapleInvalid, "wrong signature"},
		"without the responder":     {honest(func(p *stapleParts) { p.certificates = nil }), CauseStapleInvalid, "stranger"},
		"another certificate along": {honest(func(p *stapleParts) { p.certificates = tlv(tagContext0, tlv(tagSequence, leaf.Raw)) }), CauseStapleInvalid, "stranger"},
		"five certificates":         {honest(func(p *stapleParts) { p.certificates = tlv(tagContext0, tlv(tagSequence, bytes.Repeat(leaf.Raw, 5))) }), CauseStapleInvalid, "more than 4"},
		"garbage for a certificate": {honest(func(p *stapleParts) { p.certificates = tlv(tagContext0, tlv(tagSequence, tlv(tagSequence, nil))) }), CauseStapleInvalid, "cannot be read"},
		"a leaf as responder":       {by(w.issuer.leaf("spiffe://prod.test/web"))(), CauseStapleInvalid, "lacks OCSPSigning"},
		"a responder without nocheck": {by(w.issuer.responder(func(c *x509.Certificate) {
			c.ExtraExtensions = nil
		}))(), CauseStapleInvalid, "nocheck"},
		"an expired responder": {by(w.issuer.responder(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = w.now.Add(-2*time.Hour), w.now.Add(-time.Hour)
		}))(), CauseStapleInvalid, "expired"},
		"another CA's responder": {by(other.responder())(), CauseStapleInvalid, "who may not"},
		"a CA as responder": {by(w.issuer.responder(func(c *x509.Certificate) {
			c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
		}))(), CauseStapleInvalid, "it is a CA"},
		"a responder that may not sign": {by(w.issuer.responder(func(c *x509.Certificate) {
			c.KeyUsage = x509.KeyUsageKeyAgreement
		}))(), CauseStapleInvalid, "digitalSignature"},
		"the root instead of the issuer": {by(&tls.Certificate{Certificate: [][]byte{w.root.cert.Raw}, PrivateKey: w.root.key, Leaf: w.root.cert})(), CauseStapleInvalid, "who may not"},
		"a critical extension":           {honest(func(p *stapleParts) { p.dataExt = critical }), CauseStapleInvalid, "critical"},
		"a critical one of the single":   {honest(func(p *stapleParts) { p.singleExt = critical }), CauseStapleInvalid, "critical"},
		"two answers": {honest(func(p *stapleParts) {
			p.more = tlv(tagSequence, p.certID, p.certStatus, p.thisUpdate, p.nextUpdate)
		}), CauseStapleInvalid, "more than one"},
		"SHA-384": {honest(func(p *stapleParts) {
			p.certID = bytes.Replace(p.certID, []byte{0x2b, 0x0e, 3, 2, 0x1a}, []byte{0x2b, 0x0e, 3, 2, 0x1b}, 1)
		}), CauseStapleInvalid, "neither SHA-1"},
		"a fraction of a second":     {honest(func(p *stapleParts) { p.producedAt = tlv(tagGeneralizedTime, []byte("20260101000000.5Z")) }), CauseStapleInvalid, "malformed"},
		"an unknown kind":            {honest(func(p *stapleParts) { p.kind = tlv(tagObjectID, []byte{0x2a, 3}) }), CauseStapleInvalid, "unknown type"},
		"an algorithm not allowed":   {honest(func(p *stapleParts) { p.algorithm = tlv(tagSequence, tlv(tagObjectID, []byte{0x2a, 3})) }), CauseStapleInvalid, "algorithm"},
		"something behind":           {honest(func(p *stapleParts) { p.behind = []byte{5, 0} }), CauseStapleInvalid, "malformed"},
		"something in the status":    {honest(func(p *stapleParts) { p.certStatus = []byte{0x80, 1, 0} }), CauseStapleInvalid, "malformed"},
		"a reason that is not one":   {honest(func(p *stapleParts) { p.certStatus = revokedStatus(w.now, 11) }), CauseStapleInvalid, "malformed"},
		"tryLater":                   {[]byte{0x30, 3, tagEnumerated, 1, 3}, CauseStapleInvalid, "not successful"},
		"tryLater with good content": {honest(func(p *stapleParts) { p.outerStatus = []byte{tagEnumerated, 1, 3} }), CauseStapleInvalid, "not successful"},
		"empty":                      {[]byte{}, CauseStapleInvalid, "malformed"},
		"too long":                   {make([]byte, MaxStapleSize+1), CauseStapleInvalid, "at most"},
		"half":                       {honest()[:300], CauseStapleInvalid, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			staple, err := CheckStaple(test.staple, leaf, w.issuer.cert, w.now)
			if causeOf(t, err) != test.cause {
				t.Fatalf("%v, want cause %q", err, test.cause)
			}
			if err != nil {
				if !strings.Contains(err.Error(), test.text) || staple.DER != nil {
					t.Errorf("%v, want %q in it", err, test.text)
				}
				return
			}
			if !bytes.Equal(staple.DER, test.staple) || !staple.ThisUpdate.Before(staple.NextUpdate) {
				t.Errorf("%+v", staple)
			}
		})
	}
}

// What is asked is what is answered: the request's CertID names the certificate.
func TestStapleRequestNamesTheCertificate(t *testing.T) {
	w := newWorld(t, time.Now())
	leaf := w.issuer.leaf("spiffe://prod.test/web").Leaf
	request, err := StapleRequest(leaf, w.issuer.cert)
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		TBS struct {
			List []struct {
				ID asn1.RawValue
			}
		}
	}
	if rest, err := asn1.Unmarshal(request, &parsed); err != nil || len(rest) > 0 || len(parsed.TBS.List) != 1 {
		t.Fatalf("%x: %v", request, err)
	}
	staple := w.issuer.staple(w.issuer.responder(), leaf, func(p *stapleParts) { p.certID = parsed.TBS.List[0].ID.FullBytes })
	if _, err := CheckStaple(staple, leaf, w.issuer.cert, w.now); err != nil {
		t.Error(err)
	}
	if _, err := StapleRequest(leaf, &x509.Certificate{}); err == nil {
		t.Error("an issuer without a key was asked about")
	}
}

func TestMustStaple(t *testing.T) {
	w := newWorld(t, time.Now())
	for name, test := range map[string]struct {
		value []byte // nil for no extension
		want  bool
	}{
		"none":                  {nil, false},
		"status_request":        {[]byte{0x30, 3, 2, 1, 5}, true},
		"among others":          {[]byte{0x30, 6, 2, 1, 17, 2, 1, 5}, true},
		"only others":           {[]byte{0x30, 3, 2, 1, 17}, false},
		"cannot be read":        {[]byte{0x30, 3, 2, 1}, true},
		"something behind":      {[]byte{0x30, 3, 2, 1, 17, 5, 0}, true},
		"an empty list, by DER": {[]byte{0x30, 0}, false},
	} {
		leaf := w.issuer.leaf("spiffe://prod.test/web", func(c *x509.Certificate) {
			if test.value != nil {
				c.ExtraExtensions = []pkix.Extension{withExtension(oidTLSFeature, false, test.value)}
			}
		})
		if got := MustStaple(leaf.Leaf); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
