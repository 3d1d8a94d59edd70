package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/certs"
)

func (s *suite) issuanceRoundTrip() {
	want := Certificate("shop/cart")
	want.By = want.ID.String()
	got := s.record(want)
	if !same(got, want) {
		s.Errorf("RecordIssuance returned %+v, want %+v", got, want)
	}
	got, err := s.ledger.Certificate(s.ctx, want.Serial)
	s.must(err)
	if !same(got, want) || got.Revocation != nil {
		s.Errorf("Certificate returned %+v, want %+v", got, want)
	}
	reserved := Certificate("x")
	reserved.Kind, reserved.Name, reserved.ID = ca.KindOCSP, "ocsp", certs.ID{}
	s.record(reserved)
	got, err = s.ledger.Certificate(s.ctx, reserved.Serial)
	s.must(err)
	if !same(got, reserved) {
		s.Errorf("without an identity: got %+v, want %+v", got, reserved)
	}
	if _, err := s.ledger.Certificate(s.ctx, Certificate("x").Serial); !errors.Is(err, ca.ErrNotFound) {
		s.Errorf("unknown serial: %v, want ErrNotFound", err)
	}
}

func (s *suite) serialIsUnique() {
	first := s.issue("a")
	second := Certificate("b")
	second.Serial, second.Issuer = first.Serial, issuerB
	if _, _, err := s.ledger.RecordIssuance(s.ctx, ca.Issuance{Certificate: second}); !errors.Is(err, ca.ErrSerialExists) {
		s.Errorf("same serial: %v, want ErrSerialExists", err)
	}
	got, err := s.ledger.Certificate(s.ctx, first.Serial)
	s.must(err)
	if !same(got, first) {
		s.Error("the first certificate was changed")
	}
	contested := Certificate("c")
	won := 0
	for _, err := range race(32, func(i int) error {
		c := Certificate(fmt.Sprintf("racer-%d", i))
		c.Serial = contested.Serial
		_, _, err := s.ledger.RecordIssuance(s.ctx, ca.Issuance{Certificate: c})
		return err
	}) {
		if err == nil {
			won++
		} else if !errors.Is(err, ca.ErrSerialExists) {
			s.Errorf("loser: %v, want ErrSerialExists", err)
		}
	}
	if won != 1 {
		s.Errorf("%d racers got the serial, want 1", won)
	}
}

func (s *suite) oneTimeOnce() {
	const racers = 100
	won := 0
	for _, err := range race(racers, func(i int) error {
		_, _, err := s.ledger.RecordIssuance(s.ctx, ca.Issuance{Certificate: Certificate("a"), OneTime: oneTime("token:t")})
		return err
	}) {
		if err == nil {
			won++
		} else if !errors.Is(err, ca.ErrTokenUsed) {
			s.Errorf("loser: %v, want ErrTokenUsed", err)
		}
	}
	if n := len(s.serials(ca.CertificateQuery{})); won != 1 || n != 1 {
		s.Errorf("%d racers won and %d certificates were recorded, want 1 and 1", won, n)
	}
	_, _, err := s.ledger.RecordIssuance(s.ctx, ca.Issuance{Certificate: Certificate("a"), OneTime: oneTime("token:u")})
	s.must(err)
}

func (s *suite) failedIssuanceUsesNothing() {
	taken := s.issue("a")
	c := Certificate("b")
	c.Serial = taken.Serial
	_, _, err := s.ledger.RecordIssuance(s.ctx, ca.Issuance{Certificate: c, OneTime: oneTime("token:t"), Idempotency: key("k", "r")})
	if !errors.Is(err, ca.ErrSerialExists) {
		s.Fatalf("same serial: %v, want ErrSerialExists", err)
	}
	_, replayed, err := s.ledger.RecordIssuance(s.ctx, ca.Issuance{Certificate: Certificate("b"), OneTime: oneTime("token:t"), Idempotency: key("k", "r")})
	if err != nil || replayed {
		s.Errorf("after a failure the token and the key must be unused: replayed %v, %v", replayed, err)
	}
}

func (s *suite) idempotency() {
	if _, err := s.ledger.Replay(s.ctx, "k", key("k", "r").Digest); !errors.Is(err, ca.ErrNotFound) {
		s.Errorf("Replay of a new key: %v, want ErrNotFound", err)
	}
	first := Certificate("a")
	_, _, err := s.ledger.RecordIssuance(s.ctx, ca.Issuance{Certificate: first, OneTime: oneTime("token:t"), Idempotency: key("k", "r")})
	s.must(err)
	// The token is used up, and still the repetition is answered: it is the same request.
	again := ca.Issuance{Certificate: Certificate("a"), OneTime: oneTime("token:t"), Idempotency: key("k", "r")}
	got, replayed, err := s.ledger.RecordIssuance(s.ctx, again)
	if err != nil || !replayed || !same(got, first) {
		s.Errorf("repetition: serial %s, replayed %v, %v; want the first one", got.Serial, replayed, err)
	}
	if _, err := s.ledger.Certificate(s.ctx, again.Certificate.Serial); !errors.Is(err, ca.ErrNotFound) {
		s.Errorf("the repetition was recorded too: %v", err)
	}
	got, err = s.ledger.Replay(s.ctx, "k", key("k", "r").Digest)
	if err != nil || !same(got, first) {
		s.Errorf("Replay: serial %s, %v; want the first one", got.Serial, err)
	}
	if _, err = s.ledger.Replay(s.ctx, "k", key("k", "other").Digest); !errors.Is(err, ca.ErrKeyReused) {
		s.Errorf("Replay with another digest: %v, want ErrKeyReused", err)
	}
	_, _, err = s.ledger.RecordIssuance(s.ctx, ca.Issuance{Certificate: Certificate("a"), Idempotency: key("k", "other")})
	if !errors.Is(err, ca.ErrKeyReused) {
		s.Errorf("RecordIssuance with another digest: %v, want ErrKeyReused", err)
	}
	s.revoke(ca.RevokeSelection{Serial: first.Serial}, start)
	got, err = s.ledger.Replay(s.ctx, "k", key("k", "r").Digest)
	if err != nil || got.Revocation == nil {
		s.Errorf("Replay hides that the certificate was revoked: %v, %v", got.Revocation, err)
	}
}

func (s *suite) idempotencyRace() {
	serials := make(chan certs.Serial, 50)
	for _, err := range race(50, func(int) error {
		got, _, err := s.ledger.RecordIssuance(s.ctx, ca.Issuance{Certificate: Certificate("a"), OneTime: oneTime("token:t"), Idempotency: key("k", "r")})
		serials <- got.Serial
		return err
	}) {
		s.must(err)
	}
	first := <-serials
	for range 49 {
		if serial := <-serials; serial != first {
			s.Fatalf("one key led to two certificates: %s and %s", first, serial)
		}
	}
}

func (s *suite) guard() {
	asking := s.issue("a")
	stored := s.put("a")
	s.must(s.ledger.AddOperator(s.ctx, operator("root", "admin")))
	good := ca.Guard{Serial: asking.Serial, Service: "a", ServiceVersion: stored.Version, Operator: "root"}
	try := func(what string, guard ca.Guard, want error) {
		s.Helper()
		_, _, err := s.ledger.RecordIssuance(s.ctx, ca.Issuance{Certificate: Certificate("a"), OneTime: oneTime(what), Guard: guard})
		if !errors.Is(err, want) {
			s.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	try("all hold", good, nil)
	bad := good
	bad.Serial = Certificate("a").Serial
	try("unknown serial", bad, ca.ErrNotFound)
	bad = good
	bad.Service = "b"
	try("unregistered service", bad, ca.ErrConflict)
	bad = good
	bad.ServiceVersion++
	try("another version", bad, ca.ErrConflict)
	bad = good
	bad.Operator = "nobody"
	try("unregistered operator", bad, ca.ErrConflict)
	s.revoke(ca.RevokeSelection{Serial: asking.Serial}, start)
	try("revoked", good, ca.ErrRevoked)
	good.Serial = certs.Serial{}
	try("revoked", good, nil) // the refusal before did not use the id up
}

// guardRace revokes a service while its certificates renew: whatever order the ledger
// chose, nothing may be left alive that was renewed from what is revoked.
func (s *suite) guardRace() {
	asking := s.issue("a")
	errs := race(40, func(i int) error {
		if i == 20 {
			_, err := s.ledger.Revoke(s.ctx, ca.RevokeSelection{Service: "a", ExpiresAfter: start}, certs.KeyCompromise, start, "x", false)
			return err
		}
		_, _, err := s.ledger.RecordIssuance(s.ctx, ca.Issuance{Certificate: Certificate("a"), Guard: ca.Guard{Serial: asking.Serial}})
		if errors.Is(err, ca.ErrRevoked) {
			return nil
		}
		return err
	})
	s.must(errors.Join(errs...))
	if alive := s.serials(ca.CertificateQuery{Status: ca.StatusValid}); len(alive) != 0 {
		s.Errorf("%d certificates survived the revocation of their service", len(alive))
	}
}

func (s *suite) probe() {
	s.must(s.ledger.Probe(s.ctx))
	s.must(s.ledger.Probe(s.ctx))
}

func (s *suite) endedContext() {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	c := Certificate("a")
	if _, _, err := s.ledger.RecordIssuance(ctx, ca.Issuance{Certificate: c}); !errors.Is(err, context.Canceled) {
		s.Errorf("RecordIssuance: %v, want context.Canceled", err)
	}
	if _, err := s.ledger.Certificate(ctx, c.Serial); err == nil || errors.Is(err, ca.ErrNotFound) {
		s.Errorf("Certificate: %v, want the context's error", err)
	}
	if _, err := s.ledger.Service(ctx, "a"); err == nil || errors.Is(err, ca.ErrNotFound) {
		s.Errorf("Service: %v, want the context's error", err)
	}
	// Others go on.
	ctx, cancel = context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	_, _, err := s.ledger.RecordIssuance(ctx, ca.Issuance{Certificate: c})
	s.must(err)
}
