package ca_test

import (
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
)

func TestInvariant15ARevokedIdentityCannotRenewOrEnrolAgain(t *testing.T) {
	revocations := map[string]func(*world, agent) error{
		"serial": func(w *world, a agent) error {
			_, _, err := w.Revoke(t.Context(), admin, api.RevokeRequest{Serial: a.serial()})
			return err
		},
		"certificate": func(w *world, a agent) error {
			_, _, err := w.Revoke(t.Context(), admin, api.RevokeRequest{Certificate: a.issued.Chain[0]})
			return err
		},
		"service": func(w *world, a agent) error {
			_, _, err := w.Revoke(t.Context(), admin, api.RevokeRequest{Service: "shop/cart"})
			return err
		},
	}
	for name, revoke := range revocations {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.enroll("shop/cart")
			peer := w.peer(a)
			must(t, revoke(w, a))
			w.wantRevoked(t, a, peer)
			// And it stays so past the expiry, where only rekeying is left.
			w.advance(2 * time.Hour)
			_, err := w.Rekey(t.Context(), w.rekeyRequest(a), "")
			wantCode(t, "rekey after expiry", err, api.CodeRevoked)
		})
	}
	t.Run("service, expired within the grace", func(t *testing.T) {
		w := newWorld(t)
		a := w.enroll("shop/cart")
		w.advance(2 * time.Hour)
		must(t, revocations["service"](w, a))
		_, err := w.Rekey(t.Context(), w.rekeyRequest(a), "")
		wantCode(t, "rekey", err, api.CodeRevoked)
	})
}

func (w *world) wantRevoked(t *testing.T, a agent, peer ca.Peer) {
	t.Helper()
	_, err := w.Authenticate(t.Context(), a.chain)
	wantCode(t, "authenticate", err, api.CodeRevoked)
	_, err = w.Renew(t.Context(), peer, csr(t, newKey(t)), "")
	wantCode(t, "renew on a connection from before", err, api.CodeRevoked)
	_, err = w.Rekey(t.Context(), w.rekeyRequest(a), "")
	wantCode(t, "rekey", err, api.CodeRevoked)
	_, err = w.Enroll(t.Context(), claim("shop/cart", a.issued.Certificate.By), csr(t, newKey(t)), "")
	wantCode(t, "enrol with the token from before", err, api.CodeTokenUsed)
	if _, revoked := w.publisher.Revoked(w.issuer.ID(), a.serial()); !revoked {
		t.Error("the publisher does not know")
	}
}

func TestInvariant23UnknownPolicyDenies(t *testing.T) {
	w := newWorld(t)
	a := w.enroll("shop/cart")
	w.enroll("shop/web")
	w.put("shop/cart", "shop/web", "not/yet")
	peer := w.peer(a)
	state, err := w.AgentState(t.Context(), peer)
	must(t, err)
	if len(state.Callers) != 1 || state.Callers[0] != "spiffe://test.example/shop/web" {
		t.Errorf("callers = %v, want the registered one only", state.Callers)
	}
	must(t, w.DeleteService(t.Context(), admin, "shop/web", ca.AnyVersion))
	after, err := w.AgentState(t.Context(), peer)
	must(t, err)
	if len(after.Callers) != 0 || after.PolicyEpoch <= state.PolicyEpoch {
		t.Errorf("callers = %v at epoch %d; a removed service must not call", after.Callers, after.PolicyEpoch)
	}
	must(t, w.DeleteService(t.Context(), admin, "shop/cart", ca.AnyVersion))
	_, err = w.AgentState(t.Context(), peer)
	wantCode(t, "state of a removed service", err, api.CodeServiceUnknown)
	_, err = w.Authenticate(t.Context(), a.chain)
	wantCode(t, "authenticate as a removed service", err, api.CodeServiceUnknown)
	_, err = w.Renew(t.Context(), peer, csr(t, newKey(t)), "")
	wantCode(t, "renew of a removed service", err, api.CodeServiceUnknown)
	_, err = w.Rekey(t.Context(), w.rekeyRequest(a), "")
	wantCode(t, "rekey of a removed service", err, api.CodeServiceUnknown)
	must(t, w.ledgerFaultDenies(t))
}

// ledgerFaultDenies closes the ledger under the CA.
func (w *world) ledgerFaultDenies(t *testing.T) error {
	t.Helper()
	a := w.enroll("shop/cart")
	peer := w.peer(a)
	if err := w.store.Close(); err != nil {
		return err
	}
	_, err := w.AgentState(t.Context(), peer)
	wantCode(t, "state without a ledger", err, api.CodeLedgerUnavailable)
	_, err = w.Authenticate(t.Context(), a.chain)
	wantCode(t, "authenticate without a ledger", err, api.CodeLedgerUnavailable)
	return nil
}

func TestInvariant28TheIdentityOfARenewalIsThePeersOwn(t *testing.T) {
	w := newWorld(t)
	a, b := w.enroll("a"), w.enroll("b")
	issued, err := w.Renew(t.Context(), w.peer(a), csr(t, newKey(t)), "")
	must(t, err)
	if id := issued.Certificate.ID.Path(); id != "a" {
		t.Errorf("a renewed as %s", id)
	}
	// A peer whose parts do not belong together is nobody, whichever part lies.
	pa, pb := w.peer(a), w.peer(b)
	mixed := pa
	mixed.Certificate = pb.Certificate
	_, err = w.Renew(t.Context(), mixed, csr(t, newKey(t)), "")
	wantCode(t, "a with b's certificate", err, api.CodeForbidden)
	mixed = pa
	mixed.Name, mixed.Serial = pb.Name, pb.Serial
	issued, err = w.Renew(t.Context(), mixed, csr(t, newKey(t)), "")
	must(t, err)
	if issued.Certificate.Name != "a" {
		t.Errorf("the certificate is a's, and %s was renewed", issued.Certificate.Name)
	}
	_, err = w.Renew(t.Context(), ca.Peer{ID: pa.ID, Kind: ca.KindService, Name: "a"}, csr(t, newKey(t)), "")
	wantCode(t, "nobody's certificate", err, api.CodeUnauthenticated)

	// An operator does not renew as a service, nor a service as an operator.
	op := w.peer(w.operator("op"))
	_, err = w.Renew(t.Context(), op, csr(t, newKey(t)), "")
	wantCode(t, "operator at the services' door", err, api.CodeForbidden)
	_, err = w.RenewOperator(t.Context(), pa, csr(t, newKey(t)), "")
	wantCode(t, "service at the operators' door", err, api.CodeForbidden)
	_, err = w.Operator(t.Context(), pa)
	wantCode(t, "service as operator", err, api.CodeForbidden)

	// b signs with its own key for a's certificate.
	w.advance(61 * time.Minute)
	r := w.rekeyRequest(a)
	w.sign(b, r)
	_, err = w.Rekey(t.Context(), r, "")
	wantCode(t, "rekey with a sibling's key", err, api.CodeUnauthenticated)
	r = w.rekeyRequest(a)
	r.Chain = b.issued.Chain
	_, err = w.Rekey(t.Context(), r, "")
	wantCode(t, "rekey with a sibling's chain", err, api.CodeUnauthenticated)
	r = w.rekeyRequest(a)
	r.CSR = csr(t, newKey(t))
	_, err = w.Rekey(t.Context(), r, "")
	wantCode(t, "rekey with an exchanged CSR", err, api.CodeUnauthenticated)
}
