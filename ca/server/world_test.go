package server_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/enroll"
	"github.com/handfast/handfast/ca/fleet"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/ca/server"
	"github.com/handfast/handfast/ca/store/sqlite"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/internal/logging"
	"github.com/handfast/handfast/internal/logtest"
	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/revocation"
	"github.com/handfast/handfast/revocation/broadcast"
)

// world is a whole CA in one process: ledger, issuer, publisher, enroller and both
// listeners on loopback, with a clock that can be set forward.
type world struct {
	t       *testing.T
	ca      *ca.CA
	store   *sqlite.Store
	root    *x509.Certificate
	issuer  *issuer.Issuer
	feed    *broadcast.Broadcaster
	fleet   *fleet.Fleet
	api     string
	public  string
	logs    *logtest.Buffer
	admin   *api.Client
	adminID *identity

	mu     sync.Mutex
	offset time.Duration
}

// identity is a client's key and certificate. Clients ask for it at each handshake.
type identity struct {
	mu          sync.Mutex
	key         crypto.Signer
	certificate tls.Certificate
}

func (i *identity) get(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return &i.certificate, nil
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.offset)
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offset += d
}

func newWorld(t *testing.T) *world {
	t.Helper()
	td, err := certs.ParseTrustDomain("test.example")
	must(t, err)
	w := &world{t: t, logs: &logtest.Buffer{}}
	rootKey, issuerKey := newKey(t), newKey(t)
	before := time.Now().Add(-time.Hour)
	w.root, err = issuer.NewRoot(rootKey, issuer.RootRequest{TrustDomain: td, NotBefore: before})
	must(t, err)
	intermediate, err := issuer.NewIntermediate(w.root, rootKey, issuerKey.Public(), issuer.IntermediateRequest{TrustDomain: td, NotBefore: before})
	must(t, err)
	w.issuer, err = issuer.New([]*x509.Certificate{intermediate}, issuerKey)
	must(t, err)

	path := filepath.Join(t.TempDir(), "ledger.db")
	must(t, sqlite.Create(t.Context(), path))
	w.store, err = sqlite.Open(t.Context(), path, sqlite.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, w.store.Close()) })
	logger, err := logging.New(w.logs, "debug", "json")
	must(t, err)
	registry := prometheus.NewRegistry()

	listeners, err := server.Listen(t.Context(), server.Addresses{API: "127.0.0.1:0", Public: "127.0.0.1:0"})
	must(t, err)
	w.api, w.public = "https://"+listeners.API.Addr().String(), "http://"+listeners.Public.Addr().String()

	publisher, err := revocation.Open(t.Context(), revocation.Config{
		Log: w.store, Issuers: []revocation.CRLSigner{w.issuer}, BaseURL: w.public, Now: w.clock, Logger: logger, Registerer: registry,
	})
	must(t, err)
	w.feed, err = broadcast.New(broadcast.Config{
		TrustDomain: td.String(), Log: w.store, Listed: publisher.Listed,
		Issuers:  func() []string { return w.ca.Issuers() },
		Versions: func(ctx context.Context) ([]feed.Version, error) { return w.ca.Versions(ctx) },
		Now:      w.clock, Logger: logger, Registerer: registry,
	})
	must(t, err)
	w.fleet, err = fleet.New(t.Context(), fleet.Config{
		Ledger: w.store, Sequence: w.feed.Sequence, Logger: logger, Registerer: registry,
		Refused: func(issuer string, serial certs.Serial) bool {
			_, refused := publisher.Revoked(issuer, serial)
			return refused
		},
	})
	must(t, err)
	w.ca, err = ca.New(t.Context(), ca.Config{
		Feed: w.feed, Noted: w.fleet.Note,
		TrustDomain: td, Ledger: w.store, Profiles: []issuer.ProfileConfig{issuer.ServiceDefault()}, Publisher: publisher,
		Issuers: []*issuer.Issuer{w.issuer}, Roots: []*x509.Certificate{w.root},
		URLs: func(id string) revocation.URLs { return revocation.URLs{Base: w.public, Issuer: id} },
		Now:  w.clock, Logger: logger, Registerer: registry,
	})
	must(t, err)
	enroller, err := enroll.New(enroll.Config{
		TrustDomain: td, NativeKey: bytes.Repeat([]byte{7}, 32), URL: w.api, Fingerprint: certs.Fingerprint(w.root),
		Now: w.clock, Logger: logger, Registerer: registry,
	})
	must(t, err)
	s, err := server.New(server.Config{
		CA: w.ca, Tokens: enroller, Revocations: publisher, Feed: server.FeedOf(w.feed), Fleet: w.fleet, IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		Name: "test CA", Version: "0", Now: w.clock, Logger: logger, Registerer: registry, Gatherer: registry,
		// The racers of a token all fail from one address; the limiter has its own tests.
		Limits: server.Limits{FailureBurst: 1000, ReadHeader: time.Minute, Read: time.Minute, Write: time.Minute, Shutdown: time.Minute},
	})
	must(t, err)
	must(t, w.ca.Prepare(t.Context())) // as whoever serves does: the first request finds the responder
	w.run(
		func(ctx context.Context) error { return w.ca.Run(ctx) },
		func(ctx context.Context) error { return publisher.Run(ctx) },
		func(ctx context.Context) error { return w.feed.Run(ctx) },
		func(ctx context.Context) error { w.fleet.Run(ctx); return nil },
		func(ctx context.Context) error { return s.Run(ctx, listeners) },
	)
	w.admin, w.adminID = w.bootstrap("adam", policy.RoleAdmin)
	return w
}

// run starts what runs until the test ends.
func (w *world) run(tasks ...func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, task := range tasks {
		group.Go(func() {
			if err := task(ctx); err != nil && !errors.Is(err, context.Canceled) {
				w.t.Errorf("background: %v", err)
			}
		})
	}
	w.t.Cleanup(func() {
		cancel()
		group.Wait()
	})
}

func (w *world) bootstrap(name string, role policy.Role) (*api.Client, *identity) {
	w.t.Helper()
	key := newKey(w.t)
	issued, err := w.ca.BootstrapOperator(w.t.Context(), name, role, newCSR(w.t, key))
	must(w.t, err)
	id := &identity{}
	id.set(key, issued.Chain)
	return w.client(id), id
}

func (i *identity) set(key crypto.Signer, chain [][]byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		panic(err)
	}
	i.key, i.certificate = key, tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}
}

// client connects as id, nil for nobody.
func (w *world) client(id *identity) *api.Client {
	w.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(w.root)
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13, Time: w.clock}
	if id != nil {
		config.GetClientCertificate = id.get
	}
	c, err := api.NewClient(w.api, config)
	must(w.t, err)
	w.t.Cleanup(c.Close)
	return c
}

// register makes a service and a token for it.
func (w *world) register(name string, callers ...string) string {
	w.t.Helper()
	_, err := w.admin.PutService(w.t.Context(), &api.Service{Name: name, Callers: callers}, api.AnyVersion)
	must(w.t, err)
	token, err := w.admin.CreateToken(w.t.Context(), &api.TokenRequest{Service: name})
	must(w.t, err)
	return token.Token
}

// enrol is an agent's first steps: it knows nothing of the CA but the token.
func (w *world) enrol(token string) (*api.Client, *identity) {
	w.t.Helper()
	hints, err := api.TokenHints(token)
	must(w.t, err)
	pinned, err := certs.PinnedConfig(hints.Fingerprint, certs.WithClock(w.clock))
	must(w.t, err)
	first, err := api.NewClient(hints.CA, pinned)
	must(w.t, err)
	defer first.Close()
	id, key := &identity{}, newKey(w.t)
	issued, err := first.Enroll(w.t.Context(), &api.EnrollRequest{Token: token, CSR: newCSR(w.t, key)}, rand.Text())
	must(w.t, err)
	id.set(key, issued.Chain)
	return w.client(id), id
}

func (i *identity) serial(t *testing.T) certs.Serial {
	t.Helper()
	serial, err := certs.SerialFromInt(i.certificate.Leaf.SerialNumber)
	must(t, err)
	return serial
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func newCSR(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	must(t, err)
	return der
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// is fails the test unless err is the API's with this code.
func is(t *testing.T, err error, code api.Code) {
	t.Helper()
	var e *api.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("error %v; want %s", err, code)
	}
}
