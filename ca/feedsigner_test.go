package ca_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
)

// feedSpy remembers what the CA told the feed.
type feedSpy struct {
	mu       sync.Mutex
	events   []string // "signer", "silence" and "notify", in their order
	key      crypto.Signer
	chain    []*x509.Certificate
	signings [][]*x509.Certificate
}

func (f *feedSpy) SetSigner(key crypto.Signer, chain []*x509.Certificate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.key, f.chain = key, chain
	if key == nil {
		f.events = append(f.events, "silence")
		return
	}
	f.events, f.signings = append(f.events, "signer"), append(f.signings, chain)
}

func (f *feedSpy) Notify() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, "notify")
}

// since returns the events behind the first n.
func (f *feedSpy) since(n int) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.events[n:])
}

func newFollowed(t *testing.T, options ...option) (*world, *feedSpy) {
	t.Helper()
	spy := &feedSpy{}
	w := newWorld(t, append(options, func(cfg *ca.Config) { cfg.Feed = spy })...)
	must(t, w.RotateFeedSigner(t.Context()))
	return w, spy
}

// The signer is one whom agents accept, and its certificate is in the ledger.
func TestTheFeedsSigner(t *testing.T) {
	w, spy := newFollowed(t)
	bundle := must2(certs.NewBundle(w.td, []*x509.Certificate{w.root}))
	leaf, err := certs.CheckFeedSigner(spy.chain, &certs.Snapshot{Bundle: bundle}, w.clock())
	must(t, err)
	if !leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(spy.key.Public()) {
		t.Error("the key is not the certificate's")
	}
	row, err := w.ledger.Certificate(t.Context(), must2(certs.SerialFromInt(leaf.SerialNumber)))
	if err != nil || row.Kind != ca.KindFeed || row.ID.Path() != policy.FeedPath || !bytes.Equal(row.DER, leaf.Raw) {
		t.Errorf("row = %+v, %v; a signer must be recorded", row, err)
	}
	if _, err := w.Authenticate(t.Context(), spy.chain); err == nil {
		t.Error("the signer is accepted as a client")
	}
}

func TestTheFeedsSignerRotatesAtHalfItsLife(t *testing.T) {
	w, spy := newFollowed(t)
	half := spy.chain[0].NotAfter.Sub(spy.chain[0].NotBefore) / 2
	w.advance(half - 2*time.Minute)
	must(t, w.RotateFeedSigner(t.Context()))
	if len(spy.signings) != 1 {
		t.Error("rotated before half of its life")
	}
	w.advance(4 * time.Minute)
	must(t, w.RotateFeedSigner(t.Context()))
	if len(spy.signings) != 2 || bytes.Equal(spy.signings[0][0].RawSubjectPublicKeyInfo, spy.signings[1][0].RawSubjectPublicKeyInfo) {
		t.Errorf("%d signers after half of the first one's life; the second needs a key of its own", len(spy.signings))
	}
}

// A new active issuer signs for the feed at once: the old one may be about to go.
func TestTheFeedsSignerFollowsTheIssuer(t *testing.T) {
	w, spy := newFollowed(t)
	next := w.newIssuer(0)
	must(t, w.Exchange(t.Context(), ca.Authorities{
		Issuers: []*issuer.Issuer{next, w.issuer}, Roots: []*x509.Certificate{w.root}, Profiles: profiles(),
	}))
	if len(spy.signings) != 2 || !bytes.Equal(spy.chain[1].Raw, next.Certificate().Raw) {
		t.Errorf("%d signers", len(spy.signings))
	}
	if want := []string{next.ID(), w.issuer.ID()}; !slices.Equal(w.Issuers(), want) {
		t.Errorf("covered: %v, want %v", w.Issuers(), want)
	}
}

// Another signer tells of the revocation of the one before.
func TestARevokedSignerIsReplacedBeforeAnybodyIsTold(t *testing.T) {
	w, spy := newFollowed(t)
	first, seen := spy.chain[0], len(spy.since(0))
	serial := must2(certs.SerialFromInt(first.SerialNumber))
	w.revoked(api.RevokeRequest{Serial: serial, Reason: certs.KeyCompromise})
	if events := spy.since(seen); !slices.Equal(events, []string{"signer", "notify"}) || spy.chain[0].Equal(first) {
		t.Errorf("events %v", events)
	}
}

// Without another signer the feed is silent rather than signed by one that is revoked, and the CA says so.
func TestWithoutAnotherSignerTheFeedIsSilent(t *testing.T) {
	var full atomic.Bool
	w, spy := newFollowed(t, withFaults(&faulty{record: func(ctx context.Context, next ca.Ledger, i ca.Issuance) (ca.Certificate, bool, error) {
		if full.Load() {
			return ca.Certificate{}, false, errors.New("no space left on device")
		}
		return next.RecordIssuance(ctx, i)
	}}))
	serial, seen := must2(certs.SerialFromInt(spy.chain[0].SerialNumber)), len(spy.since(0))
	full.Store(true)
	w.revoked(api.RevokeRequest{Serial: serial})
	if events := spy.since(seen); !slices.Equal(events, []string{"silence", "notify"}) {
		t.Errorf("events %v", events)
	}
	if problems := strings.Join(w.Ready(t.Context()), "; "); !strings.Contains(problems, "feed") {
		t.Errorf("ready says %q", problems)
	}
	full.Store(false)
	must(t, w.RotateFeedSigner(t.Context()))
	if events := spy.since(seen); !slices.Equal(events, []string{"silence", "notify", "signer"}) {
		t.Errorf("events %v", events)
	}
}

// The feed is told of every change that agents act upon.
func TestChangesNotifyTheFeed(t *testing.T) {
	w, spy := newFollowed(t)
	a := w.enroll("shop/cart")
	for name, change := range map[string]func(){
		"policy":     func() { w.put("shop/cart", "shop/web") },
		"revocation": func() { w.revoked(api.RevokeRequest{Serial: a.serial()}) },
		"bundle": func() {
			must(t, w.Exchange(t.Context(), ca.Authorities{Issuers: []*issuer.Issuer{w.issuer}, Roots: []*x509.Certificate{w.root}, Profiles: profiles()}))
		},
	} {
		seen := len(spy.since(0))
		if change(); !slices.Contains(spy.since(seen), "notify") {
			t.Errorf("%s: the feed was not told", name)
		}
	}
}

func TestRunGivesTheFeedASigner(t *testing.T) {
	spy := &feedSpy{}
	w := newWorld(t, func(cfg *ca.Config) { cfg.Feed = spy })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	deadline := time.After(time.Minute)
	for len(w.Ready(ctx)) > 0 {
		select {
		case <-deadline:
			t.Fatalf("not ready: %v", w.Ready(ctx))
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	must(t, <-done)
}

// revoked revokes as the admin.
func (w *world) revoked(r api.RevokeRequest) {
	w.t.Helper()
	_, _, err := w.Revoke(w.t.Context(), admin, r)
	must(w.t, err)
}
