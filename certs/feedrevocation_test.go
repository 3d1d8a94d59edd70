package certs

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/certs/feed"
)

func (a *authority) keyID() string { return hex.EncodeToString(a.cert.SubjectKeyId) }

// entry is what the feed says of cert at sequence.
func (a *authority) entry(sequence uint64, kind feed.Kind, cert *x509.Certificate) feed.Entry {
	return feed.Entry{
		Sequence: sequence, Kind: kind, Issuer: a.keyID(), Serial: cert.SerialNumber.Bytes(), Reason: uint8(KeyCompromise),
		At: a.now.Truncate(time.Second), NotAfter: cert.NotAfter.Truncate(time.Second),
	}
}

// feedView is what a holder knows at 10 from a snapshot with these certificates of issuer, and after these entries.
// It covers issuer alone, was signed now and is good for an hour.
func (w *world) feedView(t testing.TB, inSet []*x509.Certificate, entries ...feed.Entry) *feed.View {
	t.Helper()
	var hashes []uint64
	for _, cert := range inSet {
		hashes = append(hashes, feed.Hash(w.issuer.keyID(), cert.SerialNumber.Bytes()))
	}
	at := w.now.Truncate(time.Millisecond)
	statement := feed.Statement{TrustDomain: w.td.String(), To: 10, SignedAt: at, NextUpdate: at.Add(time.Hour), Issuers: []string{w.issuer.keyID()}, Snapshot: feed.NewSet(hashes)}
	view, err := (*feed.View)(nil).Apply(&statement, w.now)
	if err != nil {
		t.Fatal(err)
	}
	statement.From, statement.To, statement.Snapshot, statement.Entries = 10, 10+uint64(len(entries)), nil, entries
	if view, err = view.Apply(&statement, w.now); err != nil {
		t.Fatal(err)
	}
	return view
}

func TestVerifyByTheFeed(t *testing.T) {
	w := newWorld(t, time.Now())
	own := w.issuer.leaf("spiffe://prod.test/web")
	chain := chainOf(t, own)
	leaf := chain[:1]
	bare := chainOf(t, w.issuer.leaf("spiffe://prod.test/web", func(c *x509.Certificate) { c.CRLDistributionPoints = nil }))
	noRevAvail := chainOf(t, w.issuer.leaf("spiffe://prod.test/web", func(c *x509.Certificate) {
		c.CRLDistributionPoints = nil
		c.ExtraExtensions = append(c.ExtraExtensions, withExtension(oidNoRevAvail, false, asn1.NullBytes))
	}))
	outside := chainOf(t, w.root.leaf("spiffe://prod.test/web"))
	stale := w.issuer.crl(3, nil, func(l *x509.RevocationList) { l.NextUpdate = w.now.Add(-time.Second) })
	forged := w.issuer.crl(4, leaf)
	forged[len(forged)-1] ^= 1
	for _, test := range []struct {
		name        string
		chain       []*x509.Certificate
		view        *feed.View
		silence     time.Duration
		after       time.Duration
		crls        [][]byte
		cause       Cause
		unconfirmed bool
		text        string
	}{
		{"covered and not revoked", chain, w.feedView(t, nil), 0, 0, nil, "", false, ""},
		{"an entry", chain, w.feedView(t, nil, w.issuer.entry(11, feed.Revoked, own.Leaf)), 0, 0, nil, CauseRevoked, false, "entry 11"},
		{"an entry's reason", chain, w.feedView(t, nil, w.issuer.entry(11, feed.Revoked, own.Leaf)), 0, 0, nil, CauseRevoked, false, "keyCompromise"},
		{"held", chain, w.feedView(t, nil, w.issuer.entry(11, feed.Held, own.Leaf)), 0, 0, nil, CauseRevoked, false, ""},
		{"held and released", chain, w.feedView(t, nil, w.issuer.entry(11, feed.Held, own.Leaf), w.issuer.entry(12, feed.Released, own.Leaf)), 0, 0, nil, "", false, ""},
		{"in the set", chain, w.feedView(t, leaf), 0, 0, nil, CauseRevoked, true, "compact set"},
		{"in the set and released", chain, w.feedView(t, leaf, w.issuer.entry(11, feed.Released, own.Leaf)), 0, 0, nil, "", false, ""},
		{"in the set, then revoked", chain, w.feedView(t, leaf, w.issuer.entry(11, feed.Revoked, own.Leaf)), 0, 0, nil, CauseRevoked, false, ""},
		{"in the set, but excepted", chain, w.feedView(t, leaf).Except(w.issuer.keyID(), own.Leaf.SerialNumber.Bytes(), 10), 0, 0, nil, "", false, ""},
		{"the same serial of another issuer", outside, w.feedView(t, outside[:1]), 0, 0, [][]byte{w.root.crl(1, nil)}, "", false, ""},
		{"silent for too long", chain, w.feedView(t, nil), time.Minute, time.Minute + time.Second, nil, CauseRevocationStale, false, "silent"},
		{"silent, but not for too long", chain, w.feedView(t, nil), 10 * time.Minute, time.Minute, nil, "", false, ""},
		{"silent, and revoked", chain, w.feedView(t, nil, w.issuer.entry(11, feed.Revoked, own.Leaf)), time.Minute, 2 * time.Minute, nil, CauseRevoked, false, ""},
		{"without a distribution point", bare, w.feedView(t, nil), 0, 0, nil, "", false, ""},
		{"without one, silent", bare, w.feedView(t, nil), time.Minute, 2 * time.Minute, nil, CauseRevocationStale, false, ""},
		{"without one, revoked", bare, w.feedView(t, bare[:1]), 0, 0, nil, CauseRevoked, true, ""},
		{"noRevAvail, silent", noRevAvail, w.feedView(t, nil), time.Minute, 2 * time.Minute, nil, "", false, ""},
		{"noRevAvail, revoked", noRevAvail, w.feedView(t, noRevAvail[:1]), 0, 0, nil, CauseRevoked, true, ""},
		{"the CRL knows more", chain, w.feedView(t, nil), 0, 0, [][]byte{w.issuer.crl(2, leaf)}, CauseRevoked, false, "CRL 2"},
		{"a stale CRL beside it", chain, w.feedView(t, nil), 0, 0, [][]byte{stale}, "", false, ""},
		{"a forged CRL beside it", chain, w.feedView(t, nil), 0, 0, [][]byte{forged}, "", false, ""},
		{"not covered, no CRL", outside, w.feedView(t, nil), 0, 0, nil, CauseRevocationUnknown, false, ""},
		{"not covered, a CRL", outside, w.feedView(t, nil), 0, 0, [][]byte{w.root.crl(1, nil)}, "", false, ""},
		{"the issuer is on the root's CRL", chain, w.feedView(t, nil), 0, 0, [][]byte{w.root.crl(1, []*x509.Certificate{w.issuer.cert})}, CauseRevoked, false, "issuer"},
		{"the issuer certainly, the leaf perhaps", chain, w.feedView(t, leaf), 0, 0, [][]byte{w.root.crl(1, []*x509.Certificate{w.issuer.cert})}, CauseRevoked, false, "issuer"},
		{"the issuer is revoked by the feed alone", chain, w.feedView(t, nil, w.root.entry(11, feed.Revoked, w.issuer.cert)), 0, 0, nil, CauseRevoked, false, "entry 11"},
		{"the issuer is revoked by the feed, not yet by the root's CRL", chain, w.feedView(t, nil, w.root.entry(11, feed.Revoked, w.issuer.cert)), 0, 0, [][]byte{w.root.crl(1, nil)}, CauseRevoked, false, "entry 11"},
		{"not covered, but found", outside, w.feedView(t, nil, w.root.entry(11, feed.Revoked, outside[0])), 0, 0, [][]byte{w.root.crl(1, nil)}, CauseRevoked, false, "entry 11"},
		{"no view", chain, nil, 0, 0, nil, CauseRevocationUnknown, false, ""},
	} {
		revocation, err := NewRevocation(test.crls, WithFeed(test.view, test.silence))
		if err != nil {
			t.Fatal(err)
		}
		snap := &Snapshot{Bundle: mustBundle(t, w.td, w.root), Revocation: revocation}
		peer, err := Verify(test.chain, snap, x509.ExtKeyUsageClientAuth, w.now.Add(test.after))
		if causeOf(t, err) != test.cause || err != nil && !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		refusal := HandshakeRefusal(err)
		if refusal != nil && (refusal.Unconfirmed != test.unconfirmed || test.unconfirmed && refusal.IssuerKeyID != w.issuer.keyID()) {
			t.Errorf("%s: %+v", test.name, refusal)
		}
		if err == nil {
			if err := peer.Check(snap, w.now.Add(test.after)); err != nil {
				t.Errorf("%s: Peer.Check: %v", test.name, err)
			}
		}
	}
}

// A connection that lives is judged by the view of the moment.
func TestPeerCheckFollowsTheFeed(t *testing.T) {
	w := newWorld(t, time.Now())
	own := w.issuer.leaf("spiffe://prod.test/web")
	view := w.feedView(t, nil)
	snap := &Snapshot{Bundle: mustBundle(t, w.td, w.root), Revocation: mustRevocation(t).WithFeed(view, 0)}
	peer, err := Verify(chainOf(t, own), snap, x509.ExtKeyUsageClientAuth, w.now)
	if err != nil {
		t.Fatal(err)
	}
	next := *snap
	next.Revocation = snap.Revocation.WithFeed(w.feedView(t, nil, w.issuer.entry(11, feed.Revoked, own.Leaf)), 0)
	if err := peer.Check(&next, w.now); causeOf(t, err) != CauseRevoked {
		t.Errorf("after the entry: %v", err)
	}
	if snap.Revocation.Feed() != view {
		t.Error("the earlier Revocation changed")
	}
}

func TestRevocationWithFeed(t *testing.T) {
	w := newWorld(t, time.Now())
	view := w.feedView(t, nil)
	crls := mustRevocation(t, w.issuer.crl(1, nil), w.root.crl(1, nil, func(l *x509.RevocationList) { l.NextUpdate = w.now.Add(30 * time.Minute) }))
	r := crls.WithFeed(view, time.Minute)
	if len(r.CRLs()) != 2 || r.crls[0] != crls.crls[0] || crls.Feed() != nil || r.Feed() != view || r.MaxSilence() != time.Minute {
		t.Error("the CRLs have to be shared, the view be in the new one alone")
	}
	// The issuer's CRL is not needed beside the feed, the root's is.
	if want := w.now.Truncate(time.Millisecond).Add(time.Minute); !r.NextUpdate().Equal(want) {
		t.Errorf("next update %v, want %v", r.NextUpdate(), want)
	}
	if got := crls.WithFeed(view, 0).NextUpdate(); got.Sub(w.now.Add(30*time.Minute)).Abs() > time.Second {
		t.Errorf("next update %v, want the root's CRL's", got)
	}
	var none *Revocation
	if none.Feed() != nil || none.MaxSilence() != 0 || none.WithFeed(view, 0).Feed() != view {
		t.Error("a nil Revocation")
	}
}

// feedSigner issues a certificate that may sign the feed.
func (a *authority) feedSigner(changes ...change) *tls.Certificate {
	a.t.Helper()
	return a.leaf("spiffe://prod.test/handfast/feed", append([]change{func(c *x509.Certificate) {
		c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{oidDocumentSigning}
	}}, changes...)...)
}

func TestCheckFeedSigner(t *testing.T) {
	now := time.Now()
	w, stranger := newWorld(t, now), newWorld(t, now)
	good := w.issuer.feedSigner()
	bundle := mustBundle(t, w.td, w.root)
	root := w.root.crl(1, []*x509.Certificate{w.issuer.cert})
	for _, test := range []struct {
		name  string
		own   *tls.Certificate
		known *Revocation
		after time.Duration
		cause Cause
	}{
		{"sound, nothing is known yet", good, nil, 0, ""},
		{"sound", good, mustRevocation(t).WithFeed(w.feedView(t, nil), 0), 0, ""},
		{"what is known is stale", good, mustRevocation(t).WithFeed(w.feedView(t, nil), time.Minute), 10 * time.Minute, ""},
		{"revoked by the feed", good, mustRevocation(t).WithFeed(w.feedView(t, nil, w.issuer.entry(11, feed.Revoked, good.Leaf)), 0), 0, CauseRevoked},
		{"revoked by a stale feed", good, mustRevocation(t).WithFeed(w.feedView(t, nil, w.issuer.entry(11, feed.Revoked, good.Leaf)), time.Minute), 10 * time.Minute, CauseRevoked},
		{"perhaps revoked", good, mustRevocation(t).WithFeed(w.feedView(t, []*x509.Certificate{good.Leaf}), 0), 0, CauseRevoked},
		{"revoked by a CRL", good, w.revocation(t, 2, good.Leaf), 0, CauseRevoked},
		{"its issuer is revoked", good, mustRevocation(t, root), 0, CauseRevoked},
		{"expired", good, nil, 2 * time.Hour, CauseExpired},
		{"a service", w.issuer.leaf("spiffe://prod.test/web", func(c *x509.Certificate) {
			c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oidDocumentSigning}
		}), nil, 0, CauseWrongIdentity},
		{"without documentSigning", w.issuer.leaf("spiffe://prod.test/handfast/feed"), nil, 0, CauseBadChain},
		{"of another trust domain", w.issuer.leaf("spiffe://other.test/handfast/feed", func(c *x509.Certificate) {
			c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{oidDocumentSigning}
		}), nil, 0, CauseForeignTrustDomain},
		{"without an identity", w.issuer.leaf(""), nil, 0, CauseNoIdentity},
		{"under another root", stranger.issuer.feedSigner(), nil, 0, CauseUnknownAuthority},
		{"may not sign", w.issuer.feedSigner(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), nil, 0, CauseBadChain},
	} {
		snap := &Snapshot{Bundle: bundle, Revocation: test.known}
		leaf, err := CheckFeedSigner(chainOf(t, test.own), snap, now.Add(test.after))
		if causeOf(t, err) != test.cause || (err == nil) != (leaf != nil) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	for name, chain := range map[string][]*x509.Certificate{"nobody": nil, "a nil one": {nil}, "the issuer itself": {w.issuer.cert}} {
		if _, err := CheckFeedSigner(chain, &Snapshot{Bundle: bundle}, now); err == nil {
			t.Errorf("%s may sign", name)
		}
	}
	if _, err := CheckFeedSigner(chainOf(t, good), nil, now); causeOf(t, err) != CauseUnknownAuthority {
		t.Errorf("without a snapshot: %v", err)
	}
	// It is no peer: it cannot be used for a connection.
	if _, err := Verify(chainOf(t, good), w.trust(t), x509.ExtKeyUsageClientAuth, now); causeOf(t, err) != CauseBadChain {
		t.Errorf("the feed's signer as a client: %v", err)
	}
}

// From the CA's key to a peer that is refused: signer's chain, signed statement, view, snapshot.
func TestFeedFromSignatureToRefusal(t *testing.T) {
	w := newWorld(t, time.Now())
	signer, web := w.issuer.feedSigner(), w.issuer.leaf("spiffe://prod.test/web")
	snap := &Snapshot{Bundle: mustBundle(t, w.td, w.root)}
	chain := chainOf(t, signer)
	key := func(name [sha256.Size]byte) (*x509.Certificate, error) {
		leaf, err := CheckFeedSigner(chain, snap, w.now)
		if err != nil {
			return nil, err
		}
		if sha256.Sum256(leaf.Raw) != name {
			return nil, errors.New("another signer")
		}
		return leaf, nil
	}
	at := w.now.Truncate(time.Millisecond)
	first := &feed.Statement{TrustDomain: "prod.test", To: 3, SignedAt: at, NextUpdate: at.Add(time.Hour), Issuers: []string{w.issuer.keyID()}, Snapshot: feed.NewSet(nil)}
	second := &feed.Statement{TrustDomain: "prod.test", From: 3, To: 5, SignedAt: at, NextUpdate: at.Add(time.Hour), Issuers: []string{w.issuer.keyID()}, Entries: []feed.Entry{
		w.issuer.entry(4, feed.Revoked, web.Leaf), w.issuer.entry(5, feed.Revoked, signer.Leaf),
	}}
	var view *feed.View
	for _, statement := range []*feed.Statement{first, second} {
		signed, err := statement.Sign(signer.PrivateKey.(crypto.Signer), signer.Leaf, nil)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := feed.Open(signed, key)
		if err != nil {
			t.Fatal(err)
		}
		if view, err = view.Apply(opened, w.now); err != nil {
			t.Fatal(err)
		}
		snap.Revocation = mustRevocation(t).WithFeed(view, 0)
	}
	if _, err := Verify(chainOf(t, web), snap, x509.ExtKeyUsageClientAuth, w.now); causeOf(t, err) != CauseRevoked {
		t.Errorf("web: %v", err)
	}
	// The feed has revoked its own signer: what it signs now does not count.
	signed, err := (&feed.Statement{TrustDomain: "prod.test", From: 5, To: 5, SignedAt: at, NextUpdate: at.Add(time.Hour)}).Sign(signer.PrivateKey.(crypto.Signer), signer.Leaf, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := feed.Open(signed, key); causeOf(t, err) != CauseRevoked {
		t.Errorf("a revoked signer: %v", err)
	}
}

// What travels over the socket is judged like what was sent, and is not read again when it is the same.
func TestSnapshotCarriesTheFeed(t *testing.T) {
	w := newWorld(t, time.Now())
	own, web := w.issuer.leaf("spiffe://prod.test/api"), w.issuer.leaf("spiffe://prod.test/web")
	encode := func(revocation *Revocation) []byte {
		snap, err := NewSnapshot(own, []*x509.Certificate{w.root.cert}, nil, revocation)
		if err != nil {
			t.Fatal(err)
		}
		wire, err := EncodeSnapshot(snap)
		if err != nil {
			t.Fatal(err)
		}
		return wire
	}
	decode := func(wire []byte, old *Snapshot) *Snapshot {
		snap, err := decodeSnapshot(wire, old)
		if err != nil {
			t.Fatal(err)
		}
		again, err := EncodeSnapshot(snap)
		if err != nil || !bytes.Equal(again, wire) {
			t.Errorf("encoded again it differs (%v)", err)
		}
		return snap
	}
	crls := mustRevocation(t, w.root.crl(1, nil))
	revoked := crls.WithFeed(w.feedView(t, nil, w.issuer.entry(11, feed.Revoked, web.Leaf)), 90*time.Second)
	first := decode(encode(revoked), nil)
	if first.Revocation.MaxSilence() != 90*time.Second || first.Revocation.Feed().Sequence() != 11 {
		t.Errorf("%+v", first.Revocation)
	}
	if _, err := Verify(chainOf(t, web), first, x509.ExtKeyUsageClientAuth, w.now); causeOf(t, err) != CauseRevoked {
		t.Errorf("web: %v", err)
	}
	if same := decode(encode(revoked), first); same.Revocation != first.Revocation {
		t.Error("the same revocation was read again")
	}
	if longer := decode(encode(revoked.WithFeed(revoked.view, time.Hour)), first); longer.Revocation.view != first.Revocation.view || longer.Revocation.MaxSilence() != time.Hour {
		t.Error("with another silence, the view was read again or the silence lost")
	}
	if more := decode(encode(mustRevocation(t, w.root.crl(2, nil)).WithFeed(revoked.view, 90*time.Second)), first); more.Revocation.view != first.Revocation.view || more.Revocation.crls[0].number.Int64() != 2 {
		t.Error("with another CRL, the view was read again or the CRL lost")
	}
	later := decode(encode(crls.WithFeed(w.feedView(t, nil), 90*time.Second)), first)
	if later.Revocation.Feed().Sequence() != 10 || later.Revocation.crls[0] != first.Revocation.crls[0] {
		t.Error("with another view, the CRLs were read again or the view kept")
	}
	if none := decode(encode(crls), first); none.Revocation.Feed() != nil || none.Revocation.crls[0] != first.Revocation.crls[0] {
		t.Error("the view outlived its snapshot")
	}
	if short := decode(encode(crls.WithFeed(revoked.view, time.Second/2)), nil); short.Revocation.MaxSilence() != time.Second {
		t.Errorf("half a second of silence became %v", short.Revocation.MaxSilence())
	}
}

func TestSnapshotsFeedIsRefused(t *testing.T) {
	w := newWorld(t, time.Now())
	snap := w.snapshot(t, "api")
	snap.Revocation = snap.Revocation.WithFeed(w.feedView(t, nil), time.Minute)
	good, err := EncodeSnapshot(snap)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*SnapshotJSON){
		"cut off":                  func(s *SnapshotJSON) { s.Feed = s.Feed[:len(s.Feed)-1] },
		"empty":                    func(s *SnapshotJSON) { s.Feed = []byte{} },
		"silence below zero":       func(s *SnapshotJSON) { s.MaxSilence = -1 },
		"silence without end":      func(s *SnapshotJSON) { s.MaxSilence = 1 << 60 },
		"silence without feed":     func(s *SnapshotJSON) { s.Feed = nil },
		"a feed with unknown CRLs": func(s *SnapshotJSON) { s.CRLs = nil },
	} {
		var wire SnapshotJSON
		if err := json.Unmarshal(good, &wire); err != nil {
			t.Fatal(err)
		}
		change(&wire)
		// By hand, as omitempty would drop what is empty.
		data, err := json.Marshal(wire)
		if err != nil {
			t.Fatal(err)
		}
		if name == "empty" {
			data = append([]byte(`{"feed":"",`), data[1:]...)
		}
		if _, err := DecodeSnapshot(data); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
	foreign := &world{td: mustDomain(t, "other.test"), root: w.root, issuer: w.issuer, now: w.now}
	if _, err := NewSnapshot(snap.Certificate, snap.Bundle.Roots(), nil, mustRevocation(t).WithFeed(foreign.feedView(t, nil), 0)); err == nil {
		t.Error("another trust domain's feed was taken")
	}
}
