package storetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"math/big"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation"
)

const hold, release = certs.CertificateHold, certs.RemoveFromCRL

func (s *suite) deed(selection ca.RevokeSelection, reason certs.Reason, at time.Time) ca.RevokeOutcome {
	s.Helper()
	outcome, err := s.ledger.Revoke(s.ctx, selection, reason, at, "someone", false)
	s.must(err)
	return outcome
}

// state reads a row's revocation and checks that the log's last entry says the same.
func (s *suite) state(serial certs.Serial) *revocation.Entry {
	s.Helper()
	row, err := s.ledger.Certificate(s.ctx, serial)
	s.must(err)
	var last *revocation.Entry
	for _, e := range s.entries() {
		if e.Serial == serial {
			last = &e
		}
	}
	if last != nil && last.Kind == revocation.Released {
		last = nil
	}
	if (last == nil) != (row.Revocation == nil) || last != nil && *last != *row.Revocation {
		s.Fatalf("row = %+v, the log's last entry %+v", row.Revocation, last)
	}
	return row.Revocation
}

// holds goes through every order of hold, release and revocation of one certificate.
func (s *suite) holds() {
	c := s.issue("a")
	one := ca.RevokeSelection{Serial: c.Serial}
	at := start
	for i, step := range []struct {
		reason certs.Reason
		err    error
		total  int             // changed; else Already
		reads  revocation.Kind // afterwards, 0 for trusted
	}{
		{release, ca.ErrNotHeld, 0, 0},
		{hold, nil, 1, revocation.Held},
		{hold, nil, 0, revocation.Held},
		{release, nil, 1, 0},
		{release, nil, 0, 0},
		{hold, nil, 1, revocation.Held},
		{certs.Superseded, nil, 1, revocation.Revoked},
		{certs.KeyCompromise, nil, 0, revocation.Revoked},
		{hold, ca.ErrRevoked, 0, revocation.Revoked},
		{release, ca.ErrRevoked, 0, revocation.Revoked},
	} {
		at = at.Add(time.Second)
		before := len(s.entries())
		rehearsal, rehearsed := s.ledger.Revoke(s.ctx, one, step.reason, at, "x", true)
		outcome, err := s.ledger.Revoke(s.ctx, one, step.reason, at, "x", false)
		if !errors.Is(err, step.err) || !errors.Is(rehearsed, step.err) {
			s.Fatalf("step %d: %v, rehearsed %v, want %v", i, err, rehearsed, step.err)
		}
		if after := len(s.entries()); after != before+step.total {
			s.Fatalf("step %d: %d entries after %d", i, after, before)
		}
		if err == nil && (outcome.Total != step.total || len(outcome.Already) != 1-step.total || rehearsal.Total != step.total) {
			s.Fatalf("step %d: %+v, rehearsed %+v", i, outcome, rehearsal)
		}
		if err == nil && outcome.Sequence != s.entries()[len(s.entries())-1].Sequence {
			s.Errorf("step %d: sequence %d is not the last entry's", i, outcome.Sequence)
		}
		state := s.state(c.Serial)
		if (state == nil) != (step.reads == 0) || state != nil && state.Kind != step.reads {
			s.Fatalf("step %d leaves %+v, want kind %d", i, state, step.reads)
		}
		if step.total == 1 && state != nil && (state.Reason != step.reason || !state.At.Equal(at)) {
			s.Errorf("step %d leaves %+v, want reason %s at %s", i, state, step.reason, at)
		}
		s.countsOf(c, state)
	}
}

// countsOf sees that counts and listings put the only certificate where its state says.
func (s *suite) countsOf(c ca.Certificate, state *revocation.Entry) {
	s.Helper()
	status, want := ca.StatusValid, ca.Counts{Live: 1}
	switch {
	case state == nil:
	case state.Kind == revocation.Held:
		status, want = ca.StatusHeld, ca.Counts{Held: 1}
	default:
		status, want = ca.StatusRevoked, ca.Counts{Revoked: 1}
	}
	if got, err := s.ledger.Counts(s.ctx, start); err != nil || got != want {
		s.Errorf("Counts = %+v, %v; want %+v", got, err, want)
	}
	for _, listed := range []string{ca.StatusValid, ca.StatusExpired, ca.StatusRevoked, ca.StatusHeld} {
		got := s.serials(ca.CertificateQuery{Status: listed})
		if (len(got) == 1 && got[0] == c.Serial) != (listed == status) {
			s.Errorf("listed as %s: %s; its status is %s", listed, short(got), status)
		}
	}
}

// holdService holds and releases several; what is revoked for good stays so.
func (s *suite) holdService() {
	first, second, revoked := s.issue("a"), s.issue("a"), s.issue("a")
	s.deed(ca.RevokeSelection{Serial: revoked.Serial}, certs.Superseded, start)
	sibling := s.issue("a/b")
	service := ca.RevokeSelection{Service: "a", ExpiresAfter: start}
	outcome := s.deed(service, release, start)
	s.equalSerials("released though nothing was held", serialsOf(outcome.Revoked), nil)
	outcome = s.deed(service, hold, start)
	s.equalSerials("held", serialsOf(outcome.Revoked), serialsOf([]ca.Certificate{first, second}))
	s.equalSerials("not held", serialsOf(outcome.Already), serialsOf([]ca.Certificate{revoked}))
	late := s.issue("a")
	s.deed(ca.RevokeSelection{Serial: second.Serial}, certs.KeyCompromise, start)
	outcome = s.deed(service, release, start)
	s.equalSerials("released", serialsOf(outcome.Revoked), serialsOf([]ca.Certificate{first}))
	s.equalSerials("not released", serialsOf(outcome.Already), serialsOf([]ca.Certificate{second}))
	for _, c := range []ca.Certificate{first, late, sibling} {
		if state := s.state(c.Serial); state != nil {
			s.Errorf("%s is refused: %+v", c.ID, state)
		}
	}
	outcome = s.deed(service, certs.Superseded, start)
	s.equalSerials("revoked", serialsOf(outcome.Revoked), serialsOf([]ca.Certificate{first, late}))
}

// cutOff catches what was issued before a time, and within the grace what has expired.
func (s *suite) cutOff() {
	issue := func(service string, issued, expires time.Time) ca.Certificate {
		c := Certificate(service)
		c.IssuedAt, c.NotAfter = issued, expires
		return s.record(c)
	}
	old, other := issue("a", start.Add(-time.Second), end), issue("b", start.Add(-time.Minute), end)
	inGrace := issue("a", start.Add(-time.Hour), start.Add(-time.Minute))
	forgotten := issue("a", start.Add(-9*time.Hour), start.Add(-time.Hour))
	atCutOff := issue("a", start, end)
	person := Certificate("handfast/operator/a")
	person.Kind, person.Name, person.IssuedAt = ca.KindOperator, "a", start.Add(-time.Hour)
	s.record(person)

	grace := start.Add(-10 * time.Minute)
	outcome := s.deed(ca.RevokeSelection{Service: "a", IssuedBefore: start, ExpiresAfter: grace}, hold, start)
	s.equalSerials("of the service", serialsOf(outcome.Revoked), serialsOf([]ca.Certificate{old, inGrace}))
	outcome = s.deed(ca.RevokeSelection{AllServices: true, IssuedBefore: start, ExpiresAfter: grace}, certs.Superseded, start)
	s.equalSerials("of all services", serialsOf(outcome.Revoked), serialsOf([]ca.Certificate{old, other, inGrace}))
	outcome = s.deed(ca.RevokeSelection{Operator: "a", IssuedBefore: start, ExpiresAfter: grace}, certs.Superseded, start)
	s.equalSerials("of the operator", serialsOf(outcome.Revoked), serialsOf([]ca.Certificate{person}))
	for _, c := range []ca.Certificate{forgotten, atCutOff} {
		if state := s.state(c.Serial); state != nil {
			s.Errorf("caught too: %+v", state)
		}
	}
	for _, bad := range []ca.RevokeSelection{{AllServices: true, Service: "a"}, {AllServices: true, Serial: old.Serial}} {
		if _, err := s.ledger.Revoke(s.ctx, bad, certs.Superseded, start, "x", false); err == nil {
			s.Errorf("selection %+v was accepted", bad)
		}
	}
}

// guardHeld is guard and guardRace for what is on hold.
func (s *suite) guardHeld() {
	asking := s.issue("a")
	one := ca.RevokeSelection{Serial: asking.Serial}
	renew := func() error {
		_, _, err := s.ledger.RecordIssuance(s.ctx, ca.Issuance{Certificate: Certificate("a"), Guard: ca.Guard{Serial: asking.Serial}})
		return err
	}
	s.deed(one, hold, start)
	if err := renew(); !errors.Is(err, ca.ErrHeld) {
		s.Errorf("renewed while on hold: %v, want ErrHeld", err)
	}
	s.deed(one, release, start)
	s.must(renew())
	errs := race(40, func(i int) error {
		if i == 20 {
			_, err := s.ledger.Revoke(s.ctx, ca.RevokeSelection{Service: "a", ExpiresAfter: start}, hold, start, "x", false)
			return err
		}
		if err := renew(); !errors.Is(err, ca.ErrHeld) {
			return err
		}
		return nil
	})
	s.must(errors.Join(errs...))
	if alive := s.serials(ca.CertificateQuery{Status: ca.StatusValid}); len(alive) != 0 {
		s.Errorf("%d certificates survived the hold of their service", len(alive))
	}
}

// holdRace holds, releases and revokes one certificate at once: the log stays a sequence
// of states that may follow each other, and a revocation ends it.
func (s *suite) holdRace() {
	c := s.issue("a")
	errs := race(60, func(i int) error {
		reason := []certs.Reason{hold, release, hold, release}[i%4]
		if i == 45 {
			reason = certs.Superseded
		}
		_, err := s.ledger.Revoke(s.ctx, ca.RevokeSelection{Serial: c.Serial}, reason, start, "x", false)
		if errors.Is(err, ca.ErrRevoked) || errors.Is(err, ca.ErrNotHeld) {
			return nil
		}
		return err
	})
	s.must(errors.Join(errs...))
	last := revocation.Released
	for _, e := range s.entries() {
		if last == revocation.Revoked || e.Kind == last {
			s.Fatalf("entry %d of kind %d after kind %d", e.Sequence, e.Kind, last)
		}
		last = e.Kind
	}
	if state := s.state(c.Serial); state == nil || state.Kind != revocation.Revoked {
		s.Errorf("in the end: %+v, want it revoked", state)
	}
}

// compromisedKey never lets a key come back that was revoked for keyCompromise.
func (s *suite) compromisedKey() {
	real := func() (ca.Certificate, [32]byte) {
		c := Certificate("a")
		c.DER = selfSigned(s)
		digest, ok := ca.KeyDigest(c.DER)
		if !ok {
			s.Fatal("KeyDigest takes no certificate")
		}
		return s.record(c), digest
	}
	use := func(digest [32]byte) error {
		_, _, err := s.ledger.RecordIssuance(s.ctx, ca.Issuance{Certificate: Certificate("b"), OneTime: oneTime("token:t"), Guard: ca.Guard{Key: digest}})
		return err
	}
	stolen, key := real()
	dull, dullKey := real()
	_, err := s.ledger.Revoke(s.ctx, ca.RevokeSelection{Serial: stolen.Serial}, certs.KeyCompromise, start, "x", true)
	s.must(err)
	s.deed(ca.RevokeSelection{Serial: stolen.Serial}, hold, start)
	s.deed(ca.RevokeSelection{Serial: dull.Serial}, certs.Superseded, start)
	for _, digest := range [][32]byte{key, dullKey} { // neither a dry run nor another reason says so
		_, _, err = s.ledger.RecordIssuance(s.ctx, ca.Issuance{Certificate: Certificate("b"), Guard: ca.Guard{Key: digest}})
		s.must(err)
	}
	s.revoke(ca.RevokeSelection{Serial: stolen.Serial}, start) // for keyCompromise
	s.revoke(ca.RevokeSelection{Serial: dull.Serial}, start)   // stays superseded, but the key is known now
	for i, digest := range [][32]byte{key, dullKey} {
		if err := use(digest); !errors.Is(err, ca.ErrKeyCompromised) {
			s.Errorf("key %d came back: %v, want ErrKeyCompromised", i, err)
		}
	}
	for s.publish(issuerA, end.Add(time.Hour)); s.purge(end.Add(1000*time.Hour), 100) > 0; {
	}
	if err := use(key); !errors.Is(err, ca.ErrKeyCompromised) {
		s.Errorf("after a purge the key came back: %v", err)
	}
	_, other := real()
	s.must(use(other)) // the refusals used no token up
}

func selfSigned(s *suite) []byte {
	s.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.must(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: start, NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	s.must(err)
	return der
}
