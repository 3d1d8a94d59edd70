package server_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
)

// Invariants 15 and 28, and the peers' doors whose authorization let one act for another.
func TestNobodyActsForAnother(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	web, webID := w.enrol(w.register("web"))
	_, dbID := w.enrol(w.register("db", "web"))
	key := newKey(t)
	issued, err := w.admin.AddOperator(ctx, &api.OperatorRequest{Name: "iris", Role: "issuer", Services: []string{"web"}, CSR: newCSR(t, key)})
	must(t, err)
	irisID := &identity{}
	irisID.set(key, issued.Chain)
	iris := w.client(irisID)

	state, _, err := web.AgentState(ctx, "")
	must(t, err)
	if state.ID.Path() != "web" || len(state.Callers) != 0 {
		t.Errorf("web sees the state of %s", state.ID)
	}
	csr := newCSR(t, newKey(t))
	serial := dbID.serial(t)
	for name, call := range map[string]func() error{
		"service mints a token":            func() error { _, err := web.CreateToken(ctx, &api.TokenRequest{Service: "web"}); return err },
		"service issues":                   func() error { _, err := web.Issue(ctx, &api.IssueRequest{Service: "db", CSR: csr}, ""); return err },
		"service revokes another":          func() error { _, err := web.Revoke(ctx, &api.RevokeRequest{Serial: serial}); return err },
		"service revokes itself":           func() error { _, err := web.Revoke(ctx, &api.RevokeRequest{Serial: webID.serial(t)}); return err },
		"service lists":                    func() error { _, err := web.Certificates(ctx, api.CertificateQuery{}); return err },
		"service registers":                func() error { _, err := web.PutService(ctx, &api.Service{Name: "x"}, 0); return err },
		"service renews as an operator":    func() error { _, err := web.RenewOperator(ctx, &api.RenewRequest{CSR: csr}, ""); return err },
		"service reads metrics":            func() error { _, err := web.Metrics(ctx); return err },
		"operator renews as a service":     func() error { _, err := iris.Renew(ctx, &api.RenewRequest{CSR: csr}, ""); return err },
		"operator reads an agent's state":  func() error { _, _, err := iris.AgentState(ctx, ""); return err },
		"issuer mints for another service": func() error { _, err := iris.CreateToken(ctx, &api.TokenRequest{Service: "db"}); return err },
		"issuer issues for another":        func() error { _, err := iris.Issue(ctx, &api.IssueRequest{Service: "db", CSR: csr}, ""); return err },
		"issuer revokes another's serial":  func() error { _, err := iris.Revoke(ctx, &api.RevokeRequest{Serial: serial}); return err },
		"issuer revokes another's service": func() error { _, err := iris.Revoke(ctx, &api.RevokeRequest{Service: "db"}); return err },
		"issuer revokes by certificate": func() error {
			_, err := iris.Revoke(ctx, &api.RevokeRequest{Certificate: dbID.certificate.Certificate[0]})
			return err
		},
		"issuer revokes an operator": func() error { _, err := iris.Revoke(ctx, &api.RevokeRequest{Serial: w.adminID.serial(t)}); return err },
		"issuer changes services":    func() error { _, err := iris.PutService(ctx, &api.Service{Name: "web"}, api.AnyVersion); return err },
		"issuer removes services":    func() error { return iris.DeleteService(ctx, "web", 0) },
		"issuer applies": func() error {
			_, err := iris.Apply(ctx, &api.ApplyRequest{Services: []api.Service{}, Prune: true})
			return err
		},
		"issuer makes an admin": func() error {
			_, err := iris.AddOperator(ctx, &api.OperatorRequest{Name: "eve", Role: "admin", CSR: csr})
			return err
		},
		"issuer removes the admin": func() error { return iris.DeleteOperator(ctx, "adam") },
	} {
		t.Run(name, func(t *testing.T) { is(t, call(), api.CodeForbidden) })
	}
	if _, err := iris.CreateToken(ctx, &api.TokenRequest{Service: "web"}); err != nil {
		t.Errorf("issuer mints for its own service: %v", err)
	}
	one, err := w.admin.Certificate(ctx, serial)
	must(t, err)
	if one.Status != "valid" {
		t.Errorf("db's certificate is %s", one.Status)
	}

	// Who is removed loses the connection it has.
	must(t, w.admin.DeleteOperator(ctx, "iris"))
	if _, err := iris.Status(ctx); err == nil {
		t.Error("a removed operator still reads")
	}
	must(t, w.admin.DeleteService(ctx, "web", api.AnyVersion))
	_, err = web.Renew(ctx, &api.RenewRequest{CSR: csr}, "")
	is(t, err, api.CodeServiceUnknown)
}

func TestReaderReadsAndChangesNothing(t *testing.T) {
	w := newWorld(t)
	reader, _ := w.bootstrap("rene", policy.RoleReader)
	if _, err := reader.Status(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := reader.Operators(t.Context()); err != nil {
		t.Error(err)
	}
	if metrics, err := reader.Metrics(t.Context()); err != nil || !bytes.Contains(metrics, []byte("handfast_ca_")) {
		t.Errorf("metrics: %v", err)
	}
	key := newKey(t)
	if _, err := reader.RenewOperator(t.Context(), &api.RenewRequest{CSR: newCSR(t, key)}, ""); err != nil {
		t.Errorf("its own renewal: %v", err)
	}
	_, err := reader.CreateToken(t.Context(), &api.TokenRequest{Service: "web"})
	is(t, err, api.CodeForbidden)
}

// A refused operator is told what an operator can do: tokens and rekeying are for services.
func TestRefusedOperatorIsToldItsWayOut(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	iris, irisID := w.bootstrap("iris", policy.RoleReader)
	web, webID := w.enrol(w.register("web"))
	for _, id := range []*identity{irisID, webID} {
		_, err := w.admin.Revoke(ctx, &api.RevokeRequest{Serial: id.serial(t)})
		must(t, err)
	}
	_, err := iris.Status(ctx)
	is(t, err, api.CodeRevoked)
	if text := err.Error(); !strings.Contains(text, "handfast operator add iris") || strings.Contains(text, "token") {
		t.Errorf("a revoked operator is told: %s", text)
	}
	_, err = web.Renew(ctx, &api.RenewRequest{CSR: newCSR(t, newKey(t))}, "")
	is(t, err, api.CodeRevoked)
	if text := err.Error(); !strings.Contains(text, "token") || strings.Contains(text, "operator") {
		t.Errorf("a revoked service is told: %s", text)
	}
	w.advance(31 * 24 * time.Hour)
	_, err = w.admin.Status(ctx)
	is(t, err, api.CodeExpired)
	if text := err.Error(); !strings.Contains(text, "handfast operator add adam") {
		t.Errorf("an expired operator is told: %s", text)
	}
}
