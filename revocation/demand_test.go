package revocation

import (
	"crypto"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
	"time"

	reference "golang.org/x/crypto/ocsp"
)

// slowResponder signs when it is let to.
type slowResponder struct {
	*testResponder
	entered, leave chan struct{}
}

func (r *slowResponder) SignResponse(tbs []byte) ([]byte, error) {
	r.entered <- struct{}{}
	<-r.leave
	return r.testResponder.SignResponse(tbs)
}

// When as many responses are being made as may be, who asks for one more is told to try
// later, at once; what is kept is still answered.
func TestOCSPOverloadedTriesLater(t *testing.T) {
	const slots = 3
	b := newBench(t, func(c *Config) { c.OCSPSigning = slots })
	kept := serialOfInt(t, 100)
	b.log.issue(b.ca.ID(), kept)
	slow := &slowResponder{b.ca.responder(t, testStart, testStart.Add(time.Hour)), make(chan struct{}), make(chan struct{})}
	b.SetResponder(b.ca.ID(), slow)
	ask := func(n int64) chan []byte {
		answer, serial := make(chan []byte, 1), serialOfInt(t, n)
		b.log.issue(b.ca.ID(), serial)
		request := marshal(t, nil, b.certID(t, crypto.SHA1, serial))
		go func() { answer <- b.ask(request) }()
		return answer
	}
	first := ask(100)
	<-slow.entered
	slow.leave <- struct{}{}
	<-first
	var waiting []chan []byte
	for n := range int64(slots) {
		waiting = append(waiting, ask(n))
		<-slow.entered
	}
	if _, err := reference.ParseResponse(<-ask(200), nil); !isFailure(err, reference.TryLater) {
		t.Errorf("with every slot taken: %v", err)
	}
	if got := b.status(t, kept); got.Status != reference.Good {
		t.Errorf("what is kept: %v", got.Status)
	}
	close(slow.leave)
	for _, answer := range waiting {
		if got, err := reference.ParseResponse(<-answer, nil); err != nil || got.Status != reference.Good {
			t.Errorf("in a slot: %v", err)
		}
	}
	again := ask(201)
	<-slow.entered
	if _, err := reference.ParseResponse(<-again, nil); err != nil {
		t.Errorf("after all are done: %v", err)
	}
}

// pass lets time pass while the log is looked at.
func (b *bench) pass(t *testing.T, d time.Duration) {
	t.Helper()
	b.clock.advance(d)
	if err := b.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func isFailure(err error, status reference.ResponseStatus) bool {
	failure, ok := errors.AsType[reference.ResponseError](err)
	return ok && failure.Status == status
}

// What is asked for often is signed ahead, once; everything else is kept until it is due.
func TestOCSPIsSignedAheadWhenAskedOften(t *testing.T) {
	b := newBench(t, nil)
	popular, rare := serialOfInt(t, 1), serialOfInt(t, 2)
	b.log.issue(b.ca.ID(), popular)
	b.log.issue(b.ca.ID(), rare)
	for range 2 * often {
		b.status(t, popular)
	}
	b.status(t, rare)
	b.pass(t, 26*time.Minute) // due after 30, ahead from 27 on
	if got := b.status(t, popular); !got.ThisUpdate.Equal(testStart) {
		t.Errorf("renewed at %v already", got.ThisUpdate)
	}
	b.pass(t, 2*time.Minute)
	if got := b.status(t, popular); !got.ThisUpdate.Equal(b.clock.Now()) {
		t.Errorf("asked for often, and still of %v at %v", got.ThisUpdate, b.clock.Now())
	}
	if got := b.status(t, rare); !got.ThisUpdate.Equal(testStart) {
		t.Errorf("asked for rarely, and renewed at %v", got.ThisUpdate)
	}
	b.pass(t, time.Minute)
	if got := b.status(t, popular); got.ThisUpdate.Equal(b.clock.Now()) {
		t.Error("signed ahead twice")
	}
}

// While the ledger or the key fails, what is asked for often stays answered until it is due.
func TestOCSPKeepsTheOldWhenSigningAheadFails(t *testing.T) {
	b := newBench(t, nil)
	serial := serialOfInt(t, 1)
	b.log.issue(b.ca.ID(), serial)
	for range 2 * often {
		b.status(t, serial)
	}
	b.pass(t, 28*time.Minute)
	b.log.fail(errors.New("disk I/O error"))
	for range 3 {
		if got := b.status(t, serial); !got.ThisUpdate.Equal(testStart) {
			t.Errorf("answered of %v", got.ThisUpdate)
		}
	}
}

// Parameters of the hash algorithm are echoed, whatever they are; but a client cannot fill
// the cache's memory with them.
func TestOCSPCacheTakesNoLongCertIDs(t *testing.T) {
	b := newBench(t, nil)
	serial := serialOfInt(t, 1)
	b.log.issue(b.ca.ID(), serial)
	var id struct {
		Algorithm pkix.AlgorithmIdentifier
		Name, Key []byte
		Serial    *big.Int
	}
	if _, err := asn1.Unmarshal(b.certID(t, crypto.SHA1, serial).Raw, &id); err != nil {
		t.Fatal(err)
	}
	long, err := asn1.Marshal(make([]byte, 4000))
	if err != nil {
		t.Fatal(err)
	}
	id.Algorithm.Parameters = asn1.RawValue{FullBytes: long}
	raw, err := asn1.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	certID := b.certID(t, crypto.SHA1, serial)
	certID.Raw = raw
	if got, err := reference.ParseResponse(b.ask(marshal(t, nil, certID)), nil); err != nil || got.Status != reference.Good {
		t.Errorf("with long parameters: %v", err)
	}
	if held := len(b.responder.cache.replies); held != 0 {
		t.Errorf("%d responses are kept", held)
	}
	longest := b.certID(t, crypto.SHA512, serial)
	b.ask(marshal(t, nil, longest))
	if held := len(b.responder.cache.replies); held != 1 {
		t.Errorf("a CertID of %d octets with the longest hashes is not kept", len(longest.Raw))
	}
}
