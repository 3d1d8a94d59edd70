package revocation

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
)

const testBase = "http://ca.test:8080"

// testStart is when every test begins, unless it runs by the real clock.
var testStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// testClock is a clock that only the test moves.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func newTestClock() *testClock { return &testClock{now: testStart} }

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// memoryLog is a ledger's log without a disk.
type memoryLog struct {
	mu      sync.Mutex
	entries []Entry
	issued  map[string]bool
	failure error // what every call returns, if not nil
	lookups int
}

func newMemoryLog() *memoryLog { return &memoryLog{issued: make(map[string]bool)} }

func (l *memoryLog) Entries(_ context.Context, after uint64, limit int) ([]Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil {
		return nil, l.failure
	}
	rest := l.entries[min(int(after), len(l.entries)):]
	return slices.Clone(rest[:min(limit, len(rest))]), nil
}

func (l *memoryLog) AppendPublished(_ context.Context, issuer string, at time.Time) (uint64, error) {
	return l.append(Entry{Kind: Published, Issuer: issuer, At: at})
}

func (l *memoryLog) append(e Entry) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil {
		return 0, l.failure
	}
	e.Sequence = uint64(len(l.entries)) + 1
	l.entries = append(l.entries, e)
	return e.Sequence, nil
}

func (l *memoryLog) Issued(_ context.Context, issuer string, serial certs.Serial) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lookups++
	return l.issued[issuer+serial.String()], l.failure
}

func (l *memoryLog) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure = err
}

func (l *memoryLog) issue(issuer string, serial certs.Serial) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.issued[issuer+serial.String()] = true
}

// revoke appends what reason stands for: a revocation, a hold or a release.
func (l *memoryLog) revoke(t testing.TB, issuer string, serial certs.Serial, reason certs.Reason, at, notAfter time.Time) uint64 {
	t.Helper()
	l.issue(issuer, serial)
	sequence, err := l.append(Entry{
		Kind: KindOf(reason), Issuer: issuer, Serial: serial, Reason: reason,
		At: at.UTC().Truncate(time.Second), NotAfter: notAfter.UTC().Truncate(time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	return sequence
}

// testCA is an issuer made with crypto/x509 alone.
type testCA struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	root *x509.Certificate
	top  *testCA // the root
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyID(t testing.TB, pub crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return sum[:20]
}

func sign(t testing.TB, template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// newTestCA makes a root and an issuing CA below it, valid around start.
func newTestCA(t testing.TB, name string, start time.Time) *testCA {
	t.Helper()
	template := func(cn string, key *ecdsa.PrivateKey, serial int64) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: cn},
			NotBefore: start.Add(-24 * time.Hour), NotAfter: start.Add(365 * 24 * time.Hour),
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
			IsCA:     true, BasicConstraintsValid: true, SubjectKeyId: keyID(t, key.Public()),
		}
	}
	rootKey, key := newKey(t), newKey(t)
	rootTemplate := template(name+" root", rootKey, 1)
	root := sign(t, rootTemplate, rootTemplate, rootKey.Public(), rootKey)
	ca := &testCA{key: key, root: root, top: &testCA{key: rootKey, cert: root, root: root}}
	ca.cert = sign(t, template(name+" issuing CA", key, 2), root, key.Public(), rootKey)
	return ca
}

func (c *testCA) ID() string                     { return hex.EncodeToString(c.cert.SubjectKeyId) }
func (c *testCA) Certificate() *x509.Certificate { return c.cert }
func (c *testCA) SignatureAlgorithm() []byte     { return ecdsaWithSHA256 }

func (c *testCA) SignCRL(tbs ...[]byte) ([]byte, error) { return signBytes(c.key, tbs...) }

var ecdsaWithSHA256, _ = asn1.Marshal(pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}})

func signBytes(key *ecdsa.PrivateKey, tbs ...[]byte) ([]byte, error) {
	h := sha256.New()
	for _, piece := range tbs {
		h.Write(piece)
	}
	return ecdsa.SignASN1(rand.Reader, key, h.Sum(nil))
}

// testResponder is a delegated responder.
type testResponder struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	err  error
}

func (c *testCA) responder(t testing.TB, notBefore, notAfter time.Time) *testResponder {
	t.Helper()
	key := newKey(t)
	return &testResponder{key: key, cert: sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "OCSP responder"},
		NotBefore: notBefore, NotAfter: notAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}, SubjectKeyId: keyID(t, key.Public()),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}, Value: []byte{5, 0}}},
	}, c.cert, key.Public(), c.key)}
}

func (r *testResponder) Certificate() *x509.Certificate { return r.cert }
func (r *testResponder) SignatureAlgorithm() []byte     { return ecdsaWithSHA256 }
func (r *testResponder) SignResponse(tbs []byte) ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	return signBytes(r.key, tbs)
}

// bench is a publisher with everything around it.
type bench struct {
	clock *testClock
	log   *memoryLog
	ca    *testCA
	*Publisher
}

// newBench opens a publisher on an empty log; adjust changes its configuration.
func newBench(t testing.TB, adjust func(*Config)) *bench {
	t.Helper()
	b := &bench{clock: newTestClock(), log: newMemoryLog(), ca: newTestCA(t, "Example", testStart)}
	b.Publisher = b.open(t, adjust)
	b.SetResponder(b.ca.ID(), b.ca.responder(t, testStart.Add(-time.Hour), testStart.Add(7*24*time.Hour)))
	return b
}

// open opens another publisher on the same log.
func (b *bench) open(t testing.TB, adjust func(*Config)) *Publisher {
	t.Helper()
	config := Config{Log: b.log, Issuers: []CRLSigner{b.ca}, BaseURL: testBase, Now: b.clock.Now}
	if adjust != nil {
		adjust(&config)
	}
	p, err := Open(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// revoke revokes now, for an hour, and publishes.
func (b *bench) revoke(t testing.TB, serial certs.Serial, reason certs.Reason) uint64 {
	t.Helper()
	sequence := b.log.revoke(t, b.ca.ID(), serial, reason, b.clock.Now(), b.clock.Now().Add(time.Hour))
	b.republish(t, false)
	return sequence
}

func (b *bench) republish(t testing.TB, renew bool) {
	t.Helper()
	if err := b.publish(context.Background(), b.byID[b.ca.ID()], renew); err != nil {
		t.Fatal(err)
	}
}

func serialOfInt(t testing.TB, n int64) certs.Serial {
	t.Helper()
	// Serials have the length of real ones, and the high bit set: DER adds a zero octet.
	octets := append([]byte{0x80 | byte(n)}, make([]byte, 19)...)
	big.NewInt(n).FillBytes(octets[1:])
	serial, err := certs.SerialFromBytes(octets)
	if err != nil {
		t.Fatal(err)
	}
	return serial
}
