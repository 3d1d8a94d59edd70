package ca_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/ca/store/sqlite"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/logtest"
	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/revocation"
)

var (
	epoch  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	admin  = policy.Operator{Name: "admin", Role: policy.RoleAdmin}
	reader = policy.Operator{Name: "reader", Role: policy.RoleReader}
	bearer = policy.Operator{Name: "bearer", Role: policy.RoleIssuer, Services: []string{"shop/cart"}}
)

// world is a CA with a real ledger, issuer and publisher, and a clock of the test's.
type world struct {
	*ca.CA
	t         testing.TB
	td        certs.TrustDomain
	ledger    ca.Ledger
	store     *sqlite.Store
	publisher *revocation.Publisher
	root      *x509.Certificate
	rootKey   crypto.Signer
	issuer    *issuer.Issuer
	log       *logtest.Buffer

	mu  sync.Mutex
	now time.Time
}

type option func(*ca.Config)

func newWorld(t testing.TB, options ...option) *world {
	t.Helper()
	td, err := certs.ParseTrustDomain("test.example")
	must(t, err)
	w := &world{t: t, td: td, now: epoch, log: &logtest.Buffer{}}
	w.rootKey = newKey(t)
	w.root, err = issuer.NewRoot(w.rootKey, issuer.RootRequest{TrustDomain: td, NotBefore: epoch.Add(-time.Hour)})
	must(t, err)
	w.issuer = w.newIssuer(0)
	path := filepath.Join(t.TempDir(), "ledger.db")
	must(t, sqlite.Create(t.Context(), path))
	w.store, err = sqlite.Open(t.Context(), path, sqlite.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, w.store.Close()) })
	w.publisher, err = revocation.Open(t.Context(), revocation.Config{
		Log: w.store, Issuers: []revocation.CRLSigner{w.issuer}, BaseURL: "http://ca.test.example", Now: w.clock,
	})
	must(t, err)
	w.CA, err = ca.New(t.Context(), w.config(options...))
	must(t, err)
	must(t, w.RotateResponders(t.Context()))
	return w
}

func (w *world) config(options ...option) ca.Config {
	w.ledger = w.store
	cfg := ca.Config{
		TrustDomain: w.td, Ledger: w.store, Issuers: []*issuer.Issuer{w.issuer}, Roots: []*x509.Certificate{w.root},
		Profiles: profiles(), Publisher: w.publisher, URLs: urls, Now: w.clock, Logger: slog.New(slog.NewJSONHandler(w.log, nil)),
	}
	for _, o := range options {
		o(&cfg)
	}
	w.ledger = cfg.Ledger
	return cfg
}

func profiles() []issuer.ProfileConfig {
	short := issuer.ServiceDefault()
	short.Name, short.Lifetime, short.Grace = "short", 10*time.Minute, 30*time.Minute
	return []issuer.ProfileConfig{issuer.ServiceDefault(), short}
}

func urls(id string) revocation.URLs {
	return revocation.URLs{Base: "http://ca.test.example", Issuer: id}
}

// newIssuer makes an intermediate; a lifetime of 0 is the usual one.
func (w *world) newIssuer(lifetime time.Duration) *issuer.Issuer {
	w.t.Helper()
	key := newKey(w.t)
	certificate, err := issuer.NewIntermediate(w.root, w.rootKey, key.Public(), issuer.IntermediateRequest{
		TrustDomain: w.td, NotBefore: epoch.Add(-time.Hour), Lifetime: lifetime,
	})
	must(w.t, err)
	i, err := issuer.New([]*x509.Certificate{certificate}, key)
	must(w.t, err)
	return i
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) put(name string, callers ...string) policy.Service {
	w.t.Helper()
	stored, err := w.PutService(w.t.Context(), admin, policy.Service{Name: name, Callers: callers}, ca.AnyVersion)
	must(w.t, err)
	return stored
}

// agent is a client: its key, its certificate and the chain that it shows.
type agent struct {
	key    crypto.Signer
	chain  []*x509.Certificate
	issued *ca.Issued
}

func (a agent) serial() certs.Serial { return a.issued.Certificate.Serial }

func claim(service, token string) ca.Claim {
	return ca.Claim{
		Service: service, Method: ca.MethodToken, By: token,
		OneTime: &ca.OneTime{ID: "token:" + token, ExpiresAt: epoch.Add(time.Hour)},
	}
}

// enroll registers service and enrols an agent of it.
func (w *world) enroll(service string) agent {
	w.t.Helper()
	w.put(service)
	key := newKey(w.t)
	issued, err := w.Enroll(w.t.Context(), claim(service, rand.Text()), csr(w.t, key), "")
	must(w.t, err)
	return newAgent(w.t, key, issued)
}

func newAgent(t testing.TB, key crypto.Signer, issued *ca.Issued) agent {
	t.Helper()
	a := agent{key: key, issued: issued}
	for _, der := range issued.Chain {
		certificate, err := x509.ParseCertificate(der)
		must(t, err)
		a.chain = append(a.chain, certificate)
	}
	return a
}

func (w *world) peer(a agent) ca.Peer {
	w.t.Helper()
	peer, err := w.Authenticate(w.t.Context(), a.chain)
	must(w.t, err)
	return peer
}

func (w *world) revokeSerial(serial certs.Serial) {
	w.t.Helper()
	_, _, err := w.Revoke(w.t.Context(), admin, api.RevokeRequest{Serial: serial, Reason: certs.KeyCompromise})
	must(w.t, err)
}

// rekeyRequest is a good one of a, signed at the world's time.
func (w *world) rekeyRequest(a agent) *api.RekeyRequest {
	w.t.Helper()
	r := &api.RekeyRequest{Chain: a.issued.Chain, CSR: csr(w.t, newKey(w.t)), Nonce: make([]byte, 16), SignedAt: w.clock()}
	_, err := rand.Read(r.Nonce)
	must(w.t, err)
	w.sign(a, r)
	return r
}

func (w *world) sign(a agent, r *api.RekeyRequest) {
	w.t.Helper()
	message, err := api.RekeyMessage(w.td.String(), r)
	must(w.t, err)
	r.Signature, err = crypto.SignMessage(a.key, rand.Reader, message, crypto.SHA256)
	must(w.t, err)
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func csr(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	must(t, err)
	return der
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantCode checks that err is an *api.Error with this code.
func wantCode(t testing.TB, what string, err error, code api.Code) {
	t.Helper()
	if e, ok := errors.AsType[*api.Error](err); !ok || e.Code != code {
		t.Errorf("%s: %v, want code %s", what, err, code)
	}
}

// faulty is a ledger whose RecordIssuance the test has its hands on.
type faulty struct {
	ca.Ledger
	record func(ctx context.Context, next ca.Ledger, i ca.Issuance) (ca.Certificate, bool, error)
}

func (f *faulty) RecordIssuance(ctx context.Context, i ca.Issuance) (ca.Certificate, bool, error) {
	if f.record == nil {
		return f.Ledger.RecordIssuance(ctx, i)
	}
	return f.record(ctx, f.Ledger, i)
}

// withFaults puts f before the ledger.
func withFaults(f *faulty) option {
	return func(cfg *ca.Config) { f.Ledger, cfg.Ledger = cfg.Ledger, f }
}
