package ca_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
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

func codeOf(err error) api.Code {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e.Code
	}
	return ""
}

func TestAWrongClockIssuesNothing(t *testing.T) {
	w := newWorld(t)
	a := w.enroll("shop/cart")
	ask := func() error {
		_, err := w.Issue(t.Context(), admin, api.IssueRequest{Service: "shop/cart", CSR: csr(t, newKey(t))}, "")
		return err
	}
	w.advance(-2 * time.Minute)
	must(t, ask())
	w.advance(-time.Second)
	wantCode(t, "behind the ledger", ask(), api.CodeUnavailable)
	if problems := w.Ready(t.Context()); len(problems) == 0 || !strings.Contains(problems[0], "clock") {
		t.Errorf("problems = %v, want the clock", problems)
	}
	// A restart does not forget it, unless the operator says so.
	again, err := ca.New(t.Context(), w.config())
	must(t, err)
	_, err = again.Issue(t.Context(), admin, api.IssueRequest{Service: "shop/cart", CSR: csr(t, newKey(t))}, "")
	wantCode(t, "after a restart", err, api.CodeUnavailable)
	again, err = ca.New(t.Context(), w.config(func(cfg *ca.Config) { cfg.AcceptClock = true }))
	must(t, err)
	_, err = again.Issue(t.Context(), admin, api.IssueRequest{Service: "shop/cart", CSR: csr(t, newKey(t))}, "")
	must(t, err)

	w.advance(-24 * time.Hour)
	wantCode(t, "before the issuer", ask(), api.CodeUnavailable)
	w.advance(100 * 365 * 24 * time.Hour)
	wantCode(t, "after the issuer", ask(), api.CodeUnavailable)
	_, err = w.Authenticate(t.Context(), a.chain)
	wantCode(t, "authenticate a century later", err, api.CodeExpired)
}

func TestReadyNamesEachProblem(t *testing.T) {
	w := newWorld(t)
	if problems := w.Ready(t.Context()); len(problems) != 0 {
		t.Fatalf("problems = %v, want none", problems)
	}
	fresh, err := ca.New(t.Context(), w.config())
	must(t, err)
	if problems := fresh.Ready(t.Context()); len(problems) != 1 || !strings.Contains(problems[0], "OCSP responder") {
		t.Errorf("problems = %v, want the missing responder", problems)
	}
	w.advance(3 * time.Hour)
	must(t, w.publisher.Sync(t.Context()))
	if problems := w.Ready(t.Context()); len(problems) != 1 || !strings.Contains(problems[0], "CRL") {
		t.Errorf("problems = %v, want the late CRL", problems)
	}
	broken, err := ca.New(t.Context(), w.config())
	must(t, err)
	must(t, w.store.Close())
	if problems := broken.Ready(t.Context()); len(problems) == 0 || !strings.Contains(problems[0], "ledger cannot be written") {
		t.Errorf("problems = %v, want the ledger", problems)
	}
}

// responders counts what SetResponder gets.
type responders struct {
	ca.Publisher
	set []revocation.ResponseSigner
}

func (r *responders) SetResponder(id string, s revocation.ResponseSigner) {
	r.set = append(r.set, s)
	r.Publisher.SetResponder(id, s)
}

func TestRespondersRotateAtHalfTheirLife(t *testing.T) {
	spy := &responders{}
	w := newWorld(t, func(cfg *ca.Config) { spy.Publisher, cfg.Publisher = cfg.Publisher, spy })
	if len(spy.set) != 1 {
		t.Fatalf("%d responders at the start, want 1", len(spy.set))
	}
	first := spy.set[0].Certificate()
	half := first.NotAfter.Sub(first.NotBefore) / 2
	w.advance(half - 2*time.Minute)
	must(t, w.RotateResponders(t.Context()))
	if len(spy.set) != 1 {
		t.Error("rotated before half of its life")
	}
	w.advance(4 * time.Minute)
	must(t, w.RotateResponders(t.Context()))
	if len(spy.set) != 2 {
		t.Fatalf("%d responders after half of the first one's life, want 2", len(spy.set))
	}
	for _, s := range spy.set {
		serial := must2(certs.SerialFromInt(s.Certificate().SerialNumber))
		row, err := w.ledger.Certificate(t.Context(), serial)
		if err != nil || row.Kind != ca.KindOCSP {
			t.Errorf("row = %+v, %v; a responder must be recorded", row, err)
		}
	}
	if bytes.Equal(first.RawSubjectPublicKeyInfo, spy.set[1].Certificate().RawSubjectPublicKeyInfo) {
		t.Error("the second responder has the first one's key")
	}
}

// TestInvariant12PurgeWaitsForRetentionAndGrace purges with a grace longer than the retention.
func TestInvariant12PurgeWaitsForRetentionAndGrace(t *testing.T) {
	w := newWorld(t, func(cfg *ca.Config) { cfg.Retention = time.Hour }) // the longest grace is 24 h
	a, b := w.enroll("shop/cart"), w.enroll("shop/cart")
	w.revokeSerial(b.serial())
	w.advance(24 * time.Hour)
	must(t, w.Purge(t.Context()))
	if _, err := w.Rekey(t.Context(), w.rekeyRequest(a), ""); err != nil {
		t.Errorf("rekey within the grace after a purge: %v", err)
	}
	_, err := w.Rekey(t.Context(), w.rekeyRequest(b), "")
	wantCode(t, "rekey of the revoked one", err, api.CodeRevoked)
	w.advance(24 * time.Hour)
	must(t, w.Purge(t.Context()))
	if _, err := w.ledger.Certificate(t.Context(), a.serial()); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("kept for ever: %v", err)
	}
	// No CRL was published past its expiry, so the revocation stays.
	if row, err := w.ledger.Certificate(t.Context(), b.serial()); err != nil || row.Revocation == nil {
		t.Errorf("the revocation is gone: %v", err)
	}
}

func TestRunCarriesThePublishersChangesAndEnds(t *testing.T) {
	news := make(chan struct{})
	w, spy := newFollowed(t, func(cfg *ca.Config) { cfg.Publisher = newsroom{cfg.Publisher, news} })
	seen := len(spy.since(0))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	news <- struct{}{}
	news <- struct{}{} // taken once the first one was passed on
	if !slices.Contains(spy.since(seen), "notify") {
		t.Error("the feed was not told")
	}
	cancel()
	must(t, <-done)
}

type newsroom struct {
	ca.Publisher
	news chan struct{}
}

func (n newsroom) Changed() <-chan struct{} { return n.news }

func TestNewRefusesABadConfiguration(t *testing.T) {
	w := newWorld(t)
	for name, spoil := range map[string]option{
		"no trust domain":       func(cfg *ca.Config) { cfg.TrustDomain = certs.TrustDomain{} },
		"no ledger":             func(cfg *ca.Config) { cfg.Ledger = nil },
		"no publisher":          func(cfg *ca.Config) { cfg.Publisher = nil },
		"no URLs":               func(cfg *ca.Config) { cfg.URLs = nil },
		"no issuer":             func(cfg *ca.Config) { cfg.Issuers = nil },
		"no root":               func(cfg *ca.Config) { cfg.Roots = nil },
		"no profile":            func(cfg *ca.Config) { cfg.Profiles = nil },
		"an issuer twice":       func(cfg *ca.Config) { cfg.Issuers = append(cfg.Issuers, cfg.Issuers[0]) },
		"a profile twice":       func(cfg *ca.Config) { cfg.Profiles = append(cfg.Profiles, cfg.Profiles[0]) },
		"a built-in name":       func(cfg *ca.Config) { cfg.Profiles[0].Name = issuer.Operator().Name },
		"a nameless profile":    func(cfg *ca.Config) { cfg.Profiles[0].Name = "" },
		"an unknown default":    func(cfg *ca.Config) { cfg.DefaultProfile = "nope" },
		"a profile for servers": func(cfg *ca.Config) { cfg.Profiles[0].ClientAuth = false },
		"negative retention":    func(cfg *ca.Config) { cfg.Retention = -1 },
	} {
		if _, err := ca.New(t.Context(), w.config(spoil)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	a := w.enroll("shop/cart")
	bad := w.authorities()
	if err := w.Exchange(t.Context(), bad); err == nil {
		t.Error("an exchange for nothing was accepted")
	}
	w.peer(a) // the old ones stay
}

func TestServicesAreAuthorizedAndNormalized(t *testing.T) {
	w := newWorld(t)
	for _, actor := range []policy.Operator{reader, bearer, {}} {
		_, err := w.PutService(t.Context(), actor, policy.Service{Name: "shop/cart"}, 0)
		wantCode(t, "put", err, api.CodeForbidden)
		wantCode(t, "delete", w.DeleteService(t.Context(), actor, "shop/cart", ca.AnyVersion), api.CodeForbidden)
		_, err = w.ApplyServices(t.Context(), actor, nil, true, false)
		wantCode(t, "apply", err, api.CodeForbidden)
	}
	_, _, err := w.Services(t.Context(), policy.Operator{}, "", "", 10)
	wantCode(t, "list as nobody", err, api.CodeForbidden)
	_, _, err = w.Certificates(t.Context(), policy.Operator{}, ca.CertificateQuery{})
	wantCode(t, "certificates as nobody", err, api.CodeForbidden)
	_, err = w.Status(t.Context(), policy.Operator{})
	wantCode(t, "status as nobody", err, api.CodeForbidden)
	wantCode(t, "a reader's token", w.AuthorizeToken(t.Context(), reader, "shop/cart"), api.CodeForbidden)
	wantCode(t, "a token for nobody", w.AuthorizeToken(t.Context(), bearer, "shop/cart"), api.CodeServiceUnknown)
	w.put("shop/cart")
	must(t, w.AuthorizeToken(t.Context(), bearer, "shop/cart"))
	_, err = w.Issue(t.Context(), bearer, api.IssueRequest{Service: "shop/pay", CSR: csr(t, newKey(t))}, "")
	wantCode(t, "issue for another service", err, api.CodeForbidden)

	for name, service := range map[string]policy.Service{
		"wildcard": {Name: "a", DNSNames: []string{"*.example"}}, "unknown profile": {Name: "a", Profile: "nope"},
		"longer than the profile": {Name: "a", TTL: 2 * time.Hour}, "reserved": {Name: "handfast/ca"},
	} {
		_, err := w.PutService(t.Context(), admin, service, 0)
		wantCode(t, name, err, api.CodeRefused)
		_, err = w.ApplyServices(t.Context(), admin, []policy.Service{{Name: "fine"}, service}, false, false)
		wantCode(t, name+" in a list", err, api.CodeRefused)
	}
	_, err = w.ApplyServices(t.Context(), admin, []policy.Service{{Name: "a"}, {Name: "a"}}, false, false)
	wantCode(t, "twice in a list", err, api.CodeBadRequest)
	if _, err := w.Service(t.Context(), reader, "fine"); codeOf(err) != api.CodeNotFound {
		t.Errorf("half of a list was applied: %v", err)
	}
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	w.enroll("shop/cart")
	status, err := w.Status(t.Context(), reader)
	must(t, err)
	if !status.Ready || status.Fingerprint != certs.Fingerprint(w.root) || status.Services != 1 || status.Live != 2 ||
		len(status.Issuers) != 1 || len(status.Roots) != 1 || len(status.CRLs) != 1 || status.Role != "reader" {
		t.Errorf("status = %+v", status)
	}
	if _, ok := w.IssuerCertificate(w.issuer.ID()); !ok {
		t.Error("the issuer's certificate is not served")
	}
	if _, ok := w.IssuerCertificate("00"); ok {
		t.Error("an unknown issuer's certificate is served")
	}
	if _, _, err := w.Certificates(t.Context(), reader, ca.CertificateQuery{Status: "odd"}); codeOf(err) != api.CodeBadRequest {
		t.Errorf("odd status: %v", err)
	}
	if _, _, err := w.Certificates(t.Context(), reader, ca.CertificateQuery{Cursor: "odd"}); codeOf(err) != api.CodeBadRequest {
		t.Errorf("odd cursor: %v", err)
	}
}
