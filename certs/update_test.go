package certs

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/certs/feed"
)

// beat is view after a heartbeat, or after entries.
func beat(t testing.TB, view *feed.View, entries ...feed.Entry) *feed.View {
	t.Helper()
	signedAt := view.SignedAt().Add(time.Second)
	next, err := view.Apply(&feed.Statement{
		TrustDomain: view.TrustDomain(), From: view.Sequence(), To: view.Sequence() + uint64(len(entries)),
		SignedAt: signedAt, NextUpdate: signedAt.Add(20 * time.Minute), Issuers: view.Issuers(), Entries: entries,
	}, signedAt)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func (s *Snapshot) withView(view *feed.View, maxSilence time.Duration) *Snapshot {
	next := *s
	next.Revocation = s.Revocation.WithFeed(view, maxSilence)
	return &next
}

// received is what a program has after an update to old, which the agent took for since.
func received(t *testing.T, old, since, now *Snapshot) (*Snapshot, int) {
	t.Helper()
	data, err := EncodeUpdate(now, since)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeUpdate(data, old)
	if err != nil {
		t.Fatal(err)
	}
	return got, len(data)
}

func viewBytes(t *testing.T, s *Snapshot) []byte {
	t.Helper()
	raw, err := s.Revocation.Feed().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Whatever changes, a program has what the agent has; what stays the same is neither sent nor read again.
func TestUpdatesLeadToTheSameSnapshot(t *testing.T) {
	w := newWorld(t, time.Now())
	first := w.fedSnapshot(t, 7)
	view := first.Revocation.Feed()
	entry := feed.Entry{Sequence: 8, Kind: feed.Revoked, Issuer: "00", Serial: []byte{9}, At: time.Unix(1_700_000_000, 0).UTC(), NotAfter: time.Unix(2_000_000_000, 0).UTC()}
	other := w.fedSnapshot(t, 9)
	rotated := *w.snapshot(t, "api", "*")
	rotated.Revocation = rotated.Revocation.WithFeed(beat(t, view), 0)
	denied := *first
	denied.Policy = w.snapshot(t, "api").Policy
	stapleless := *first
	stapleless.Revocation = first.Revocation.WithFeed(nil, 0)
	unknown := *first
	unknown.Revocation = nil
	tests := map[string]struct {
		now   *Snapshot
		small bool // no certificate, key or set is in it
	}{
		"nothing but a heartbeat":       {first.withView(beat(t, view), 0), true},
		"an entry":                      {first.withView(beat(t, view, entry), 0), true},
		"another limit of the silence":  {first.withView(view, 90*time.Second), true},
		"another certificate":           {&rotated, false},
		"another policy":                {&denied, false},
		"another set":                   {other, false},
		"no feed any more":              {&stapleless, false},
		"revocation is unknown (again)": {&unknown, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			had, _ := received(t, nil, nil, first)
			got, size := received(t, had, first, tt.now)
			sameSnapshot(t, name, got, tt.now)
			if got.Revocation.MaxSilence() != tt.now.Revocation.MaxSilence() {
				t.Errorf("max_silence %v; want %v", got.Revocation.MaxSilence(), tt.now.Revocation.MaxSilence())
			}
			if (got.Revocation.Feed() == nil) != (tt.now.Revocation.Feed() == nil) {
				t.Fatalf("feed %v; want %v", got.Revocation.Feed(), tt.now.Revocation.Feed())
			}
			if tt.now.Revocation.Feed() != nil && !bytes.Equal(viewBytes(t, got), viewBytes(t, tt.now)) {
				t.Error("the feed is another one")
			}
			if tt.small != (got.Certificate == had.Certificate) || tt.small && size > 600 {
				t.Errorf("%d bytes; the same certificate %v", size, got.Certificate == had.Certificate)
			}
			if _, err := EncodeUpdate(got, had); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDecodeUpdateRefuses(t *testing.T) {
	w := newWorld(t, time.Now())
	first := w.fedSnapshot(t, 7)
	had, _ := received(t, nil, nil, first)
	delta, err := EncodeUpdate(first.withView(beat(t, first.Revocation.Feed()), 0), first)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := EncodeUpdate(first, nil)
	if err != nil {
		t.Fatal(err)
	}
	feedOnly := strings.TrimPrefix(string(delta), "{")
	for name, tt := range map[string]struct {
		data string
		old  *Snapshot
	}{
		"nothing":                        {"{}", had},
		"a limit without a feed":         {`{"max_silence":5}`, had},
		"a delta to nothing":             {string(delta), nil},
		"a delta to another set":         {string(delta), w.fedSnapshot(t, 6)},
		"a delta to no feed":             {string(delta), w.snapshot(t, "api")},
		"a negative limit":               {`{"max_silence":-1,` + feedOnly, had},
		"a feed beside its delta":        {strings.TrimSuffix(string(whole), "}") + "," + feedOnly, had},
		"an unknown member":              {`{"later":1,` + feedOnly, had},
		"something behind":               {string(delta) + "x", had},
		"a malformed delta":              {`{"feed_delta":"AAAA"}`, had},
		"a snapshot that is not one":     {`{"snapshot":{}}`, had},
		"a delta with a snapshot cut":    {`{"snapshot":{"chain":[]},` + feedOnly, had},
		"an old snapshot in its place":   {strings.TrimSuffix(strings.TrimPrefix(string(whole), `{"snapshot":`), "}"), had},
		"over the size, however it goes": {strings.Repeat(" ", MaxSnapshotSize+1), had},
	} {
		if _, err := decodeUpdate([]byte(tt.data), tt.old); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := EncodeUpdate(nil, nil); err == nil {
		t.Error("nothing was encoded")
	}
}

// FuzzDecodeUpdate: what is taken has a certificate and a feed of its own trust domain.
func FuzzDecodeUpdate(f *testing.F) {
	w := newWorld(f, time.Now())
	view, err := (*feed.View)(nil).Apply(&feed.Statement{TrustDomain: w.td.String(), To: 1, SignedAt: time.Now(), NextUpdate: time.Now().Add(time.Hour), Snapshot: feed.NewSet(nil)}, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	old := w.snapshot(f, "api").withView(view, 0)
	for _, now := range []*Snapshot{old.withView(beat(f, view), time.Minute), w.snapshot(f, "api", "*")} {
		data, err := EncodeUpdate(now, old)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		snap, err := decodeUpdate(data, old)
		if err != nil {
			return
		}
		if snap.Certificate == nil || snap.Certificate.Leaf == nil || snap.Bundle == nil {
			t.Fatal("not complete")
		}
		if domain := snap.Revocation.Feed().TrustDomain(); domain != "" && domain != snap.ID.TrustDomain().String() {
			t.Fatalf("the feed of %s", domain)
		}
	})
}

// BenchmarkFreshnessOfAMillion is what a heartbeat costs agent and program when a million certificates are revoked.
func BenchmarkFreshnessOfAMillion(b *testing.B) {
	w := newWorld(b, time.Now())
	random := rand.New(rand.NewPCG(1, 2))
	hashes := make([]uint64, 1_000_000)
	for i := range hashes {
		hashes[i] = random.Uint64()
	}
	now := time.Now()
	view, err := (*feed.View)(nil).Apply(&feed.Statement{TrustDomain: w.td.String(), To: 1, SignedAt: now, NextUpdate: now.Add(time.Hour), Snapshot: feed.NewSet(hashes)}, now)
	if err != nil {
		b.Fatal(err)
	}
	sent := w.snapshot(b, "api", "*").withView(view, 0)
	had, size := sent, 0
	b.ReportAllocs()
	for b.Loop() {
		next := sent.withView(beat(b, sent.Revocation.Feed()), 0)
		data, err := EncodeUpdate(next, sent)
		if err != nil {
			b.Fatal(err)
		}
		if had, err = decodeUpdate(data, had); err != nil {
			b.Fatal(err)
		}
		sent, size = next, len(data)
	}
	b.ReportMetric(float64(size), "sent-B/op")
}
