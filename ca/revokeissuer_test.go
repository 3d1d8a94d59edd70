package ca_test

import (
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
)

// The revocation of the issuing CA itself: durable in the one log, at once at every door, and
// final. What carries the word of it is still made.
func TestRevokingTheIssuingCA(t *testing.T) {
	w, spy := newFollowed(t)
	a := w.enroll("shop/cart")
	b := w.enroll("shop/pay")
	w.revoked(api.RevokeRequest{Serial: b.serial()})
	peer := w.peer(a)
	request := api.RevokeRequest{Issuer: w.issuer.ID(), Reason: certs.CACompromise}

	rehearsal := request
	rehearsal.DryRun = true
	would, _, err := w.Revoke(t.Context(), admin, rehearsal)
	must(t, err)
	if would.Total != 1 || would.Revoked[0].Kind != ca.KindIssuer || would.Affected < 3 { // the agent's, the responder's, the feed's
		t.Errorf("dry run: %+v", would)
	}
	must(t, w.Remains(w.peer(a)))

	outcome, sequence, err := w.Revoke(t.Context(), admin, request)
	must(t, err)
	wantCode(t, "remains", w.Remains(peer), api.CodeRevoked)
	if outcome.Total != 1 || outcome.Affected != would.Affected || sequence == 0 {
		t.Errorf("outcome %+v, sequence %d", outcome, sequence)
	}
	serial := must2(certs.SerialFromInt(w.issuer.Certificate().SerialNumber))
	if entry, revoked := w.publisher.Revoked(issuer.KeyID(w.root), serial); !revoked || entry.Sequence != sequence {
		t.Errorf("the publisher knows %+v, %v", entry, revoked)
	}
	_, err = w.Authenticate(t.Context(), a.chain)
	wantCode(t, "authenticate", err, api.CodeRevoked)
	_, err = w.Renew(t.Context(), peer, csr(t, newKey(t)), "")
	wantCode(t, "renew", err, api.CodeRevoked)
	_, err = w.Enroll(t.Context(), claim("shop/cart", "2"), csr(t, newKey(t)), "")
	wantCode(t, "enrol", err, api.CodeUnavailable)
	_, err = w.Issue(t.Context(), admin, api.IssueRequest{Service: "shop/cart", CSR: csr(t, newKey(t))}, "")
	wantCode(t, "issue", err, api.CodeUnavailable)
	if problems := strings.Join(w.Ready(t.Context()), "\n"); !strings.Contains(problems, "cACompromise") || !strings.Contains(problems, w.issuer.ID()) {
		t.Errorf("Ready does not name it: %s", problems)
	}
	w.advance(4 * 24 * time.Hour)
	must(t, w.RotateResponders(t.Context()))
	must(t, w.RotateFeedSigner(t.Context()))
	if len(spy.signings) != 2 {
		t.Errorf("%d signers: nobody tells the others any more", len(spy.signings))
	}

	again, _, err := w.Revoke(t.Context(), admin, request)
	if err != nil || again.Total != 0 || len(again.Already) != 1 {
		t.Errorf("again: %+v, %v", again, err)
	}

	// Another issuer takes over.
	other := w.newIssuer(0)
	must(t, w.Exchange(t.Context(), w.authorities(other, w.issuer)))
	issued, err := w.Issue(t.Context(), admin, api.IssueRequest{Service: "shop/cart", CSR: csr(t, newKey(t))}, "")
	must(t, err)
	_, err = w.Authenticate(t.Context(), newAgent(t, nil, issued).chain)
	must(t, err)
}

// Until the root's CRL lists it Ready says so: openssl and other clients know CRLs only.
func TestReadyMissesTheRootsCRL(t *testing.T) {
	w := newWorld(t)
	der, err := issuer.SignRootCRL(w.root, w.rootKey, nil, big.NewInt(1), w.clock(), w.clock().Add(24*time.Hour))
	must(t, err)
	must(t, w.publisher.AddStaticCRL(der))
	w.revoked(api.RevokeRequest{Issuer: w.issuer.ID()})
	if problems := strings.Join(w.Ready(t.Context()), "\n"); !strings.Contains(problems, "handfast-ca root-crl") {
		t.Errorf("Ready says %s", problems)
	}
}

func TestWhoMayRevokeWhichIssuer(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		change func(*api.RevokeRequest)
		code   api.Code
	}{
		"unknown":    {func(r *api.RevokeRequest) { r.Issuer = strings.Repeat("ab", 20) }, api.CodeNotFound},
		"the root":   {func(r *api.RevokeRequest) { r.Issuer = issuer.KeyID(w.root) }, api.CodeNotFound},
		"hold":       {func(r *api.RevokeRequest) { r.Reason = certs.CertificateHold }, api.CodeBadRequest},
		"release":    {func(r *api.RevokeRequest) { r.Reason = certs.RemoveFromCRL }, api.CodeBadRequest},
		"a cut-off":  {func(r *api.RevokeRequest) { r.IssuedBefore = epoch }, api.CodeBadRequest},
		"and others": {func(r *api.RevokeRequest) { r.Service = "shop/cart" }, api.CodeBadRequest},
	} {
		r := api.RevokeRequest{Issuer: w.issuer.ID()}
		c.change(&r)
		_, _, err := w.Revoke(t.Context(), admin, r)
		wantCode(t, name, err, c.code)
	}
	_, _, err := w.Revoke(t.Context(), bearer, api.RevokeRequest{Issuer: w.issuer.ID()})
	wantCode(t, "an issuer's right", err, api.CodeForbidden)
	_, _, err = w.Revoke(t.Context(), admin, api.RevokeRequest{Serial: w.enroll("shop/cart").serial(), Reason: certs.CACompromise})
	wantCode(t, "cACompromise of a leaf", err, api.CodeBadRequest)
	if problems := w.Ready(t.Context()); len(problems) > 0 {
		t.Errorf("something was revoked: %v", problems)
	}
}

// The full check behind a doubtful hit in the feed's set knows the CA's own certificate too.
func TestTheStateOfTheIssuingCA(t *testing.T) {
	w := newWorld(t)
	serial, parent := must2(certs.SerialFromInt(w.issuer.Certificate().SerialNumber)), issuer.KeyID(w.root)
	if state, err := w.RevocationOf(t.Context(), parent, serial); err != nil || state.Revoked {
		t.Errorf("%+v, %v", state, err)
	}
	w.revoked(api.RevokeRequest{Issuer: w.issuer.ID(), Reason: certs.Superseded})
	if state, err := w.RevocationOf(t.Context(), parent, serial); err != nil || !state.Revoked || state.Reason != certs.Superseded {
		t.Errorf("%+v, %v", state, err)
	}
}
