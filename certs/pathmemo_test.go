package certs

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/handfast/handfast/certs/feed"
)

// reparsed is chain as the next handshake would bring it; certificates of nonsense are left out.
func reparsed(ders [][]byte) []*x509.Certificate {
	var chain []*x509.Certificate
	for _, der := range ders {
		if cert, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, cert)
		}
	}
	return chain
}

// tangle is chains of every sort: two roots, an issuer that both have signed, its twin of
// other times, leaves of several lives; each certificate's life begins and ends at another time.
func tangle(t *testing.T, now time.Time) (bundles []*Bundle, chains [][][]byte) {
	lasting := func(from, until time.Duration) change {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(from), now.Add(until) }
	}
	one, two := newRoot(t, "one", now, lasting(-50*time.Minute, 50*time.Minute)), newRoot(t, "two", now, lasting(-30*time.Minute, 90*time.Minute))
	issuer := one.intermediate("issuer", lasting(-40*time.Minute, 20*time.Minute))
	again := *issuer.cert
	again.NotBefore, again.NotAfter = now.Add(-10*time.Minute), now.Add(40*time.Minute)
	twin := sign(t, &again, one.cert, issuer.key.Public(), one.key)
	crossed := sign(t, &again, two.cert, issuer.key.Public(), two.key)
	td := mustDomain(t, "prod.test")
	bundles = []*Bundle{mustBundle(t, td, one), mustBundle(t, td, two), mustBundle(t, td, one, two), mustBundle(t, td, newRoot(t, "three", now))}
	for _, life := range []change{lasting(-20*time.Minute, 10*time.Minute), lasting(-time.Minute, 30*time.Minute), lasting(5*time.Minute, time.Hour)} {
		leaf := issuer.leaf("spiffe://prod.test/web", life, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }).Leaf
		for _, above := range [][]*x509.Certificate{{issuer.cert}, {twin}, {crossed}, {issuer.cert, twin, crossed}, {crossed, one.cert, two.cert}, {}} {
			chain := [][]byte{leaf.Raw}
			for _, cert := range above {
				chain = append(chain, cert.Raw)
			}
			chains = append(chains, chain)
		}
	}
	return bundles, chains
}

// What the memo says is what full verification says now, to the path: over mutated and reordered chains, wrong
// usages, changing roots, and times that wander back and forth over the ends of everybody's life.
func TestMemoAgreesWithFullVerification(t *testing.T) {
	now := time.Now()
	bundles, chains := tangle(t, now)
	random := rand.New(rand.NewPCG(1, 2))
	memo, snap := new(pathMemo), &Snapshot{Bundle: bundles[2]}
	hits, accepted, refused := 0, 0, 0
	for round := range 6000 {
		if round%300 == 299 {
			snap = &Snapshot{Bundle: bundles[[]int{0, 1, 2, 2, 3}[random.IntN(5)]]}
		}
		ders := slices.Clone(chains[random.IntN(len(chains))])
		switch random.IntN(16) {
		case 0: // a changed octet
			i := random.IntN(len(ders))
			ders[i] = bytes.Clone(ders[i])
			ders[i][random.IntN(len(ders[i]))] ^= 1 << random.IntN(8)
		case 1: // a changed signature, which always parses
			i := random.IntN(len(ders))
			ders[i] = bytes.Clone(ders[i])
			ders[i][len(ders[i])-1] ^= 1
		case 2:
			random.Shuffle(len(ders), func(i, j int) { ders[i], ders[j] = ders[j], ders[i] })
		case 3:
			other := chains[random.IntN(len(chains))]
			ders = append(ders, other[random.IntN(len(other))])
		}
		chain := reparsed(ders)
		usage := x509.ExtKeyUsageClientAuth
		if random.IntN(10) == 0 {
			usage = x509.ExtKeyUsageServerAuth
		}
		at := now.Add(time.Duration(random.IntN(70)-25) * time.Minute)
		if len(chain) > 0 && random.IntN(3) == 0 { // exactly at an end, or right beside it
			cert := chain[random.IntN(len(chain))]
			at = []time.Time{cert.NotBefore, cert.NotAfter}[random.IntN(2)].Add(time.Duration(random.IntN(3) - 1))
		}
		got, gotRefusal := memo.find(chain, snap, usage, at)
		want, wantRefusal := findPaths(chain, snap.Bundle, usage, at)
		if (gotRefusal == nil) != (wantRefusal == nil) || gotRefusal != nil && gotRefusal.Cause != wantRefusal.Cause {
			t.Fatalf("round %d: the memo says %v, full verification %v", round, gotRefusal, wantRefusal)
		}
		if !slices.EqualFunc(got, want, func(a, b []*x509.Certificate) bool { return slices.EqualFunc(a, b, (*x509.Certificate).Equal) }) {
			t.Fatalf("round %d: other paths", round)
		}
		switch {
		case gotRefusal != nil:
			refused++
		case got[0][0] != chain[0]:
			hits++
		default:
			accepted++
		}
	}
	t.Logf("%d hits, %d verified, %d refused", hits, accepted, refused)
	if hits < 300 || accepted < 100 || refused < 300 {
		t.Errorf("%d hits, %d verified, %d refused: this shows less than it says", hits, accepted, refused)
	}
}

// ask shows chain to the memo as a handshake would, and tells whether it was a hit.
func ask(t *testing.T, memo *pathMemo, ders [][]byte, snap *Snapshot, now time.Time) bool {
	t.Helper()
	chain := reparsed(ders)
	paths, refusal := memo.find(chain, snap, x509.ExtKeyUsageClientAuth, now)
	if refusal != nil {
		t.Fatal(refusal)
	}
	return paths[0][0] != chain[0]
}

// The memo is emptied by every change of roots, policy and revocation, and by nothing else.
func TestMemoIsEmptied(t *testing.T) {
	w, other := newWorld(t, time.Now()), newWorld(t, time.Now())
	web := w.issuer.leaf("spiffe://prod.test/web")
	policy := func(callers ...string) *Policy {
		p, err := NewPolicy(mustID(t, "spiffe://prod.test/api"), callers)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	crl := w.issuer.crl(1, nil)
	base := Snapshot{Bundle: mustBundle(t, w.td, w.root), Policy: policy("*"), Revocation: mustRevocation(t, crl).WithFeed(w.feedView(t, nil), 0)}
	heartbeat, err := base.Revocation.view.Apply(&feed.Statement{
		TrustDomain: "prod.test", From: 10, To: 10, SignedAt: w.now.Add(5 * time.Second), NextUpdate: w.now.Add(2 * time.Hour), Issuers: []string{w.issuer.keyID()},
	}, w.now.Add(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*Snapshot)
		kept   bool
	}{
		{"nothing", func(*Snapshot) {}, true},
		{"own certificate", func(s *Snapshot) { s.Certificate = web }, true},
		{"the same once more", func(s *Snapshot) {
			s.Bundle, s.Policy = mustBundle(t, w.td, w.root), policy("*")
			s.Revocation = mustRevocation(t, bytes.Clone(crl)).WithFeed(w.feedView(t, nil), 0)
		}, true},
		{"a heartbeat of the feed", func(s *Snapshot) { s.Revocation = s.Revocation.WithFeed(heartbeat, 0) }, true},
		{"a root more", func(s *Snapshot) { s.Bundle = mustBundle(t, w.td, w.root, other.root) }, false},
		{"another trust domain", func(s *Snapshot) { s.Bundle = mustBundle(t, mustDomain(t, "other.test"), w.root) }, false},
		{"a caller more", func(s *Snapshot) { s.Policy = policy("*", "spiffe://prod.test/web") }, false},
		{"another caller", func(s *Snapshot) { s.Policy = policy("spiffe://prod.test/web") }, false},
		{"no policy", func(s *Snapshot) { s.Policy = nil }, false},
		{"a newer CRL", func(s *Snapshot) {
			s.Revocation = mustRevocation(t, w.issuer.crl(2, nil)).WithFeed(s.Revocation.view, 0)
		}, false},
		{"an entry of the feed", func(s *Snapshot) {
			s.Revocation = s.Revocation.WithFeed(w.feedView(t, nil, w.issuer.entry(11, feed.Revoked, w.root.cert)), 0)
		}, false},
		{"no feed", func(s *Snapshot) { s.Revocation = s.Revocation.WithFeed(nil, 0) }, false},
		{"no revocation", func(s *Snapshot) { s.Revocation = nil }, false},
	} {
		memo, changed := new(pathMemo), base
		test.change(&changed)
		if ask(t, memo, web.Certificate, &base, w.now) || !ask(t, memo, web.Certificate, &base, w.now) {
			t.Fatal("the second handshake has to be the first hit")
		}
		if kept := ask(t, memo, web.Certificate, &changed, w.now); kept != test.kept {
			t.Errorf("%s: kept %v", test.name, kept)
		}
		if ask(t, memo, web.Certificate, &base, w.now) != test.kept {
			t.Errorf("%s, and back: what was forgotten has come back", test.name)
		}
	}
}

// A path that was found with the roots of before is not remembered under those of now.
func TestMemoForgetsWhatArrivesLate(t *testing.T) {
	w, other := newWorld(t, time.Now()), newWorld(t, time.Now())
	before, after := &Snapshot{Bundle: mustBundle(t, w.td, w.root)}, &Snapshot{Bundle: mustBundle(t, w.td, other.root)}
	chain := reparsed(w.issuer.leaf("spiffe://prod.test/web").Certificate)
	memo := new(pathMemo)
	key := pathKeyOf(chain, x509.ExtKeyUsageClientAuth)
	if memo.load(key, before, w.now) != nil {
		t.Fatal("an empty memo knows something")
	}
	paths, refusal := findPaths(chain, before.Bundle, x509.ExtKeyUsageClientAuth, w.now)
	if refusal != nil {
		t.Fatal(refusal)
	}
	memo.load(key, after, w.now) // another handshake, after the roots have changed
	memo.store(key, before, pathEntry{paths: paths, until: w.now.Add(time.Hour)})
	if _, refusal := memo.find(chain, after, x509.ExtKeyUsageClientAuth, w.now); refusal == nil {
		t.Error("a path to a root that is gone was taken")
	}
	if memo.load(key, before, w.now) != nil {
		t.Error("the memo has kept what arrived late")
	}
}

func TestMemoIsBounded(t *testing.T) {
	w := newWorld(t, time.Now())
	snap, memo := w.trust(t), new(pathMemo)
	often := w.issuer.leaf("spiffe://prod.test/often").Certificate
	ask(t, memo, often, snap, w.now)
	entry := pathEntry{until: w.now.Add(time.Hour), paths: [][]*x509.Certificate{{}}}
	for n := range 3 * maxPathMemo {
		memo.store(pathKey{1, byte(n), byte(n >> 8)}, snap, entry)
		if len(memo.young)+len(memo.old) > maxPathMemo {
			t.Fatalf("%d chains are remembered", len(memo.young)+len(memo.old))
		}
		if n%100 == 0 && !ask(t, memo, often, snap, w.now) {
			t.Fatalf("after %d others, the one that comes often was forgotten", n)
		}
	}
}

// What a hit saves is signatures. All that can change is judged in each handshake.
func TestHitIsJudgedAnew(t *testing.T) {
	now := time.Now()
	w := newWorld(t, now)
	web := w.issuer.leaf("spiffe://prod.test/web")
	allowed := newRotating(w.snapshot(t, "api", "spiffe://prod.test/web"))
	clock := now
	e := newEndpoint(allowed, x509.ExtKeyUsageClientAuth, []Option{WithClock(func() time.Time { return clock })})
	e.authorize = AllowPolicy(allowed).decide
	judge := func() error {
		_, err := e.judge(reparsed(web.Certificate), nil)
		return err
	}
	if err := judge(); err != nil {
		t.Fatal(err)
	}
	if len(e.memory.paths.young) != 1 {
		t.Fatal("the chain is not remembered, so this test shows nothing")
	}
	view := w.feedView(t, nil)
	for _, test := range []struct {
		name   string
		change func(*Snapshot)
		after  time.Duration
		cause  Cause
	}{
		{"unchanged", func(*Snapshot) {}, 0, ""},
		{"expired", func(*Snapshot) {}, time.Hour + time.Second, CauseOwnCertificate},
		{"the peer alone expired", func(s *Snapshot) {
			s.Certificate = w.issuer.leaf("spiffe://prod.test/api", func(c *x509.Certificate) { c.NotAfter = now.Add(12 * time.Hour) })
		}, time.Hour + time.Second, CauseExpired},
		{"not yet valid", func(s *Snapshot) {
			s.Certificate = w.issuer.leaf("spiffe://prod.test/api", func(c *x509.Certificate) { c.NotBefore = now.Add(-12 * time.Hour) })
		}, -2 * time.Minute, CauseNotYetValid},
		{"revoked", func(s *Snapshot) { s.Revocation = w.revocation(t, 2, web.Leaf) }, 0, CauseRevoked},
		{"the list is stale", func(s *Snapshot) {
			s.Revocation = mustRevocation(t, w.issuer.crl(1, nil, func(l *x509.RevocationList) { l.NextUpdate = now.Add(10 * time.Minute) }))
		}, 11 * time.Minute, CauseRevocationStale},
		{"the feed is silent", func(s *Snapshot) { s.Revocation = mustRevocation(t).WithFeed(view, time.Minute) }, 2 * time.Minute, CauseRevocationStale},
		{"the feed speaks", func(s *Snapshot) { s.Revocation = mustRevocation(t).WithFeed(view, time.Minute) }, time.Second, ""},
		{"policy denies", func(s *Snapshot) { s.Policy, _ = NewPolicy(s.ID, nil) }, 0, CausePolicyDenied},
		{"root gone", func(s *Snapshot) { s.Bundle = mustBundle(t, w.td, newRoot(t, "other", now)) }, 0, CauseUnknownAuthority},
	} {
		snap := *allowed.Load()
		test.change(&snap)
		next := newRotating(&snap)
		e.src, e.authorize = next, AllowPolicy(next).decide
		clock = now
		if test.cause != CauseUnknownAuthority && test.cause != CausePolicyDenied && test.cause != CauseRevoked {
			if err := judge(); err != nil {
				t.Fatalf("%s: before: %v", test.name, err)
			}
		}
		clock = now.Add(test.after)
		if err := judge(); causeOf(t, err) != test.cause {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// Configs that are made for one connection each share what was verified, also with what asks afterwards.
func TestMemoryIsShared(t *testing.T) {
	w := newWorld(t, time.Now())
	api, web := fixed{w.snapshot(t, "api"), nil}, fixed{w.snapshot(t, "web"), nil}
	servers, clients := new(Memory), new(Memory)
	for range 3 {
		server, client := ServerConfig(api, AllowTrustDomain(w.td), WithMemory(servers)), ClientConfig(web, api.snap.ID, WithMemory(clients))
		if atServer, atClient, _ := shake(t, server, client); atServer != nil || atClient != nil {
			t.Fatal(atServer, atClient)
		}
	}
	if len(servers.paths.young) != 1 || len(clients.paths.young) != 1 {
		t.Errorf("%d and %d chains are remembered", len(servers.paths.young), len(clients.paths.young))
	}
	chain := reparsed(web.snap.Certificate.Certificate)
	peer, err := servers.Verify(chain, api.snap, x509.ExtKeyUsageClientAuth, time.Now())
	if err != nil || peer.ID != web.snap.ID || peer.Chain[0] == chain[0] {
		t.Errorf("%v, %v: it was verified again", peer.ID, err)
	}
	revoked := *api.snap
	revoked.Revocation = w.revocation(t, 2, chain[0])
	if _, err := servers.Verify(chain, &revoked, x509.ExtKeyUsageClientAuth, time.Now()); causeOf(t, err) != CauseRevoked {
		t.Errorf("revoked: %v", err)
	}
}

// What a Peer hands out is not the memo's own.
func TestMemoIsNotThePeers(t *testing.T) {
	w := newWorld(t, time.Now())
	web, snap, memo := w.issuer.leaf("spiffe://prod.test/web"), w.trust(t), new(pathMemo)
	for range 3 {
		peer, refusal := verify(reparsed(web.Certificate), snap, x509.ExtKeyUsageClientAuth, memo, w.now)
		if refusal != nil || len(peer.Chain) != 3 || peer.Chain[1] == nil {
			t.Fatalf("%v %+v", refusal, peer)
		}
		clear(peer.Chain)
	}
}

func TestMemoIsSafeForConcurrentUse(t *testing.T) {
	w := newWorld(t, time.Now())
	one, two := w.trust(t), &Snapshot{Bundle: mustBundle(t, w.td, w.root, newRoot(t, "other", w.now)), Revocation: w.revocation(t, 2)}
	memo := new(pathMemo)
	var ders [][][]byte
	for n := range 4 {
		ders = append(ders, w.issuer.leaf(fmt.Sprintf("spiffe://prod.test/web%d", n)).Certificate)
	}
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for n := range 50 {
				snap := one
				if (n/8+worker)%2 == 0 {
					snap = two
				}
				if _, refusal := verify(reparsed(ders[n%4]), snap, x509.ExtKeyUsageClientAuth, memo, w.now); refusal != nil {
					t.Error(refusal)
				}
			}
		})
	}
	group.Wait()
}
