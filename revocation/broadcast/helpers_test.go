package broadcast

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/revocation"
)

const (
	domain  = "example.test"
	issuerA = "0a00000000000000000000000000000000000000"
	issuerB = "0b00000000000000000000000000000000000000"
)

// ledger is a revocation log without a disk, and the naive fold of it.
type ledger struct {
	mu       sync.Mutex
	entries  []revocation.Entry
	failure  error
	reads    int
	listings int
	versions []feed.Version
	asked    int // for the versions
}

func (l *ledger) Entries(_ context.Context, after uint64, limit int) ([]revocation.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	if l.failure != nil {
		return nil, l.failure
	}
	rest := l.entries[min(int(after), len(l.entries)):]
	return slices.Clone(rest[:min(limit, len(rest))]), nil
}

func (l *ledger) breakWith(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure = err
}

// append adds an entry about serial n, or a Published one.
func (l *ledger) append(kind revocation.Kind, issuer string, n int) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := revocation.Entry{Sequence: uint64(len(l.entries)) + 1, Kind: kind, Issuer: issuer, At: time.Unix(1800000000, 0)}
	if kind != revocation.Published {
		e.Serial, e.NotAfter = serial(n), time.Unix(4000000000, 0)
	}
	l.entries = append(l.entries, e)
	return e.Sequence
}

// state is what the log comes to up to a position.
func (l *ledger) state(upTo uint64) map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	state := map[string]bool{}
	for _, e := range l.entries[:upTo] {
		if e.Kind != revocation.Published {
			state[e.Issuer+" "+string(e.Serial.Bytes())] = e.Kind != revocation.Released
		}
	}
	return state
}

func (l *ledger) Listed(yield func(string, []byte, time.Time) bool) uint64 {
	l.mu.Lock()
	upTo := uint64(len(l.entries))
	l.listings++
	l.mu.Unlock()
	for key, listed := range l.state(upTo) {
		if listed && !yield(key[:40], []byte(key[41:]), time.Unix(4000000000, 0)) {
			break
		}
	}
	return upTo
}

func (l *ledger) Versions(context.Context) ([]feed.Version, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	return slices.Clone(l.versions), l.failure
}

// announce sets the version that the ledger tells.
func (l *ledger) announce(value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.versions = []feed.Version{{Name: "policy", Value: value}}
}

func (l *ledger) count(of *int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return *of
}

func serial(n int) certs.Serial {
	s, err := certs.SerialFromBytes(append([]byte{0x40}, big.NewInt(int64(n)+1<<62).FillBytes(make([]byte, 15))...))
	if err != nil {
		panic(err)
	}
	return s
}

// countingKey counts its signatures.
type countingKey struct {
	*ecdsa.PrivateKey
	mu    sync.Mutex
	count int
}

func (k *countingKey) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.mu.Lock()
	k.count++
	k.mu.Unlock()
	return k.PrivateKey.Sign(random, digest, opts)
}

func (k *countingKey) signatures() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.count
}

// newTestSigner makes a key and a certificate for the feed; nothing here checks its chain.
func newTestSigner(t testing.TB, notAfter time.Time) (*countingKey, []*x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "handfast/feed"},
		URIs:      []*url.URL{{Scheme: "spiffe", Host: domain, Path: "/handfast/feed"}},
		NotBefore: time.Unix(0, 0), NotAfter: notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &countingKey{PrivateKey: key}, []*x509.Certificate{certificate}
}

// world is a ledger, a signer and who broadcasts now.
type world struct {
	*ledger
	*Broadcaster
	key   *countingKey
	chain []*x509.Certificate
	back  atomic.Int64 // how far the clock of who broadcasts is behind, a time.Duration
	stop  func()
}

// newWorld starts a Broadcaster; adjust changes its configuration. Call it in a bubble.
func newWorld(t testing.TB, adjust func(*Config)) *world {
	t.Helper()
	w := &world{ledger: &ledger{}, stop: func() {}}
	w.key, w.chain = newTestSigner(t, time.Now().Add(7*24*time.Hour).Truncate(time.Second))
	w.restart(t, adjust)
	t.Cleanup(func() { w.stop() })
	return w
}

// restart begins anew on the same log, as after a crash.
func (w *world) restart(t testing.TB, adjust func(*Config)) {
	t.Helper()
	w.stop()
	config := Config{
		TrustDomain: domain, Log: w.ledger, Listed: w.Listed, Versions: w.ledger.Versions,
		Issuers: func() []string { return []string{issuerA, issuerB} }, Now: w.now,
	}
	if adjust != nil {
		adjust(&config)
	}
	var err error
	if w.Broadcaster, err = New(config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	w.SetSigner(w.key, w.chain)
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		w.stop = func() {}
	}
}

func (w *world) now() time.Time { return time.Now().Add(-time.Duration(w.back.Load())) }

// revoke appends a revocation and tells of it.
func (w *world) revoke(n int) uint64 {
	sequence := w.append(revocation.Revoked, issuerA, n)
	w.Notify()
	return sequence
}

// holder is what an agent does with the feed.
type holder struct {
	view       *feed.View
	signers    map[[32]byte]*x509.Certificate
	statements []*feed.Statement
}

func newHolder() *holder { return &holder{signers: map[[32]byte]*x509.Certificate{}} }

func (h *holder) position() uint64 {
	if h.view == nil {
		return 0
	}
	return h.view.Sequence()
}

// take applies messages.
func (h *holder) take(messages []byte, now time.Time) error {
	for reader := feed.NewReader(bytes.NewReader(messages)); ; {
		kind, payload, err := reader.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case kind == feed.SignerMessage:
			chain, err := x509.ParseCertificates(payload)
			if err != nil {
				return err
			}
			h.signers[sha256.Sum256(chain[0].Raw)] = chain[0]
			continue
		}
		s, err := feed.Open(payload, func(signer [32]byte) (*x509.Certificate, error) {
			if c := h.signers[signer]; c != nil {
				return c, nil
			}
			return nil, errors.New("its chain did not come before it")
		})
		if err != nil {
			return err
		}
		if h.view, err = h.view.Apply(s, now); err != nil {
			return err
		}
		h.statements = append(h.statements, s)
	}
}

// follow takes what the next call gives.
func (h *holder) follow(t testing.TB, c *Cursor) *feed.Statement {
	t.Helper()
	messages, err := c.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := h.take(messages, time.Now()); err != nil {
		t.Fatal(err)
	}
	last := h.statements[len(h.statements)-1]
	if err := c.b.config.Log.(*ledger).contradicts(last); err != nil {
		t.Fatal(err)
	}
	if h.position() != c.Position() {
		t.Fatalf("the holder stands at %d, the cursor at %d", h.position(), c.Position())
	}
	return last
}

// contradicts says where a statement leaves something out or adds something.
func (l *ledger) contradicts(s *feed.Statement) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.Snapshot != nil {
		return nil // differs tells
	}
	var told, happened []uint64
	for _, e := range s.Entries {
		told = append(told, e.Sequence)
	}
	for _, e := range l.entries[s.From:s.To] {
		if e.Kind != revocation.Published {
			happened = append(happened, e.Sequence)
		}
	}
	if !slices.Equal(told, happened) {
		return fmt.Errorf("from %d to %d the statement tells of %v, the log of %v", s.From, s.To, told, happened)
	}
	return nil
}

// differs says where the holder's view is not what the log comes to at its position.
func (h *holder) differs(l *ledger) error {
	for key, listed := range l.state(h.position()) {
		if _, found := h.view.Find(key[:40], []byte(key[41:])); found != listed {
			return fmt.Errorf("at %d: %s %x is listed: %v, found: %v", h.position(), key[:40], key[41:], listed, found)
		}
	}
	return nil
}

// lastStatement reads the last statement of messages without a holder.
func lastStatement(t testing.TB, messages []byte) *feed.Statement {
	t.Helper()
	h := newHolder()
	var last *feed.Statement
	for reader := feed.NewReader(bytes.NewReader(messages)); ; {
		kind, payload, err := reader.Next()
		if err != nil {
			return last
		}
		if kind == feed.SignerMessage {
			chain, err := x509.ParseCertificates(payload)
			if err != nil {
				t.Fatal(err)
			}
			h.signers[sha256.Sum256(chain[0].Raw)] = chain[0]
			continue
		}
		if last, err = feed.Open(payload, func(signer [32]byte) (*x509.Certificate, error) { return h.signers[signer], nil }); err != nil {
			t.Fatal(err)
		}
	}
}
