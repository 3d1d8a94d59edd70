package certs

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/certs/feed"
)

func TestSnapshotRoundTrip(t *testing.T) {
	w := newWorld(t, time.Now())
	full := w.snapshot(t, "api", "*", "spiffe://prod.test/web")
	for name, snap := range map[string]*Snapshot{
		"full":          full,
		"no policy":     {Certificate: full.Certificate, ID: full.ID, Bundle: full.Bundle, Revocation: full.Revocation},
		"no revocation": {Certificate: full.Certificate, ID: full.ID, Bundle: full.Bundle, Policy: full.Policy},
		"no CRLs":       {Certificate: full.Certificate, ID: full.ID, Bundle: full.Bundle, Policy: full.Policy, Revocation: mustRevocation(t)},
	} {
		wire, err := EncodeSnapshot(snap)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeSnapshot(wire)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		sameSnapshot(t, name, got, snap)
		again, err := EncodeSnapshot(got)
		if err != nil || !bytes.Equal(again, wire) {
			t.Errorf("%s: encoded again it differs (%v)", name, err)
		}
	}
}

func sameSnapshot(t *testing.T, name string, got, want *Snapshot) {
	t.Helper()
	if got.ID != want.ID || !slices.EqualFunc(got.Certificate.Certificate, want.Certificate.Certificate, bytes.Equal) ||
		!slices.EqualFunc(got.Bundle.Roots(), want.Bundle.Roots(), (*x509.Certificate).Equal) || got.Bundle.TrustDomain() != want.Bundle.TrustDomain() {
		t.Errorf("%s: identity or trust differ", name)
	}
	if !got.Certificate.PrivateKey.(interface{ Equal(crypto.PrivateKey) bool }).Equal(want.Certificate.PrivateKey) {
		t.Errorf("%s: the key differs", name)
	}
	if (got.Revocation == nil) != (want.Revocation == nil) || !slices.EqualFunc(got.Revocation.CRLs(), want.Revocation.CRLs(), bytes.Equal) {
		t.Errorf("%s: revocation differs", name)
	}
	if (got.Revocation.Feed() == nil) != (want.Revocation.Feed() == nil) || got.Revocation.Feed().Sequence() != want.Revocation.Feed().Sequence() || got.Revocation.MaxSilence() != want.Revocation.MaxSilence() {
		t.Errorf("%s: the feed differs", name)
	}
	if (got.Policy == nil) != (want.Policy == nil) || got.Policy != nil && !slices.Equal(got.Policy.Callers(), want.Policy.Callers()) {
		t.Errorf("%s: policy differs", name)
	}
}

func TestDecodeSnapshotRefuses(t *testing.T) {
	w := newWorld(t, time.Now())
	good, err := EncodeSnapshot(w.snapshot(t, "api", "*"))
	if err != nil {
		t.Fatal(err)
	}
	web, err := EncodeSnapshot(w.snapshot(t, "web", "*"))
	if err != nil {
		t.Fatal(err)
	}
	swap := func(change func(own, other *SnapshotJSON)) []byte {
		var own, other SnapshotJSON
		if err := json.Unmarshal(good, &own); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(web, &other); err != nil {
			t.Fatal(err)
		}
		change(&own, &other)
		out, err := json.Marshal(own)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for name, data := range map[string][]byte{
		"empty":                nil,
		"cut off":              good[:len(good)/2],
		"an unknown member":    append([]byte(`{"extra":1,`), good[1:]...),
		"something behind":     append(slices.Clone(good), good...),
		"another's key":        swap(func(own, other *SnapshotJSON) { own.Key = other.Key }),
		"another's policy":     swap(func(own, other *SnapshotJSON) { own.Policy = other.Policy }),
		"no key":               swap(func(own, _ *SnapshotJSON) { own.Key = nil }),
		"no chain":             swap(func(own, _ *SnapshotJSON) { own.Chain = nil }),
		"an endless chain":     swap(func(own, _ *SnapshotJSON) { own.Chain = slices.Repeat(own.Chain, 20) }),
		"no roots":             swap(func(own, _ *SnapshotJSON) { own.Roots = nil }),
		"endless roots":        swap(func(own, _ *SnapshotJSON) { own.Roots = slices.Repeat(own.Roots, 65) }),
		"a leaf as root":       swap(func(own, _ *SnapshotJSON) { own.Roots = own.Chain[:1] }),
		"a certificate as CRL": swap(func(own, _ *SnapshotJSON) { own.CRLs = own.Chain[:1] }),
		"policy without callers": swap(func(own, _ *SnapshotJSON) {
			own.Policy.Callers = nil
		}),
	} {
		if snap, err := DecodeSnapshot(data); err == nil {
			t.Errorf("%s: gives %+v", name, snap)
		}
	}
	if _, err := DecodeSnapshot(make([]byte, MaxSnapshotSize+1)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("over the size: %v", err)
	}
}

// Whatever is wrong with a snapshot, its error does not quote the key (invariant 18).
func TestErrorsDoNotQuoteTheKey(t *testing.T) {
	w := newWorld(t, time.Now())
	good, err := EncodeSnapshot(w.snapshot(t, "api"))
	if err != nil {
		t.Fatal(err)
	}
	var wire SnapshotJSON
	if err := json.Unmarshal(good, &wire); err != nil {
		t.Fatal(err)
	}
	key := base64.StdEncoding.EncodeToString(wire.Key)
	for _, data := range []string{
		strings.Replace(string(good), key, key[:40]+"!"+key[40:], 1),
		strings.Replace(string(good), key, key[4:], 1),
		strings.Replace(string(good), `"`+key+`"`, `["`+key+`"]`, 1),
		strings.Replace(string(good), `"`+key+`"`, `{"`+key+`":1}`, 1),
		strings.Replace(string(good), `"key"`, `"`+key+`"`, 1),
	} {
		_, err := DecodeSnapshot([]byte(data))
		if err == nil {
			t.Error("a spoiled key was read")
			continue
		}
		for i := 0; i+12 <= len(key); i += 12 {
			if strings.Contains(err.Error(), key[i:i+12]) {
				t.Errorf("the error quotes the key: %v", err)
				break
			}
		}
	}
	if _, err := parseKeyPEM(pemOf("PRIVATE KEY", wire.Key[1:])); err == nil || len(err.Error()) > 60 {
		t.Errorf("a spoiled PEM key: %v", err)
	}
}

func TestNewSnapshotRefuses(t *testing.T) {
	w := newWorld(t, time.Now())
	own := w.issuer.leaf("spiffe://prod.test/api")
	roots := []*x509.Certificate{w.root.cert}
	policy := w.snapshot(t, "web").Policy
	for name, test := range map[string]struct {
		own    *tls.Certificate
		roots  []*x509.Certificate
		policy *Policy
	}{
		"no certificate":   {nil, roots, nil},
		"an empty one":     {new(tls.Certificate), roots, nil},
		"no key":           {&tls.Certificate{Certificate: own.Certificate}, roots, nil},
		"another key":      {&tls.Certificate{Certificate: own.Certificate, PrivateKey: w.issuer.key}, roots, nil},
		"no identity":      {w.issuer.leaf(""), roots, nil},
		"no roots":         {own, nil, nil},
		"another's policy": {own, roots, policy},
	} {
		if snap, err := NewSnapshot(test.own, test.roots, test.policy, nil); err == nil {
			t.Errorf("%s: gives %+v", name, snap)
		}
	}
	bare := &tls.Certificate{Certificate: own.Certificate, PrivateKey: own.PrivateKey}
	snap, err := NewSnapshot(bare, roots, nil, nil)
	if err != nil || snap.Certificate.Leaf == nil || bare.Leaf != nil {
		t.Errorf("the leaf has to be parsed, in a copy: %v", err)
	}
	if _, err := EncodeSnapshot(&Snapshot{}); err == nil {
		t.Error("an incomplete snapshot was encoded")
	}
}

// FuzzDecodeSnapshot: what is accepted is complete, belongs together, and is encoded to
// what decodes to the same.
func FuzzDecodeSnapshot(f *testing.F) {
	w := newWorld(f, time.Now())
	seed, err := EncodeSnapshot(w.snapshot(f, "api", "*"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	fed := w.snapshot(f, "api", "*")
	fed.Revocation = fed.Revocation.WithFeed(w.feedView(f, []*x509.Certificate{fed.Certificate.Leaf}, w.issuer.entry(11, feed.Held, fed.Certificate.Leaf)), time.Minute)
	if seed, err = EncodeSnapshot(fed); err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"chain":[],"key":"","roots":[],"crls":null,"policy":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		snap, err := DecodeSnapshot(data)
		if err != nil {
			return
		}
		if snap.Certificate.Leaf == nil || snap.ID.IsZero() || snap.Bundle.TrustDomain() != snap.ID.TrustDomain() || checkKeyFits(snap.Certificate.Leaf, snap.Certificate.PrivateKey) != nil {
			t.Fatalf("%+v does not belong together", snap)
		}
		wire, err := EncodeSnapshot(snap)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeSnapshot(wire)
		if err != nil {
			t.Fatal(err)
		}
		sameSnapshot(t, "decoded again", again, snap)
	})
}
