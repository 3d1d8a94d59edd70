package ca_test

import (
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/revocation"
)

const hold, release = certs.CertificateHold, certs.RemoveFromCRL

func (w *world) revoke(r api.RevokeRequest) ca.RevokeOutcome {
	w.t.Helper()
	outcome, _, err := w.Revoke(w.t.Context(), admin, r)
	must(w.t, err)
	return outcome
}

func (w *world) id(path string) certs.ID {
	w.t.Helper()
	id, err := w.td.ID(path)
	must(w.t, err)
	return id
}

// What is on hold is refused at each door, also within the grace after its expiry and for
// a repeated request, and serves again after its release.
func TestHeldCertificateIsRefusedUntilReleased(t *testing.T) {
	w := newWorld(t)
	a := w.enroll("shop/cart")
	peer, request := w.peer(a), csr(t, newKey(t))
	renewed, err := w.Renew(t.Context(), peer, request, "key")
	must(t, err)
	doors := map[string]func() error{
		"authenticate": func() error { _, err := w.Authenticate(t.Context(), a.chain); return err },
		"renew":        func() error { _, err := w.Renew(t.Context(), peer, csr(t, newKey(t)), ""); return err },
	}
	check := func(held bool, doors map[string]func() error) {
		t.Helper()
		for door, ask := range doors {
			if err := ask(); held {
				wantCode(t, door, err, api.CodeHeld)
			} else if err != nil {
				t.Errorf("%s after the release: %v", door, err)
			}
		}
		entry, refused := w.publisher.Revoked(w.issuer.ID(), a.serial())
		if refused != held || held && (entry.Kind != revocation.Held || entry.Reason != hold) {
			t.Errorf("published: %+v, %v", entry, refused)
		}
	}
	for range 2 {
		w.revoke(api.RevokeRequest{ID: w.id("shop/cart"), Reason: hold})
		check(true, doors)
		_, err = w.Renew(t.Context(), peer, request, "key")
		wantCode(t, "a repeated renewal", err, api.CodeHeld)
		outcome := w.revoke(api.RevokeRequest{Service: "shop/cart", Reason: release})
		if outcome.Total < 2 {
			t.Errorf("%d released", outcome.Total)
		}
		check(false, doors)
	}
	w.advance(61 * time.Minute)
	rekey := map[string]func() error{"rekey": func() error { _, err := w.Rekey(t.Context(), w.rekeyRequest(a), ""); return err }}
	w.revoke(api.RevokeRequest{Serial: a.serial(), Reason: hold})
	check(true, rekey)
	w.revoke(api.RevokeRequest{Serial: a.serial(), Reason: release})
	check(false, rekey)

	w.revoke(api.RevokeRequest{Serial: a.serial(), Reason: hold})
	w.revoke(api.RevokeRequest{Serial: a.serial(), Reason: certs.Superseded})
	for _, reason := range []certs.Reason{hold, release} {
		_, _, err := w.Revoke(t.Context(), admin, api.RevokeRequest{Serial: a.serial(), Reason: reason})
		wantCode(t, reason.String()+" of what is revoked", err, api.CodeConflict)
	}
	if _, refused := w.publisher.Revoked(w.issuer.ID(), renewed.Certificate.Serial); refused {
		t.Error("a sibling is refused")
	}
	for _, event := range []string{`"event":"held"`, `"event":"released"`, `"event":"hold"`, `"event":"release"`} {
		if !strings.Contains(w.log.String(), event) {
			t.Errorf("the log does not tell of %s", event)
		}
	}
}

// A cut-off catches what was issued before it, also what has expired within the grace,
// and spares what was renewed since; each door that it closes is tried.
func TestCutOff(t *testing.T) {
	w := newWorld(t)
	expired := w.enroll("shop/cart")
	w.advance(61 * time.Minute)
	old, other, person := w.enroll("shop/cart"), w.enroll("shop/pay"), w.operator("op")
	w.advance(time.Minute)
	cut := w.clock()
	w.advance(time.Second)
	fresh := w.enroll("shop/cart")

	all := api.RevokeRequest{AllServices: true, IssuedBefore: cut.Add(-time.Millisecond), Reason: certs.Superseded}
	rehearsal := all
	rehearsal.DryRun = true
	if outcome := w.revoke(rehearsal); outcome.Total != 3 {
		t.Errorf("the rehearsal hits %d, want 3", outcome.Total)
	}
	w.peer(old)
	if outcome := w.revoke(all); outcome.Total != 3 {
		t.Errorf("%d revoked, want 3", outcome.Total)
	}
	for _, a := range []agent{old, other} {
		_, err := w.Authenticate(t.Context(), a.chain)
		wantCode(t, "caught", err, api.CodeRevoked)
	}
	_, err := w.Rekey(t.Context(), w.rekeyRequest(expired), "")
	wantCode(t, "rekey within the grace", err, api.CodeRevoked)
	w.peer(fresh)
	w.peer(person) // operators are no services

	w.revoke(api.RevokeRequest{ID: w.id("handfast/operator/op"), IssuedBefore: cut, Reason: certs.Superseded})
	_, err = w.Authenticate(t.Context(), person.chain)
	wantCode(t, "the operator", err, api.CodeRevoked)
}

func TestSelectionsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	a := w.enroll("shop/cart")
	foreign, err := certs.ParseID("spiffe://other.example/shop/cart")
	must(t, err)
	ago := w.clock().Add(-time.Hour)
	for name, r := range map[string]api.RevokeRequest{
		"everything without a time":    {AllServices: true},
		"everything and a service":     {AllServices: true, Service: "shop/cart", IssuedBefore: ago},
		"a time for one":               {Serial: a.serial(), IssuedBefore: ago},
		"a time for one certificate":   {Certificate: a.issued.Chain[0], IssuedBefore: ago},
		"a time to come":               {Service: "shop/cart", IssuedBefore: w.clock().Add(time.Hour)},
		"another trust domain":         {ID: foreign},
		"the CA itself":                {ID: w.id("handfast/ca")},
		"a service and its own id":     {ID: w.id("shop/cart"), Service: "shop/cart"},
		"an operator of no valid name": {ID: w.id("handfast/operator/a/b")},
	} {
		_, _, err := w.Revoke(t.Context(), admin, r)
		wantCode(t, name, err, api.CodeBadRequest)
	}
	for name, r := range map[string]api.RevokeRequest{
		"everything":         {AllServices: true, IssuedBefore: ago, DryRun: true},
		"another's identity": {ID: w.id("shop/pay"), Reason: hold},
		"an operator":        {ID: w.id("handfast/operator/op")},
		"another's release":  {Service: "shop/pay", Reason: release},
	} {
		for _, actor := range []policy.Operator{bearer, reader, {}} {
			_, _, err := w.Revoke(t.Context(), actor, r)
			wantCode(t, name+" by "+string(actor.Role), err, api.CodeForbidden)
		}
	}
	_, _, err = w.Revoke(t.Context(), bearer, api.RevokeRequest{ID: w.id("shop/cart"), Reason: hold})
	must(t, err)
}

// The key of what was revoked for keyCompromise never gets a certificate again, at no door.
func TestCompromisedKeyIsRefusedAtEachDoor(t *testing.T) {
	w := newWorld(t)
	a, sound := w.enroll("shop/cart"), w.enroll("shop/cart")
	person := w.operator("op")
	w.revokeSerial(a.serial()) // for keyCompromise
	stolen := csr(t, a.key)
	peer, operator := w.peer(sound), w.peer(person)
	for door, ask := range map[string]func() error{
		"enroll": func() error { _, err := w.Enroll(t.Context(), claim("shop/cart", "1"), stolen, ""); return err },
		"renew":  func() error { _, err := w.Renew(t.Context(), peer, stolen, ""); return err },
		"issue": func() error {
			_, err := w.Issue(t.Context(), admin, api.IssueRequest{Service: "shop/cart", CSR: stolen}, "")
			return err
		},
		"rekey": func() error {
			r := w.rekeyRequest(sound)
			r.CSR = stolen
			w.sign(sound, r)
			_, err := w.Rekey(t.Context(), r, "")
			return err
		},
		"renew an operator": func() error { _, err := w.RenewOperator(t.Context(), operator, stolen, ""); return err },
		"add an operator": func() error {
			_, err := w.AddOperator(t.Context(), admin, api.OperatorRequest{Name: "new", Role: "reader", CSR: stolen})
			return err
		},
	} {
		err := ask()
		wantCode(t, door, err, api.CodeWeakKey)
		if err != nil && !strings.Contains(err.Error(), "keyCompromise") {
			t.Errorf("%s does not say why: %v", door, err)
		}
	}
	// The token of the refused enrolment is still good for another key.
	_, err := w.Enroll(t.Context(), claim("shop/cart", "1"), csr(t, newKey(t)), "")
	must(t, err)
}

// Once the root's CRL lists the issuing CA nothing that it signed opens a door, and Ready says so.
func TestWhatARevokedIssuingCASignedIsRefused(t *testing.T) {
	w := newWorld(t)
	a, expired := w.enroll("shop/cart"), w.enroll("shop/pay")
	peer := w.peer(a)
	rootCRL := func(number int64, revoked ...x509.RevocationListEntry) {
		t.Helper()
		der, err := issuer.SignRootCRL(w.root, w.rootKey, revoked, big.NewInt(number), w.clock(), w.clock().Add(24*time.Hour))
		must(t, err)
		must(t, w.publisher.AddStaticCRL(der))
	}
	rootCRL(1, x509.RevocationListEntry{SerialNumber: big.NewInt(99), RevocationTime: w.clock()})
	w.peer(a)
	if problems := w.Ready(t.Context()); len(problems) != 0 {
		t.Errorf("not ready: %v", problems)
	}
	rootCRL(2, x509.RevocationListEntry{SerialNumber: w.issuer.Certificate().SerialNumber, RevocationTime: w.clock(), ReasonCode: int(certs.CACompromise)})
	_, err := w.Authenticate(t.Context(), a.chain) // its signatures are remembered
	wantCode(t, "authenticate", err, api.CodeRevoked)
	_, err = w.Renew(t.Context(), peer, csr(t, newKey(t)), "")
	wantCode(t, "renew", err, api.CodeRevoked)
	w.advance(61 * time.Minute)
	_, err = w.Rekey(t.Context(), w.rekeyRequest(expired), "")
	wantCode(t, "rekey", err, api.CodeRevoked)
	if problems := strings.Join(w.Ready(t.Context()), "\n"); !strings.Contains(problems, "cACompromise") || !strings.Contains(problems, w.issuer.ID()) {
		t.Errorf("Ready does not name it: %s", problems)
	}

	// Another issuer's certificates are good.
	other := w.newIssuer(0)
	must(t, w.Exchange(t.Context(), w.authorities(other, w.issuer)))
	issued, err := w.Issue(t.Context(), admin, api.IssueRequest{Service: "shop/cart", CSR: csr(t, newKey(t))}, "")
	must(t, err)
	_, err = w.Authenticate(t.Context(), newAgent(t, nil, issued).chain)
	must(t, err)
}

// The issuing CA's key may have two certificates. What it signed is refused when either
// the one that the client sends is revoked, or the one that the CA is configured with.
func TestASecondCertificateOfARevokedIssuingCADoesNotHelp(t *testing.T) {
	for _, own := range []bool{true, false} {
		w := newWorld(t)
		a := w.enroll("shop/cart")
		second, err := issuer.NewIntermediate(w.root, w.rootKey, w.issuer.Certificate().PublicKey, issuer.IntermediateRequest{
			TrustDomain: w.td, NotBefore: epoch.Add(-time.Hour),
		})
		must(t, err)
		detour := []*x509.Certificate{a.chain[0], second}
		_, err = w.Authenticate(t.Context(), detour)
		must(t, err)
		revoked := second
		if own {
			revoked = w.issuer.Certificate()
		}
		der, err := issuer.SignRootCRL(w.root, w.rootKey, []x509.RevocationListEntry{{SerialNumber: revoked.SerialNumber, RevocationTime: w.clock()}}, big.NewInt(1), w.clock(), w.clock().Add(time.Hour))
		must(t, err)
		must(t, w.publisher.AddStaticCRL(der))
		_, err = w.Authenticate(t.Context(), detour)
		wantCode(t, "the second certificate", err, api.CodeRevoked)
	}
}
