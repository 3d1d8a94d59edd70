package server_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/certs/feed"
)

func TestLifeOfACertificate(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	agent, id := w.enrol(w.register("shop/web", "shop/front"))
	if got, err := certs.IDFromCertificate(id.certificate.Leaf); err != nil || got.String() != "spiffe://test.example/shop/web" {
		t.Fatalf("enrolled as %s, %v", got, err)
	}

	// The state names the caller as soon as it is registered.
	state, etag, err := agent.AgentState(ctx, "")
	must(t, err)
	if len(state.Callers) != 0 || len(state.Roots) != 1 || len(state.CRLs) != 0 || state.ServerTime.IsZero() {
		t.Errorf("state: %+v", state)
	}
	follower := w.follow(agent, 0)
	for _, v := range state.Versions {
		if told := follower.view.Version(v.Name); told != v.Value {
			t.Errorf("the feed says %s %q, the state %q", v.Name, told, v.Value)
		}
	}
	w.register("shop/front")
	follower.until(func(v *feed.View) bool { return v.Version("policy") != state.Versions[0].Value })
	changed, _, err := agent.AgentState(ctx, etag)
	must(t, err)
	if changed == nil || len(changed.Callers) != 1 || changed.Callers[0] != "spiffe://test.example/shop/front" {
		t.Errorf("after the feed had told of a change: %+v", changed)
	}

	// Renewal rides on the same connection.
	key := newKey(t)
	renewed, err := agent.Renew(ctx, &api.RenewRequest{CSR: newCSR(t, key)}, "renewal-1")
	must(t, err)
	old := id.serial(t)
	id.set(key, renewed.Chain)
	agent.Reconnect()
	if id.serial(t) == old || time.Duration(renewed.Grace) <= 0 || !renewed.RenewAfter.After(w.clock()) {
		t.Errorf("renewed: %+v", renewed)
	}

	// The operator sees both.
	list, err := w.admin.Certificates(ctx, api.CertificateQuery{Service: "shop/web", Status: "valid"})
	must(t, err)
	if len(list.Certificates) != 2 || list.Certificates[0].Serial != id.serial(t) || list.Certificates[1].Method != string(ca.MethodToken) {
		t.Errorf("listing: %+v", list)
	}
	one, err := w.admin.Certificate(ctx, old)
	must(t, err)
	if one.Status != "valid" || one.Service != "shop/web" || len(one.DER) == 0 {
		t.Errorf("certificate: %+v", one)
	}
	status, err := w.admin.Status(ctx)
	must(t, err)
	if !status.Ready || status.Services != 2 || status.You != "spiffe://test.example/handfast/operator/adam" || status.Name != "test CA" || status.Fingerprint != certs.Fingerprint(w.root) {
		t.Errorf("status: %+v", status)
	}
	must(t, w.admin.Ready(ctx))

	// Revocation: durable, in the CRL within a second, and at this very connection.
	result, err := w.admin.Revoke(ctx, &api.RevokeRequest{Service: "shop/web", Reason: certs.KeyCompromise})
	must(t, err)
	if len(result.Revoked) != 2 || result.Total != 2 || result.Sequence == 0 {
		t.Errorf("revoked: %+v", result)
	}
	_, err = agent.Renew(ctx, &api.RenewRequest{CSR: newCSR(t, newKey(t))}, "")
	is(t, err, api.CodeRevoked)
	w.awaitCRL(id.serial(t))
}

// awaitCRL waits until the public full CRL lists serial.
func (w *world) awaitCRL(serial certs.Serial) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		response, err := http.Get(w.public + "/crl/" + w.issuer.ID() + ".crl")
		must(w.t, err)
		der, err := io.ReadAll(response.Body)
		response.Body.Close()
		must(w.t, err)
		crl, err := x509.ParseRevocationList(der)
		must(w.t, err)
		must(w.t, crl.CheckSignatureFrom(w.issuer.Certificate()))
		for _, entry := range crl.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(serial.Int()) == 0 {
				return
			}
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the CRL does not list %s", serial)
		}
	}
}

func TestRekeyAfterExpiryWithinTheGrace(t *testing.T) {
	w := newWorld(t)
	agent, id := w.enrol(w.register("web"))
	w.advance(time.Hour + time.Minute)
	_, err := agent.Renew(t.Context(), &api.RenewRequest{CSR: newCSR(t, newKey(t))}, "")
	is(t, err, api.CodeExpired)

	request := &api.RekeyRequest{Chain: id.certificate.Certificate, CSR: newCSR(t, newKey(t)), Nonce: make([]byte, 16), SignedAt: w.clock()}
	rand.Read(request.Nonce)
	message, err := api.RekeyMessage("test.example", request)
	must(t, err)
	request.Signature, err = crypto.SignMessage(id.key, rand.Reader, message, crypto.SHA256)
	must(t, err)
	anonymous := w.client(nil)
	rekeyed, err := anonymous.Rekey(t.Context(), request, "")
	must(t, err)
	leaf, err := x509.ParseCertificate(rekeyed.Chain[0])
	must(t, err)
	if got, err := certs.IDFromCertificate(leaf); err != nil || got.Path() != "web" {
		t.Errorf("rekeyed as %s, %v", got, err)
	}
	_, err = anonymous.Rekey(t.Context(), request, "")
	is(t, err, api.CodeReplayed)
	request.CSR = newCSR(t, newKey(t)) // signed for another key
	_, err = anonymous.Rekey(t.Context(), request, "")
	is(t, err, api.CodeUnauthenticated)
}

// Invariant 16, through the door: many racers, one certificate.
func TestConcurrentEnrolmentsWithOneTokenYieldOneCertificate(t *testing.T) {
	w := newWorld(t)
	token := w.register("web")
	var wins, losses atomic.Int64
	var group sync.WaitGroup
	for range 100 {
		csr := newCSR(t, newKey(t))
		c := w.client(nil)
		group.Go(func() {
			_, err := c.Enroll(context.Background(), &api.EnrollRequest{Token: token, CSR: csr}, rand.Text())
			if err == nil {
				wins.Add(1)
				return
			}
			losses.Add(1)
			is(t, err, api.CodeTokenUsed)
		})
	}
	group.Wait()
	list, err := w.admin.Certificates(t.Context(), api.CertificateQuery{Service: "web"})
	must(t, err)
	if wins.Load() != 1 || losses.Load() != 99 || len(list.Certificates) != 1 {
		t.Errorf("%d enrolled, %d were refused, the ledger holds %d", wins.Load(), losses.Load(), len(list.Certificates))
	}
}

func TestRepeatedRequestsLeadToOneCertificate(t *testing.T) {
	w := newWorld(t)
	token := w.register("web")
	c := w.client(nil)
	request := &api.EnrollRequest{Token: token, CSR: newCSR(t, newKey(t))}
	first, err := c.Enroll(t.Context(), request, "key")
	must(t, err)
	again, err := c.Enroll(t.Context(), request, "key")
	must(t, err)
	if !bytes.Equal(first.Chain[0], again.Chain[0]) {
		t.Error("the repetition led to another certificate")
	}
	_, err = c.Enroll(t.Context(), &api.EnrollRequest{Token: token, CSR: newCSR(t, newKey(t))}, "key")
	is(t, err, api.CodeKeyReused)
	_, err = c.Enroll(t.Context(), request, "another-key")
	is(t, err, api.CodeTokenUsed)
	_, err = c.Enroll(t.Context(), request, "")
	is(t, err, api.CodeTokenUsed)

	// A key is the caller's own: another one's renewal with it is a renewal of its own.
	web, _ := w.enrol(w.register("web"))
	db, _ := w.enrol(w.register("db"))
	csr := newCSR(t, newKey(t))
	one, err := web.Renew(t.Context(), &api.RenewRequest{CSR: csr}, "shared")
	must(t, err)
	two, err := web.Renew(t.Context(), &api.RenewRequest{CSR: csr}, "shared")
	must(t, err)
	other, err := db.Renew(t.Context(), &api.RenewRequest{CSR: csr}, "shared")
	must(t, err)
	if !bytes.Equal(one.Chain[0], two.Chain[0]) || bytes.Equal(one.Chain[0], other.Chain[0]) {
		t.Error("idempotency keys are not scoped by the caller")
	}
	leaf, err := x509.ParseCertificate(other.Chain[0])
	must(t, err)
	if id, err := certs.IDFromCertificate(leaf); err != nil || id.Path() != "db" {
		t.Errorf("db's renewal is %s, %v", id, err)
	}
}

func TestServicesChangeOnlyFromTheVersionSeen(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	stored, err := w.admin.PutService(ctx, &api.Service{Name: "a/b/c", DNSNames: []string{"C.Example"}, IPs: []string{"10.0.0.1"}, TTL: api.Duration(10 * time.Minute)}, 0)
	must(t, err)
	if stored.Version == 0 || stored.ID.String() != "spiffe://test.example/a/b/c" || stored.DNSNames[0] != "c.example" {
		t.Errorf("stored: %+v", stored)
	}
	_, err = w.admin.PutService(ctx, &api.Service{Name: "a/b/c"}, 0)
	is(t, err, api.CodeConflict)
	stored.Callers = []string{"*"}
	again, err := w.admin.PutService(ctx, stored, stored.Version) // what was read can be sent back
	must(t, err)
	_, err = w.admin.PutService(ctx, stored, stored.Version)
	is(t, err, api.CodeConflict)
	is(t, w.admin.DeleteService(ctx, "a/b/c", stored.Version), api.CodeConflict)
	read, err := w.admin.Service(ctx, "a/b/c")
	must(t, err)
	if read.Version != again.Version || len(read.Callers) != 1 || read.Callers[0] != "*" || read.IPs[0] != "10.0.0.1" || read.TTL != stored.TTL {
		t.Errorf("read: %+v", read)
	}
	applied, err := w.admin.Apply(ctx, &api.ApplyRequest{Services: []api.Service{{Name: "x"}, {Name: "y"}}, Prune: true, DryRun: true})
	must(t, err)
	if len(applied.Created) != 2 || len(applied.Removed) != 1 || !applied.DryRun {
		t.Errorf("dry run: %+v", applied)
	}
	_, err = w.admin.Apply(ctx, &api.ApplyRequest{Services: []api.Service{{Name: "x"}, {Name: "y"}}, Prune: true})
	must(t, err)
	page, err := w.admin.Services(ctx, api.ServiceQuery{Limit: 1})
	must(t, err)
	next, err := w.admin.Services(ctx, api.ServiceQuery{Limit: 1, Cursor: page.Next})
	must(t, err)
	if page.Services[0].Name != "x" || next.Services[0].Name != "y" || next.Next != "" {
		t.Errorf("pages: %+v, %+v", page, next)
	}
	_, err = w.admin.Certificates(ctx, api.CertificateQuery{Cursor: "never given"})
	is(t, err, api.CodeBadRequest)
	is(t, w.admin.DeleteService(ctx, "a/b/c", api.AnyVersion), api.CodeNotFound)
	_, err = w.admin.CreateToken(ctx, &api.TokenRequest{Service: "a/b/c"})
	is(t, err, api.CodeServiceUnknown)
}
