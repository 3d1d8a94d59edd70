package certs

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestVerify(t *testing.T) {
	now := time.Now()
	w := newWorld(t, now)
	trust := w.trust(t)
	const id = "spiffe://prod.test/web"
	leaf := func(id string, changes ...change) []*x509.Certificate {
		return chainOf(t, w.issuer.leaf(id, changes...))
	}
	for _, test := range []struct {
		name  string
		chain []*x509.Certificate
		usage x509.ExtKeyUsage
		cause Cause
	}{
		{"sound client", leaf(id), x509.ExtKeyUsageClientAuth, ""},
		{"sound server", leaf(id), x509.ExtKeyUsageServerAuth, ""},
		{"reserved, but sound", leaf("spiffe://prod.test/handfast/ca"), x509.ExtKeyUsageServerAuth, ""},
		{"any usage", leaf(id, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), x509.ExtKeyUsageAny, ""},
		{"no usage at all", leaf(id, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), x509.ExtKeyUsageClientAuth, CauseBadChain},
		{"anyExtendedKeyUsage", leaf(id, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), x509.ExtKeyUsageClientAuth, CauseBadChain},
		{"no identity", leaf(""), x509.ExtKeyUsageClientAuth, CauseNoIdentity},
		{"two identities", leaf(id, func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }), x509.ExtKeyUsageClientAuth, CauseNoIdentity},
		{"a host's name only", leaf("", func(c *x509.Certificate) { c.DNSNames = []string{"web"} }), x509.ExtKeyUsageClientAuth, CauseNoIdentity},
		{"same path, other domain", leaf("spiffe://evil.test/web"), x509.ExtKeyUsageClientAuth, CauseForeignTrustDomain},
		{"a domain that only begins like it", leaf("spiffe://prod.test.evil/web"), x509.ExtKeyUsageClientAuth, CauseForeignTrustDomain},
		{"a CA with an identity", chainOf(t, w.issuer.leaf(id, func(c *x509.Certificate) { c.IsCA = true })), x509.ExtKeyUsageClientAuth, CauseBadChain},
		{"keyCertSign", leaf(id, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }), x509.ExtKeyUsageClientAuth, CauseBadChain},
		{"no digitalSignature", leaf(id, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), x509.ExtKeyUsageClientAuth, CauseBadChain},
		{"issuer of another domain", chainOf(t, w.root.intermediate("odd", func(c *x509.Certificate) {
			c.URIs = []*url.URL{{Scheme: "spiffe", Host: "evil.test"}}
		}).leaf(id)), x509.ExtKeyUsageClientAuth, CauseForeignTrustDomain},
	} {
		peer, err := Verify(test.chain, trust, test.usage, now)
		if got := causeOf(t, err); got != test.cause {
			t.Errorf("%s: cause %q, want %q: %v", test.name, got, test.cause, err)
		}
		if err == nil && (peer.Certificate != test.chain[0] || len(peer.Chain) != 3 || peer.ID.TrustDomain() != w.td) {
			t.Errorf("%s: peer %+v", test.name, peer)
		}
		if err != nil && !peer.ID.IsZero() {
			t.Errorf("%s: refused, but returns %v", test.name, peer.ID)
		}
	}
	for _, snap := range []*Snapshot{nil, {}, {Revocation: trust.Revocation}} {
		if _, err := Verify(leaf(id), snap, x509.ExtKeyUsageClientAuth, now); causeOf(t, err) != CauseUnknownAuthority {
			t.Errorf("with %+v: %v", snap, err)
		}
	}
}

func TestVerifyRevocation(t *testing.T) {
	now := time.Now()
	w := newWorld(t, now)
	bundle := mustBundle(t, w.td, w.root)
	const id = "spiffe://prod.test/web"
	own := w.issuer.leaf(id)
	noCDP := func(c *x509.Certificate) { c.CRLDistributionPoints = nil }
	noRevAvail := func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{withExtension(oidNoRevAvail, false, []byte{5, 0})}
	}
	plain := w.issuer.leaf(id, noCDP)
	short := w.issuer.leaf(id, noCDP, noRevAvail)
	both := w.issuer.leaf(id, noRevAvail)
	asked := w.issuer.leaf(id, noCDP, noRevAvail, func(c *x509.Certificate) { c.OCSPServer = []string{"http://ca.example.test/ocsp"} })
	stranger := newRoot(t, "root", now).intermediate("issuer")
	noSign := w.root.intermediate("no cRLSign")
	signedBefore := noSign.crl(1, nil)
	noSign.cert.KeyUsage = x509.KeyUsageCertSign
	listed := w.root.intermediate("listed", func(c *x509.Certificate) { c.CRLDistributionPoints = []string{testCDP} })
	forged := w.issuer.crl(3, nil)
	forged[len(forged)-1] ^= 1
	stale := func(l *x509.RevocationList) { l.NextUpdate = now.Add(-time.Second) }
	future := func(l *x509.RevocationList) { l.ThisUpdate = now.Add(clockSkew + time.Minute) }
	skewed := func(l *x509.RevocationList) { l.ThisUpdate = now.Add(clockSkew - time.Minute) }
	none := [][]byte{}
	for _, test := range []struct {
		name  string
		chain []*x509.Certificate
		crls  [][]byte
		cause Cause
	}{
		{"good", chainOf(t, own), [][]byte{w.issuer.crl(1, nil)}, ""},
		{"nothing known", chainOf(t, own), nil, CauseRevocationUnknown},
		{"nothing known, not even needed", chainOf(t, short), nil, CauseRevocationUnknown},
		{"another is revoked", chainOf(t, own), [][]byte{w.issuer.crl(1, chainOf(t, plain)[:1])}, ""},
		{"revoked", chainOf(t, own), [][]byte{w.issuer.crl(1, chainOf(t, own)[:1])}, CauseRevoked},
		{"revoked, and the list is stale", chainOf(t, own), [][]byte{w.issuer.crl(1, chainOf(t, own)[:1], stale)}, CauseRevoked},
		{"no list of the issuer", chainOf(t, own), [][]byte{w.root.crl(1, nil)}, CauseRevocationUnknown},
		{"no lists", chainOf(t, own), none, CauseRevocationUnknown},
		{"stale", chainOf(t, own), [][]byte{w.issuer.crl(1, nil, stale)}, CauseRevocationStale},
		{"from the future", chainOf(t, own), [][]byte{w.issuer.crl(1, nil, future)}, CauseRevocationStale},
		{"a slightly fast clock", chainOf(t, own), [][]byte{w.issuer.crl(1, nil, skewed)}, ""},
		{"forged", chainOf(t, own), [][]byte{forged}, CauseRevocationUnknown},
		{"forged with a higher number beside a good one", chainOf(t, own), [][]byte{w.issuer.crl(1, nil), forged}, CauseRevocationUnknown},
		{"of the same name, another key", chainOf(t, own), [][]byte{stranger.crl(9, nil)}, CauseRevocationUnknown},
		{"the higher number counts", chainOf(t, own), [][]byte{w.issuer.crl(8, nil), w.issuer.crl(9, chainOf(t, own)[:1]), w.issuer.crl(7, nil)}, CauseRevoked},
		{"issuer may not sign lists", append(chainOf(t, noSign.leaf(id))[:1], noSign.cert), [][]byte{signedBefore}, CauseRevocationUnknown},
		{"no distribution point, no list", chainOf(t, plain), none, ""},
		{"no distribution point, revoked", chainOf(t, plain), [][]byte{w.issuer.crl(1, chainOf(t, plain)[:1])}, CauseRevoked},
		{"no distribution point, stale list", chainOf(t, plain), [][]byte{w.issuer.crl(1, nil, stale)}, CauseRevocationStale},
		{"noRevAvail, stale list", chainOf(t, short), [][]byte{w.issuer.crl(1, nil, stale)}, ""},
		{"noRevAvail, revoked nevertheless", chainOf(t, short), [][]byte{w.issuer.crl(1, chainOf(t, short)[:1], stale)}, CauseRevoked},
		{"noRevAvail beside OCSP does not count", chainOf(t, asked), [][]byte{w.issuer.crl(1, nil, stale)}, CauseRevocationStale},
		{"noRevAvail beside a distribution point does not count", chainOf(t, both), none, CauseRevocationUnknown},
		{"issuer needs a list of the root", chainOf(t, listed.leaf(id)), [][]byte{listed.crl(1, nil)}, CauseRevocationUnknown},
		{"issuer good", chainOf(t, listed.leaf(id)), [][]byte{listed.crl(1, nil), w.root.crl(1, nil)}, ""},
		{"issuer revoked", chainOf(t, listed.leaf(id)), [][]byte{listed.crl(1, nil), w.root.crl(1, []*x509.Certificate{listed.cert})}, CauseRevoked},
	} {
		snap := &Snapshot{Bundle: bundle}
		if test.crls != nil {
			snap.Revocation = mustRevocation(t, test.crls...)
		}
		_, err := Verify(test.chain, snap, x509.ExtKeyUsageClientAuth, now)
		if got := causeOf(t, err); got != test.cause {
			t.Errorf("%s: cause %q, want %q: %v", test.name, got, test.cause, err)
		}
	}
}

// Throughout a rotation of the root, certificates under the old and the new one are
// accepted; after it, the old ones are not (invariant 26).
func TestOldAndNewRootDuringRotation(t *testing.T) {
	now := time.Now()
	td := mustDomain(t, "prod.test")
	before, after := newRoot(t, "root 1", now), newRoot(t, "root 2", now)
	issuer1, issuer2 := before.intermediate("issuer 1"), after.intermediate("issuer 2")
	revocation := mustRevocation(t, issuer1.crl(1, nil), issuer2.crl(1, nil))
	const id = "spiffe://prod.test/web"
	for _, step := range []struct {
		name     string
		roots    []*authority
		old, new Cause
	}{
		{"before", []*authority{before}, "", CauseUnknownAuthority},
		{"overlap", []*authority{before, after}, "", ""},
		{"after", []*authority{after}, CauseUnknownAuthority, ""},
	} {
		snap := &Snapshot{Bundle: mustBundle(t, td, step.roots...), Revocation: revocation}
		_, err1 := Verify(chainOf(t, issuer1.leaf(id)), snap, x509.ExtKeyUsageClientAuth, now)
		_, err2 := Verify(chainOf(t, issuer2.leaf(id)), snap, x509.ExtKeyUsageClientAuth, now)
		if causeOf(t, err1) != step.old || causeOf(t, err2) != step.new {
			t.Errorf("%s: old %v, new %v", step.name, err1, err2)
		}
	}
}

// An issuer that both roots have signed leads to either of them.
func TestCrossSignedIssuer(t *testing.T) {
	now := time.Now()
	w := newWorld(t, now)
	other := newRoot(t, "root 2", now)
	template := *w.issuer.cert
	cross := sign(t, &x509.Certificate{
		SerialNumber: template.SerialNumber, Subject: template.Subject, NotBefore: template.NotBefore, NotAfter: template.NotAfter,
		KeyUsage: template.KeyUsage, BasicConstraintsValid: true, IsCA: true, SubjectKeyId: template.SubjectKeyId,
		CRLDistributionPoints: []string{testCDP},
	}, other.cert, w.issuer.key.Public(), other.key)
	chain := append(chainOf(t, w.issuer.leaf("spiffe://prod.test/web")), cross)
	snap := &Snapshot{
		Bundle:     mustBundle(t, w.td, w.root, other),
		Revocation: mustRevocation(t, w.issuer.crl(1, nil), other.crl(1, []*x509.Certificate{cross})),
	}
	peer, err := Verify(chain, snap, x509.ExtKeyUsageClientAuth, now)
	if err != nil || !peer.Chain[2].Equal(w.root.cert) {
		t.Errorf("the path that is not revoked was not found: %v", err)
	}
}

func TestPeerCheck(t *testing.T) {
	now := time.Now()
	w := newWorld(t, now)
	chain := chainOf(t, w.issuer.leaf("spiffe://prod.test/web"))
	peer, err := Verify(chain, w.trust(t), x509.ExtKeyUsageClientAuth, now)
	if err != nil {
		t.Fatal(err)
	}
	other := newRoot(t, "root 2", now)
	for _, test := range []struct {
		name  string
		snap  *Snapshot
		now   time.Time
		cause Cause
	}{
		{"unchanged", w.trust(t), now, ""},
		{"expired", w.trust(t), chain[0].NotAfter.Add(time.Second), CauseExpired},
		{"revoked", &Snapshot{Bundle: mustBundle(t, w.td, w.root), Revocation: w.revocation(t, 2, chain[0])}, now, CauseRevoked},
		{"revocation unknown", &Snapshot{Bundle: mustBundle(t, w.td, w.root)}, now, CauseRevocationUnknown},
		{"root gone", &Snapshot{Bundle: mustBundle(t, w.td, other), Revocation: w.revocation(t, 2)}, now, CauseUnknownAuthority},
		{"domain changed", &Snapshot{Bundle: mustBundle(t, mustDomain(t, "new.test"), w.root), Revocation: w.revocation(t, 2)}, now, CauseForeignTrustDomain},
		{"nothing", nil, now, CauseUnknownAuthority},
	} {
		if err := peer.Check(test.snap, test.now); causeOf(t, err) != test.cause {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if err := (Peer{ID: peer.ID, Chain: chain[:1]}).Check(w.trust(t), now); causeOf(t, err) != CauseBadChain {
		t.Errorf("a peer that was never verified: %v", err)
	}
}

// A refusal tells the one who reads the log who, whom, why, which certificate and when.
func TestRefusalNamesBothSidesAndTheClock(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	w := newWorld(t, now)
	snap := w.snapshot(t, "api")
	chain := chainOf(t, w.issuer.leaf("spiffe://prod.test/web"))
	late := now.Add(90 * time.Minute)
	_, err := Verify(chain, snap, x509.ExtKeyUsageClientAuth, late)
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		t.Fatal(err)
	}
	if refusal.Peer != mustID(t, "spiffe://prod.test/web") || refusal.Self != snap.ID || refusal.Cause != CauseExpired ||
		!refusal.Clock.Equal(late) || !refusal.NotAfter.Equal(chain[0].NotAfter) || refusal.Serial.Int().Cmp(chain[0].SerialNumber) != 0 {
		t.Errorf("%+v", refusal)
	}
	text := err.Error()
	for _, part := range []string{"spiffe://prod.test/web", "spiffe://prod.test/api", "expired", refusal.Serial.String(), "2030-01-02T04:34:05Z", "2030-01-02T04:04:05Z"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %s", text, part)
		}
	}
	_, err = Verify(chain, nil, x509.ExtKeyUsageClientAuth, now)
	if text := err.Error(); strings.Contains(text, "  ") || !strings.HasPrefix(text, "peer spiffe://prod.test/web refused: unknown_authority: ") {
		t.Errorf("without a self: %q", text)
	}
	_, err = newEndpoint(fixed{w.trust(t), nil}, x509.ExtKeyUsageClientAuth, nil).judge(chain, nil)
	if causeOf(t, err) != CauseOwnCertificate {
		t.Errorf("without an own certificate: %v", err)
	}
	if denied := error(&Refusal{Cause: CausePolicyUnknown, Err: ErrPolicyUnknown}); !errors.Is(denied, ErrPolicyUnknown) {
		t.Error("the details are not unwrapped")
	}
	if HandshakeRefusal(errors.New("connection reset")) != nil || HandshakeRefusal(nil) != nil {
		t.Error("a refusal where there was none")
	}
}
