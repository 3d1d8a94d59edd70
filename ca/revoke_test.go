package ca_test

import (
	"context"
	"errors"
	"testing"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
)

// TestRevokeAcrossIdentitiesIsRefused tries each selector with each role that lacks the right.
func TestRevokeAcrossIdentitiesIsRefused(t *testing.T) {
	w := newWorld(t)
	own, foreign := w.enroll("shop/cart"), w.enroll("shop/pay")
	person := w.operator("op")
	server, err := w.ServerCertificate(t.Context(), []string{"ca"}, nil)
	must(t, err)
	serverSerial, err := certs.SerialFromInt(server.Leaf.SerialNumber)
	must(t, err)
	for name, r := range map[string]api.RevokeRequest{
		"serial":               {Serial: foreign.serial()},
		"certificate":          {Certificate: foreign.issued.Chain[0]},
		"service":              {Service: "shop/pay"},
		"operator serial":      {Serial: person.serial()},
		"operator certificate": {Certificate: person.issued.Chain[0]},
		"server serial":        {Serial: serverSerial},
		"server certificate":   {Certificate: server.Certificate[0]},
		"unknown serial":       {Serial: mustSerial(t, "0102")},
		"dry run":              {Service: "shop/pay", DryRun: true},
	} {
		for _, actor := range []policy.Operator{bearer, reader, {}, {Name: "x", Role: "root"}, {Role: policy.RoleAdmin}} {
			outcome, sequence, err := w.Revoke(t.Context(), actor, r)
			wantCode(t, name+" by "+string(actor.Role), err, api.CodeForbidden)
			if len(outcome.Revoked) != 0 || sequence != 0 {
				t.Errorf("%s: a refusal tells of %v", name, outcome)
			}
		}
	}
	for _, a := range []agent{own, foreign, person} {
		w.peer(a) // still alive
	}
	_, _, err = w.Revoke(t.Context(), bearer, api.RevokeRequest{Serial: own.serial()})
	must(t, err)
}

func mustSerial(t testing.TB, text string) certs.Serial {
	t.Helper()
	serial, err := certs.ParseSerial(text)
	must(t, err)
	return serial
}

func TestRevokeSaysWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	a := w.enroll("shop/cart")
	stranger := newWorld(t).enroll("shop/cart")
	for name, test := range map[string]struct {
		r    api.RevokeRequest
		code api.Code
	}{
		"nothing":              {api.RevokeRequest{}, api.CodeBadRequest},
		"two":                  {api.RevokeRequest{Serial: a.serial(), Service: "shop/cart"}, api.CodeBadRequest},
		"unknown serial":       {api.RevokeRequest{Serial: mustSerial(t, "0102")}, api.CodeNotFound},
		"bad name":             {api.RevokeRequest{Service: "../etc"}, api.CodeBadRequest},
		"no certificate":       {api.RevokeRequest{Certificate: []byte("x")}, api.CodeBadRequest},
		"huge certificate":     {api.RevokeRequest{Certificate: make([]byte, 9<<10)}, api.CodeTooLarge},
		"another CA's":         {api.RevokeRequest{Certificate: stranger.issued.Chain[0]}, api.CodeBadRequest},
		"the issuer":           {api.RevokeRequest{Certificate: a.issued.Chain[1]}, api.CodeBadRequest},
		"the root":             {api.RevokeRequest{Certificate: w.root.Raw}, api.CodeBadRequest},
		"released, never held": {api.RevokeRequest{Serial: a.serial(), Reason: certs.RemoveFromCRL}, api.CodeConflict},
		"a CA's reason":        {api.RevokeRequest{Serial: a.serial(), Reason: certs.CACompromise}, api.CodeBadRequest},
		"unused reason":        {api.RevokeRequest{Serial: a.serial(), Reason: 7}, api.CodeBadRequest},
	} {
		_, _, err := w.Revoke(t.Context(), admin, test.r)
		wantCode(t, name, err, test.code)
	}
	w.peer(a)
}

func TestRevokeIsPublishedWhenItReturnsAndRepeats(t *testing.T) {
	w := newWorld(t)
	a, b := w.enroll("shop/cart"), w.enroll("shop/cart")
	dry, sequence, err := w.Revoke(t.Context(), admin, api.RevokeRequest{Service: "shop/cart", DryRun: true})
	must(t, err)
	if dry.Total != 2 || sequence != 0 {
		t.Errorf("dry run: %d, sequence %d", dry.Total, sequence)
	}
	w.peer(a)
	outcome, first, err := w.Revoke(t.Context(), admin, api.RevokeRequest{Service: "shop/cart", Reason: certs.KeyCompromise})
	must(t, err)
	if outcome.Total != 2 || first == 0 {
		t.Errorf("outcome %d, sequence %d", outcome.Total, first)
	}
	for _, x := range []agent{a, b} {
		entry, revoked := w.publisher.Revoked(w.issuer.ID(), x.serial())
		if !revoked || entry.Reason != certs.KeyCompromise {
			t.Errorf("published: %v, %v", entry, revoked)
		}
	}
	again, second, err := w.Revoke(t.Context(), admin, api.RevokeRequest{Serial: a.serial()})
	must(t, err)
	if len(again.Already) != 1 || again.Total != 0 || second == 0 || second > first {
		t.Errorf("again: %+v, sequence %d after %d", again, second, first)
	}
}

// TestRevokeAfterARestore knows the certificate from nowhere but the certificate.
func TestRevokeAfterARestore(t *testing.T) {
	w := newWorld(t)
	a := w.enroll("shop/cart")
	restored := newWorld(t, func(cfg *ca.Config) { *cfg = w.config(func(c *ca.Config) { c.Ledger = cfg.Ledger }) })
	restored.issuer, restored.root = w.issuer, w.root
	restored.put("shop/cart")
	_, err := restored.Authenticate(t.Context(), a.chain)
	wantCode(t, "authenticate what the ledger lost", err, api.CodeUnauthenticated)
	dry, _, err := restored.Revoke(t.Context(), bearer, api.RevokeRequest{Certificate: a.issued.Chain[0], DryRun: true})
	must(t, err)
	if dry.Total != 1 {
		t.Errorf("dry run: %d, want 1", dry.Total)
	}
	outcome, _, err := restored.Revoke(t.Context(), bearer, api.RevokeRequest{Certificate: a.issued.Chain[0]})
	must(t, err)
	if outcome.Total != 1 || outcome.Revoked[0].Name != "shop/cart" {
		t.Errorf("outcome = %+v", outcome)
	}
	row, err := restored.Certificate(t.Context(), admin, a.serial())
	must(t, err)
	if row.Revocation == nil || row.ID.Path() != "shop/cart" || row.Issuer != w.issuer.ID() {
		t.Errorf("row = %+v", row)
	}
	_, err = restored.Authenticate(t.Context(), a.chain)
	wantCode(t, "authenticate", err, api.CodeRevoked)
}

// silent is a publisher that fails.
type silent struct{ ca.Publisher }

func (silent) Sync(context.Context) error { return errors.New("no") }

func TestRevokeThatIsNotPublishedIsAnErrorAndDurable(t *testing.T) {
	w := newWorld(t, func(cfg *ca.Config) { cfg.Publisher = silent{cfg.Publisher} })
	a := w.enroll("shop/cart")
	_, _, err := w.Revoke(t.Context(), admin, api.RevokeRequest{Serial: a.serial()})
	wantCode(t, "revoke", err, api.CodeUnavailable)
	_, err = w.Authenticate(t.Context(), a.chain)
	wantCode(t, "authenticate", err, api.CodeRevoked)
}
