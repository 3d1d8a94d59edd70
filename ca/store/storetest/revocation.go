package storetest

import (
	"errors"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation"
)

func (s *suite) entries() []revocation.Entry {
	s.Helper()
	entries, err := s.ledger.Entries(s.ctx, 0, 10_000)
	s.must(err)
	return entries
}

func (s *suite) publish(issuer string, at time.Time) uint64 {
	s.Helper()
	sequence, err := s.ledger.AppendPublished(s.ctx, issuer, at)
	s.must(err)
	return sequence
}

func (s *suite) revokeSerial() {
	c := s.issue("a")
	outcome := s.revoke(ca.RevokeSelection{Serial: c.Serial}, start)
	if len(outcome.Revoked) != 1 || outcome.Total != 1 || len(outcome.Already) != 0 || !same(outcome.Revoked[0], c) {
		s.Fatalf("outcome = %+v, want %s revoked", outcome, c.Serial)
	}
	want := revocation.Entry{
		Sequence: outcome.Sequence, Kind: revocation.Revoked, Issuer: issuerA, Serial: c.Serial,
		Reason: certs.KeyCompromise, At: start, NotAfter: c.NotAfter,
	}
	if entries := s.entries(); len(entries) != 1 || entries[0] != want {
		s.Errorf("log = %+v, want %+v", entries, want)
	}
	got, err := s.ledger.Certificate(s.ctx, c.Serial)
	s.must(err)
	if got.Revocation == nil || *got.Revocation != want || *outcome.Revoked[0].Revocation != want {
		s.Errorf("row = %+v, outcome %+v, want %+v", got.Revocation, outcome.Revoked[0].Revocation, want)
	}

	// A second time, with another reason, changes nothing.
	outcome, err = s.ledger.Revoke(s.ctx, ca.RevokeSelection{Serial: c.Serial}, certs.Superseded, start.Add(time.Minute), "other", false)
	s.must(err)
	if outcome.Total != 0 || len(outcome.Already) != 1 || *outcome.Already[0].Revocation != want || outcome.Sequence != want.Sequence {
		s.Errorf("again: %+v, want it among Already, unchanged", outcome)
	}
	if n := len(s.entries()); n != 1 {
		s.Errorf("%d entries after the second time, want 1", n)
	}
	if _, err := s.ledger.Revoke(s.ctx, ca.RevokeSelection{Serial: Certificate("a").Serial}, certs.Unspecified, start, "x", false); !errors.Is(err, ca.ErrNotFound) {
		s.Errorf("unknown serial: %v, want ErrNotFound", err)
	}
	for _, bad := range []ca.RevokeSelection{{}, {Serial: c.Serial, Service: "a"}, {Service: "a", Operator: "a"}} {
		if _, err := s.ledger.Revoke(s.ctx, bad, certs.Unspecified, start, "x", false); err == nil {
			s.Errorf("selection %+v was accepted", bad)
		}
	}
}

func (s *suite) revokeUnknown() {
	lost := Certificate("a")
	outcome := s.revoke(ca.RevokeSelection{Serial: lost.Serial, Record: &lost}, start)
	if outcome.Total != 1 {
		s.Fatalf("outcome = %+v, want one", outcome)
	}
	got, err := s.ledger.Certificate(s.ctx, lost.Serial)
	s.must(err)
	if !same(got, lost) || got.Revocation == nil {
		s.Errorf("row = %+v, want it recorded and revoked", got)
	}
	other := Certificate("b")
	if _, err := s.ledger.Revoke(s.ctx, ca.RevokeSelection{Serial: Certificate("c").Serial, Record: &other}, certs.Unspecified, start, "x", false); err == nil {
		s.Error("another certificate than the selected one was recorded")
	}
	// What the ledger knows is not overwritten.
	known := s.issue("c")
	forged := Certificate("d")
	forged.Serial = known.Serial
	s.revoke(ca.RevokeSelection{Serial: known.Serial, Record: &forged}, start)
	if got, err := s.ledger.Certificate(s.ctx, known.Serial); err != nil || !same(got, known) {
		s.Errorf("row = %+v, %v; want the known one", got, err)
	}
}

func (s *suite) revokeService() {
	first := s.issue("a")
	second := s.issue("a")
	s.revoke(ca.RevokeSelection{Serial: first.Serial}, start)
	expired := Certificate("a")
	expired.NotAfter = start.Add(-2 * time.Hour)
	s.record(expired)
	inGrace := Certificate("a")
	inGrace.NotAfter = start.Add(-time.Hour)
	s.record(inGrace)
	sibling := s.issue("a/b")
	person := Certificate("handfast/operator/a")
	person.Kind, person.Name = ca.KindOperator, "a"
	s.record(person)

	outcome := s.revoke(ca.RevokeSelection{Service: "a", ExpiresAfter: start.Add(-time.Hour)}, start)
	s.equalSerials("revoked", serialsOf(outcome.Revoked), serialsOf([]ca.Certificate{second, inGrace}))
	s.equalSerials("already", serialsOf(outcome.Already), serialsOf([]ca.Certificate{first}))
	entries := s.entries()
	if outcome.Total != 2 || outcome.Sequence != entries[len(entries)-1].Sequence {
		s.Errorf("total %d, sequence %d; want 2 and the last entry's", outcome.Total, outcome.Sequence)
	}
	for _, untouched := range []ca.Certificate{sibling, person, expired} {
		if got, err := s.ledger.Certificate(s.ctx, untouched.Serial); err != nil || got.Revocation != nil {
			s.Errorf("%s was revoked too, or %v", untouched.ID, err)
		}
	}
	outcome = s.revoke(ca.RevokeSelection{Operator: "a", ExpiresAfter: start}, start)
	s.equalSerials("operator", serialsOf(outcome.Revoked), serialsOf([]ca.Certificate{person}))
	outcome = s.revoke(ca.RevokeSelection{Service: "nobody", ExpiresAfter: start}, start)
	if outcome.Total != 0 || len(outcome.Already) != 0 || outcome.Sequence != 0 {
		s.Errorf("a service without certificates: %+v, want an empty outcome", outcome)
	}
}

func (s *suite) revokeMany() {
	errs := race(ca.MaxOutcome+10, func(int) error {
		_, _, err := s.ledger.RecordIssuance(s.ctx, ca.Issuance{Certificate: Certificate("a")})
		return err
	})
	s.must(errors.Join(errs...))
	outcome := s.revoke(ca.RevokeSelection{Service: "a", ExpiresAfter: start}, start)
	if outcome.Total != ca.MaxOutcome+10 || len(outcome.Revoked) != ca.MaxOutcome {
		s.Errorf("total %d, listed %d; want %d and %d", outcome.Total, len(outcome.Revoked), ca.MaxOutcome+10, ca.MaxOutcome)
	}
	entries := s.entries()
	if len(entries) != ca.MaxOutcome+10 || entries[len(entries)-1].Sequence != outcome.Sequence {
		s.Errorf("%d entries, sequence %d; want all of them and the last", len(entries), outcome.Sequence)
	}
}

func (s *suite) revokeDryRun() {
	c := s.issue("a")
	lost := Certificate("b")
	for _, selection := range []ca.RevokeSelection{
		{Serial: c.Serial}, {Service: "a", ExpiresAfter: start}, {Serial: lost.Serial, Record: &lost},
	} {
		outcome, err := s.ledger.Revoke(s.ctx, selection, certs.KeyCompromise, start, "x", true)
		s.must(err)
		if outcome.Total != 1 || len(outcome.Revoked) != 1 || outcome.Revoked[0].Revocation != nil || outcome.Sequence != 0 {
			s.Errorf("%+v: outcome = %+v, want what would be revoked, not revoked", selection, outcome)
		}
	}
	if n := len(s.entries()); n != 0 {
		s.Errorf("a dry run left %d entries", n)
	}
	if _, err := s.ledger.Certificate(s.ctx, lost.Serial); !errors.Is(err, ca.ErrNotFound) {
		s.Errorf("a dry run recorded a certificate: %v", err)
	}
}

func (s *suite) logOrder() {
	if entries, err := s.ledger.Entries(s.ctx, 0, 10); err != nil || len(entries) != 0 {
		s.Fatalf("fresh log: %v, %v", entries, err)
	}
	c := s.issue("a")
	first := s.publish(issuerA, start)
	s.revoke(ca.RevokeSelection{Serial: c.Serial}, start.Add(time.Second))
	third := s.publish(issuerB, start.Add(2*time.Second))
	entries := s.entries()
	if len(entries) != 3 || first < 1 || entries[0].Sequence != first || entries[2].Sequence != third ||
		entries[1].Sequence <= first || third <= entries[1].Sequence {
		s.Fatalf("log = %+v, want three entries with rising numbers", entries)
	}
	want := revocation.Entry{Sequence: third, Kind: revocation.Published, Issuer: issuerB, At: start.Add(2 * time.Second)}
	if entries[2] != want {
		s.Errorf("published entry = %+v, want %+v", entries[2], want)
	}
	after, err := s.ledger.Entries(s.ctx, entries[0].Sequence, 1)
	s.must(err)
	if len(after) != 1 || after[0] != entries[1] {
		s.Errorf("after the first, at most one: %+v, want the second", after)
	}
}

// logRace follows the log while others append: no entry may appear behind one that was
// read already, or the reader would miss it for ever.
func (s *suite) logRace() {
	done, followed := make(chan struct{}), make(chan []uint64)
	go func() {
		var seen []uint64
		last := uint64(0)
		for final := false; ; {
			entries, err := s.ledger.Entries(s.ctx, last, 7)
			if err != nil {
				s.Error(err)
				break
			}
			for _, e := range entries {
				seen, last = append(seen, e.Sequence), e.Sequence
			}
			if len(entries) == 0 && final {
				break
			}
			select {
			case <-done:
				final = true
			default:
			}
		}
		followed <- seen
	}()
	errs := race(60, func(i int) error {
		if i%2 == 0 {
			_, err := s.ledger.AppendPublished(s.ctx, issuerA, start)
			return err
		}
		c := Certificate("a")
		if _, _, err := s.ledger.RecordIssuance(s.ctx, ca.Issuance{Certificate: c}); err != nil {
			return err
		}
		_, err := s.ledger.Revoke(s.ctx, ca.RevokeSelection{Serial: c.Serial}, certs.Superseded, start, "x", false)
		return err
	})
	close(done)
	seen := <-followed
	s.must(errors.Join(errs...))
	if all := s.entries(); len(seen) != len(all) || len(all) != 60 {
		s.Errorf("the follower saw %d of %d entries, want 60", len(seen), len(all))
	}
}

func (s *suite) issued() {
	c := s.issue("a")
	for _, test := range []struct {
		issuer string
		serial certs.Serial
		want   bool
	}{{issuerA, c.Serial, true}, {issuerB, c.Serial, false}, {issuerA, Certificate("a").Serial, false}} {
		if got, err := s.ledger.Issued(s.ctx, test.issuer, test.serial); err != nil || got != test.want {
			s.Errorf("Issued(%s, %s) = %v, %v; want %v", test.issuer, test.serial, got, err, test.want)
		}
	}
}
