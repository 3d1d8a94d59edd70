package revocation

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"testing"
	"time"

	reference "golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation/ocsp"
)

func (b *bench) certID(t testing.TB, hash crypto.Hash, serial certs.Serial) ocsp.CertID {
	t.Helper()
	id, err := ocsp.NewCertID(b.ca.cert, hash, serial)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func marshal(t testing.TB, nonce []byte, ids ...ocsp.CertID) []byte {
	t.Helper()
	der, err := (&ocsp.Request{IDs: ids, Nonce: nonce}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (b *bench) ask(der []byte) []byte {
	reply := b.responder.answer(der, b.config.Now().UTC())
	return append(bytes.Clone(reply.head), reply.tail...)
}

// status asks for one certificate and checks the whole response on the way.
func (b *bench) status(t testing.TB, serial certs.Serial) *reference.Response {
	t.Helper()
	response, err := reference.ParseResponseForCert(b.ask(marshal(t, nil, b.certID(t, crypto.SHA1, serial))), nil, b.ca.cert)
	if err != nil {
		t.Fatalf("serial %s: %v", serial, err)
	}
	if response.SerialNumber.Cmp(serial.Int()) != 0 {
		t.Fatalf("asked for %s, answered for %x", serial, response.SerialNumber)
	}
	return response
}

func TestOCSPStatuses(t *testing.T) {
	b := newBench(t, nil)
	good, never, revoked := serialOfInt(t, 1), serialOfInt(t, 2), serialOfInt(t, 3)
	b.log.issue(b.ca.ID(), good)
	b.log.issue("another issuer", never)
	b.clock.advance(90 * time.Second)
	b.revoke(t, revoked, certs.KeyCompromise)
	at := b.clock.Now()
	b.clock.advance(1500 * time.Millisecond)
	now := b.clock.Now().Truncate(time.Second)
	for _, test := range []struct {
		serial certs.Serial
		want   int
	}{{good, reference.Good}, {never, reference.Unknown}, {revoked, reference.Revoked}} {
		got := b.status(t, test.serial)
		if got.Status != test.want || !got.ProducedAt.Equal(now) || !got.ThisUpdate.Equal(now) || !got.NextUpdate.Equal(now.Add(time.Hour)) {
			t.Errorf("serial %s: status %d from %v to %v, produced at %v; want %d at %v", test.serial, got.Status, got.ThisUpdate, got.NextUpdate, got.ProducedAt, test.want, now)
		}
	}
	if got := b.status(t, revoked); !got.RevokedAt.Equal(at) || got.RevocationReason != reference.KeyCompromise {
		t.Errorf("revoked at %v for %d, want %v", got.RevokedAt, got.RevocationReason, at)
	}
}

// A good answer that is in the cache must not outlive the revocation by one request.
func TestOCSPForgetsAtOnce(t *testing.T) {
	b := newBench(t, nil)
	serial := serialOfInt(t, 1)
	b.log.issue(b.ca.ID(), serial)
	for range 2 {
		if got := b.status(t, serial); got.Status != reference.Good {
			t.Fatalf("status %d", got.Status)
		}
	}
	if b.log.lookups != 1 {
		t.Errorf("the ledger was asked %d times for a response that was kept", b.log.lookups)
	}
	b.log.revoke(t, b.ca.ID(), serial, certs.Superseded, b.clock.Now(), b.clock.Now().Add(time.Hour))
	if err := b.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := b.status(t, serial); got.Status != reference.Revoked {
		t.Errorf("status %d after the revocation was synced", got.Status)
	}
}

func TestOCSPResponsesAreKeptUntilDue(t *testing.T) {
	b := newBench(t, nil)
	serial := serialOfInt(t, 1)
	b.log.issue(b.ca.ID(), serial)
	produced := func() time.Time { return b.status(t, serial).ProducedAt }
	first := produced()
	b.clock.advance(29 * time.Minute)
	if err := b.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := produced(); !got.Equal(first) {
		t.Errorf("signed anew at %v though due at half of an hour", got)
	}
	b.clock.advance(time.Minute)
	if err := b.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	second := produced()
	if !second.Equal(b.clock.Now()) {
		t.Errorf("not signed anew when due: %v at %v", second, b.clock.Now())
	}
	b.clock.advance(time.Minute)
	if err := b.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.SetResponder(b.ca.ID(), b.ca.responder(t, testStart, testStart.Add(24*time.Hour)))
	if got := produced(); !got.After(second) {
		t.Error("a response of the responder before is still served")
	}
}

// Each CertID comes back as it was sent, several in their order, with the nonce.
func TestOCSPEchoes(t *testing.T) {
	b := newBench(t, nil)
	var ids []ocsp.CertID
	for i, hash := range ocsp.Hashes() {
		serial := serialOfInt(t, int64(i))
		b.log.issue(b.ca.ID(), serial)
		ids = append(ids, b.certID(t, hash, serial))
	}
	withoutNull := b.certID(t, crypto.SHA256, serialOfInt(t, 0))
	withoutNull.Raw = dropNull(t, withoutNull.Raw)
	ids = append(ids, withoutNull)
	for _, test := range []struct {
		length int
		echoed bool
	}{{0, false}, {1, true}, {16, true}, {32, true}, {33, false}, {128, false}} {
		var nonce []byte
		if test.length > 0 {
			nonce = bytes.Repeat([]byte{0xab}, test.length)
		}
		response := b.ask(marshal(t, nonce, ids...))
		rest := response
		for _, id := range ids {
			at := bytes.Index(rest, id.Raw)
			if at < 0 {
				t.Fatalf("CertID %x is not echoed in its place", id.Raw)
			}
			rest = rest[at+len(id.Raw):]
		}
		if echoed := test.length > 0 && bytes.Contains(rest, nonce); echoed != test.echoed {
			t.Errorf("nonce of %d octets: echoed %v, want %v", test.length, echoed, test.echoed)
		}
		for i := range ids {
			if got, err := reference.ParseResponseForCert(response, leafWith(serialOfInt(t, int64(i%4))), b.ca.cert); err != nil || got.Status != reference.Good {
				t.Errorf("certificate %d of %d: %+v, %v", i, len(ids), got, err)
			}
		}
	}
}

func TestOCSPFailures(t *testing.T) {
	known := serialOfInt(t, 1)
	foreign := newTestCA(t, "Foreign", testStart)
	foreignID, err := ocsp.NewCertID(foreign.cert, crypto.SHA1, known)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		prepare func(*bench)
		ids     func(*bench) []ocsp.CertID
		want    reference.ResponseStatus
	}{
		{"foreign issuer", nil, func(*bench) []ocsp.CertID { return []ocsp.CertID{foreignID} }, reference.Unauthorized},
		{"ledger cannot be read for the fold", func(b *bench) {
			b.log.fail(errors.New("disk I/O error"))
			_ = b.Sync(context.Background())
		}, nil, reference.TryLater},
		{"ledger cannot be asked", func(b *bench) { b.log.fail(errors.New("disk I/O error")) }, nil, reference.TryLater},
		{"ledger not looked at for long", func(b *bench) { b.clock.advance(31 * time.Second) }, nil, reference.TryLater},
		{"no responder", func(b *bench) { b.SetResponder(b.ca.ID(), nil) }, nil, reference.TryLater},
		{"responder expired", func(b *bench) { b.SetResponder(b.ca.ID(), b.ca.responder(t, testStart.Add(-time.Hour), testStart)) }, nil, reference.TryLater},
		{"responder not valid yet", func(b *bench) {
			b.SetResponder(b.ca.ID(), b.ca.responder(t, testStart.Add(time.Hour), testStart.Add(2*time.Hour)))
		}, nil, reference.TryLater},
		{"responder of another issuer", func(b *bench) {
			b.SetResponder(b.ca.ID(), foreign.responder(t, testStart, testStart.Add(time.Hour)))
		}, nil, reference.TryLater},
		{"responder with another issuer's signature", func(b *bench) {
			forged := newTestCA(t, "Example", testStart)
			forged.cert.SubjectKeyId = b.ca.cert.SubjectKeyId
			b.SetResponder(b.ca.ID(), forged.responder(t, testStart, testStart.Add(time.Hour)))
		}, nil, reference.TryLater},
		{"responder's key fails", func(b *bench) {
			responder := b.ca.responder(t, testStart, testStart.Add(time.Hour))
			responder.err = errNoKey
			b.SetResponder(b.ca.ID(), responder)
		}, nil, reference.InternalError},
	} {
		b := newBench(t, nil)
		b.log.issue(b.ca.ID(), known)
		ids := []ocsp.CertID{b.certID(t, crypto.SHA1, known)}
		if test.ids != nil {
			ids = test.ids(b)
		}
		if test.prepare != nil {
			test.prepare(b)
		}
		var failure reference.ResponseError
		if _, err := reference.ParseResponse(b.ask(marshal(t, nil, ids...)), nil); !errors.As(err, &failure) || failure.Status != test.want {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

// One response has one signature: beside a certificate of ours, a foreign one is unknown,
// also when it is another of our issuers, and also when it comes first.
func TestOCSPMixedIssuers(t *testing.T) {
	second := newTestCA(t, "Second", testStart)
	b := newBench(t, nil)
	b.Publisher = b.open(t, func(c *Config) { c.Issuers = append(c.Issuers, second) })
	b.SetResponder(b.ca.ID(), b.ca.responder(t, testStart, testStart.Add(time.Hour)))
	b.SetResponder(second.ID(), second.responder(t, testStart, testStart.Add(time.Hour)))
	ours, theirs, foreign := serialOfInt(t, 1), serialOfInt(t, 2), serialOfInt(t, 3)
	b.log.issue(b.ca.ID(), ours)
	b.log.issue(second.ID(), theirs)
	nobody := newTestCA(t, "Nobody", testStart)
	id := func(ca *testCA, serial certs.Serial) ocsp.CertID {
		id, err := ocsp.NewCertID(ca.cert, crypto.SHA256, serial)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	response := b.ask(marshal(t, nil, id(nobody, foreign), id(b.ca, ours), id(second, theirs)))
	for serial, want := range map[certs.Serial]int{ours: reference.Good, theirs: reference.Unknown, foreign: reference.Unknown} {
		if got, err := reference.ParseResponseForCert(response, leafWith(serial), b.ca.cert); err != nil || got.Status != want {
			t.Errorf("serial %s: %+v, %v, want %d", serial, got, err, want)
		}
	}
	// Its own issuer's responder knows it.
	response = b.ask(marshal(t, nil, id(second, theirs)))
	if got, err := reference.ParseResponseForCert(response, nil, second.cert); err != nil || got.Status != reference.Good {
		t.Errorf("%+v, %v", got, err)
	}
	// A serial that one issuer revoked is not revoked under the other.
	b.log.revoke(t, b.ca.ID(), ours, certs.KeyCompromise, b.clock.Now(), b.clock.Now().Add(time.Hour))
	if err := b.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got, err := reference.ParseResponseForCert(b.ask(marshal(t, nil, id(second, ours))), nil, second.cert); err != nil || got.Status != reference.Unknown {
		t.Errorf("the first issuer's serial under the second: %+v, %v", got, err)
	}
}

// A response never claims to be valid longer than its responder's certificate.
func TestOCSPEndsWithItsResponder(t *testing.T) {
	b := newBench(t, nil)
	serial := serialOfInt(t, 1)
	b.log.issue(b.ca.ID(), serial)
	end := testStart.Add(10 * time.Minute)
	b.SetResponder(b.ca.ID(), b.ca.responder(t, testStart, end))
	if got := b.status(t, serial); !got.NextUpdate.Equal(end) {
		t.Errorf("nextUpdate %v, the responder's certificate ends at %v", got.NextUpdate, end)
	}
}
