package ca_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
)

// doors are all the ways to a certificate, for an agent a of service shop/cart.
func (w *world) doors(a agent) map[string]func() (*ca.Issued, error) {
	ctx, peer, operator := w.t.Context(), w.peer(a), w.operator("op")
	operatorPeer := w.peer(operator)
	return map[string]func() (*ca.Issued, error){
		"enroll": func() (*ca.Issued, error) {
			return w.Enroll(ctx, claim("shop/cart", "fresh"), csr(w.t, newKey(w.t)), "")
		},
		"renew": func() (*ca.Issued, error) { return w.Renew(ctx, peer, csr(w.t, newKey(w.t)), "") },
		"rekey": func() (*ca.Issued, error) { return w.Rekey(ctx, w.rekeyRequest(a), "") },
		"issue": func() (*ca.Issued, error) {
			return w.Issue(ctx, admin, api.IssueRequest{Service: "shop/cart", CSR: csr(w.t, newKey(w.t))}, "")
		},
		"add operator": func() (*ca.Issued, error) {
			return w.AddOperator(ctx, admin, api.OperatorRequest{Name: "new", Role: "reader", CSR: csr(w.t, newKey(w.t))})
		},
		"renew operator": func() (*ca.Issued, error) { return w.RenewOperator(ctx, operatorPeer, csr(w.t, newKey(w.t)), "") },
		"server": func() (*ca.Issued, error) {
			certificate, err := w.ServerCertificate(ctx, []string{"ca"}, nil)
			if certificate != nil {
				return &ca.Issued{Chain: certificate.Certificate}, err
			}
			return nil, err
		},
	}
}

func (w *world) operator(name string) agent {
	w.t.Helper()
	key := newKey(w.t)
	issued, err := w.BootstrapOperator(w.t.Context(), name, "admin", csr(w.t, key))
	must(w.t, err)
	return newAgent(w.t, key, issued)
}

func TestInvariant02ASerialIsUnique(t *testing.T) {
	var tried []certs.Serial
	fail := 1
	f := &faulty{}
	w := newWorld(t, withFaults(f))
	w.put("shop/cart")
	f.record = func(ctx context.Context, next ca.Ledger, i ca.Issuance) (ca.Certificate, bool, error) {
		tried = append(tried, i.Certificate.Serial)
		if len(tried) <= fail {
			return ca.Certificate{}, false, ca.ErrSerialExists
		}
		return next.RecordIssuance(ctx, i)
	}
	issued, err := w.Enroll(t.Context(), claim("shop/cart", "1"), csr(t, newKey(t)), "")
	must(t, err)
	if len(tried) != 2 || tried[0] == tried[1] || issued.Certificate.Serial != tried[1] {
		t.Errorf("tried %v, handed out %s; want a second, fresh serial", tried, issued.Certificate.Serial)
	}
	tried, fail = nil, 10
	_, err = w.Enroll(t.Context(), claim("shop/cart", "2"), csr(t, newKey(t)), "")
	wantCode(t, "a broken source of randomness", err, api.CodeInternal)
	if len(tried) != 2 {
		t.Errorf("%d tries, want 2", len(tried))
	}
}

func TestInvariant04ALeafNeverOutlivesItsIssuer(t *testing.T) {
	w := newWorld(t)
	dying := w.newIssuer(25 * time.Hour) // from an hour before the epoch
	must(t, w.Exchange(t.Context(), w.authorities(dying)))
	a := w.enroll("shop/cart")
	end := dying.Certificate().NotAfter
	for w.clock().Before(end) {
		for door, ask := range map[string]func() (*ca.Issued, error){
			"issue": func() (*ca.Issued, error) {
				return w.Issue(t.Context(), admin, api.IssueRequest{Service: "shop/cart", CSR: csr(t, newKey(t))}, "")
			},
			"rekey": func() (*ca.Issued, error) { return w.Rekey(t.Context(), w.rekeyRequest(a), "") },
		} {
			issued, err := ask()
			must(t, err)
			c := issued.Certificate
			if c.NotAfter.After(end) || c.NotBefore.Before(dying.Certificate().NotBefore) {
				t.Fatalf("%s at %s: valid %s to %s, the issuer until %s", door, w.clock(), c.NotBefore, c.NotAfter, end)
			}
		}
		w.advance(3*time.Hour + 7*time.Minute)
	}
	_, err := w.Issue(t.Context(), admin, api.IssueRequest{Service: "shop/cart", CSR: csr(t, newKey(t))}, "")
	wantCode(t, "after the issuer's end", err, api.CodeUnavailable)
}

// TestInvariant06ASignedCertificateThatWasNotDeliveredIsRevocable loses the answer after the record.
func TestInvariant06ASignedCertificateThatWasNotDeliveredIsRevocable(t *testing.T) {
	f := &faulty{}
	w := newWorld(t, withFaults(f))
	w.put("shop/cart")
	var lost certs.Serial
	f.record = func(ctx context.Context, next ca.Ledger, i ca.Issuance) (ca.Certificate, bool, error) {
		lost = i.Certificate.Serial
		_, _, err := next.RecordIssuance(ctx, i)
		return ca.Certificate{}, false, errors.Join(err, errors.New("the answer was lost"))
	}
	request := csr(t, newKey(t))
	issued, err := w.Enroll(t.Context(), claim("shop/cart", "1"), request, "key")
	wantCode(t, "lost answer", err, api.CodeLedgerUnavailable)
	if issued != nil {
		t.Fatal("something was handed out")
	}
	f.record = nil
	// The agent repeats and gets it, although the token is used up; or an operator revokes it.
	issued, err = w.Enroll(t.Context(), claim("shop/cart", "1"), request, "key")
	must(t, err)
	if !issued.Replayed || issued.Certificate.Serial != lost {
		t.Errorf("repetition: serial %s, want %s", issued.Certificate.Serial, lost)
	}
	w.revokeSerial(lost)
	if _, revoked := w.publisher.Revoked(w.issuer.ID(), lost); !revoked {
		t.Error("it is not published as revoked")
	}
}

func TestInvariant16AOneTimeTokenEnrolsOnce(t *testing.T) {
	w := newWorld(t)
	w.put("shop/cart")
	var wg sync.WaitGroup
	errs := make(chan error, 100)
	for range 100 {
		request := csr(t, newKey(t))
		wg.Go(func() {
			_, err := w.Enroll(t.Context(), claim("shop/cart", "one"), request, "")
			errs <- err
		})
	}
	wg.Wait()
	won := 0
	for range 100 {
		if err := <-errs; err == nil {
			won++
		} else {
			wantCode(t, "loser", err, api.CodeTokenUsed)
		}
	}
	page, _, err := w.Certificates(t.Context(), admin, ca.CertificateQuery{Kind: ca.KindService})
	if won != 1 || len(page) != 1 || err != nil {
		t.Errorf("%d won, %d certificates recorded, %v; want 1 and 1", won, len(page), err)
	}
}

func TestInvariant17ReplayedExpiredAndFutureRekeysAreRefused(t *testing.T) {
	w := newWorld(t)
	a := w.enroll("shop/cart")
	w.advance(61 * time.Minute)
	r := w.rekeyRequest(a)
	_, err := w.Rekey(t.Context(), r, "")
	must(t, err)
	_, err = w.Rekey(t.Context(), r, "")
	wantCode(t, "the same nonce", err, api.CodeReplayed)

	for _, test := range []struct {
		signed time.Duration
		ok     bool
	}{{-5*time.Minute - time.Second, false}, {-5 * time.Minute, true}, {5 * time.Minute, true}, {5*time.Minute + time.Second, false}} {
		r := w.rekeyRequest(a)
		r.SignedAt = w.clock().Add(test.signed)
		w.sign(a, r)
		if _, err := w.Rekey(t.Context(), r, ""); test.ok {
			must(t, err)
		} else {
			wantCode(t, fmt.Sprintf("signed at %s", test.signed), err, api.CodeReplayed)
		}
	}
	// The nonce outlives the window in the ledger: purging cannot open it again.
	r = w.rekeyRequest(a)
	_, err = w.Rekey(t.Context(), r, "")
	must(t, err)
	w.advance(5 * time.Minute)
	must(t, w.Purge(t.Context()))
	_, err = w.Rekey(t.Context(), r, "")
	wantCode(t, "the same nonce at the window's end", err, api.CodeReplayed)

	w.advance(24 * time.Hour)
	_, err = w.Rekey(t.Context(), w.rekeyRequest(a), "")
	wantCode(t, "past the grace", err, api.CodeExpired)
}

func TestInvariant21WhenTheLedgerCannotBeWrittenNothingIsIssued(t *testing.T) {
	f := &faulty{}
	w := newWorld(t, withFaults(f))
	a := w.enroll("shop/cart")
	doors := w.doors(a)
	f.record = func(context.Context, ca.Ledger, ca.Issuance) (ca.Certificate, bool, error) {
		return ca.Certificate{}, false, errors.New("disk full")
	}
	for door, ask := range doors {
		issued, err := ask()
		wantCode(t, door, err, api.CodeLedgerUnavailable)
		if issued != nil {
			t.Errorf("%s: something was handed out", door)
		}
	}
	f.record = nil
	for door, ask := range doors {
		if _, err := ask(); err != nil {
			t.Errorf("%s after the fault: %v", door, err)
		}
	}
}

func (w *world) authorities(issuers ...*issuer.Issuer) ca.Authorities {
	return ca.Authorities{Issuers: issuers, Roots: []*x509.Certificate{w.root}, Profiles: profiles()}
}

// TestNoDuplicateSerialsWhileIssuerAndProfilesAreExchanged is Let's Encrypt's incident of 2023:
// what was signed before and after a deployment must not share serials, nor be a mix.
func TestNoDuplicateSerialsWhileIssuerAndProfilesAreExchanged(t *testing.T) {
	w := newWorld(t)
	w.put("shop/cart")
	other := w.newIssuer(0)
	long := w.authorities(other, w.issuer)
	long.Profiles[0].Lifetime = 2 * time.Hour
	short := w.authorities(w.issuer, other)
	var mu sync.Mutex
	seen := map[certs.Serial]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 15 {
				issued, err := w.Issue(t.Context(), admin, api.IssueRequest{Service: "shop/cart", CSR: csr(t, newKey(t))}, "")
				if err != nil {
					t.Error(err)
					return
				}
				c := issued.Certificate
				life, want := c.NotAfter.Sub(w.clock()), time.Hour
				if c.Issuer == other.ID() {
					want = 2 * time.Hour
				}
				chain := newAgent(t, nil, issued).chain
				if life != want || chain[0].CheckSignatureFrom(chain[1]) != nil || !bytes.Equal(chain[0].AuthorityKeyId, chain[1].SubjectKeyId) {
					t.Errorf("a mix: issuer %s, lifetime %s", c.Issuer, life)
				}
				mu.Lock()
				if seen[c.Serial] {
					t.Errorf("serial %s twice", c.Serial)
				}
				seen[c.Serial] = true
				mu.Unlock()
			}
		})
	}
	for range 3 {
		must(t, w.Exchange(t.Context(), long))
		must(t, w.Exchange(t.Context(), short))
	}
	wg.Wait()
	if len(seen) != 8*15 {
		t.Errorf("%d serials, want %d", len(seen), 8*15)
	}
}
