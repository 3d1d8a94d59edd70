package storetest

import (
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation"
)

// revokeIssuer revokes the certificate of an issuing CA, which the ledger records with it.
func (s *suite) revokeIssuer() {
	row := Certificate("a")
	row.Kind, row.Name, row.ID, row.Profile, row.Issuer = ca.KindIssuer, issuerA, certs.ID{}, "", issuerB
	row.NotAfter = start.Add(1000 * time.Hour)
	selection := ca.RevokeSelection{Serial: row.Serial, Record: &row}
	if outcome, err := s.ledger.Revoke(s.ctx, selection, certs.CACompromise, start, "x", true); err != nil || outcome.Total != 1 || len(s.entries()) != 0 {
		s.Fatalf("dry run: %+v, %v, %d entries", outcome, err, len(s.entries()))
	}
	outcome, err := s.ledger.Revoke(s.ctx, selection, certs.CACompromise, start, "x", false)
	s.must(err)
	want := revocation.Entry{
		Sequence: outcome.Sequence, Kind: revocation.Revoked, Issuer: issuerB, Serial: row.Serial,
		Reason: certs.CACompromise, At: start, NotAfter: row.NotAfter,
	}
	if entries := s.entries(); len(entries) != 1 || entries[0] != want {
		s.Errorf("log = %+v, want %+v", entries, want)
	}
	got, err := s.ledger.Certificate(s.ctx, row.Serial)
	if err != nil || !same(got, row) || got.Revocation == nil {
		s.Errorf("row = %+v, %v", got, err)
	}
	again, err := s.ledger.Revoke(s.ctx, selection, certs.Superseded, end, "x", false)
	if err != nil || again.Total != 0 || len(again.Already) != 1 || again.Sequence != outcome.Sequence {
		s.Errorf("again: %+v, %v", again, err)
	}
}

// signed counts what an issuer's revocation takes away.
func (s *suite) signed() {
	other := Certificate("a")
	other.Issuer = issuerB
	s.record(other)
	old := Certificate("a")
	old.NotAfter = start.Add(-2 * time.Hour)
	s.record(old)
	inGrace := Certificate("a")
	inGrace.NotAfter = start.Add(-time.Hour)
	s.record(inGrace)
	s.issue("a")
	revoked, held, released := s.issue("a"), s.issue("b"), s.issue("b")
	s.revoke(ca.RevokeSelection{Serial: revoked.Serial}, start)
	for _, step := range []struct {
		c      ca.Certificate
		reason certs.Reason
	}{{held, certs.CertificateHold}, {released, certs.CertificateHold}, {released, certs.RemoveFromCRL}} {
		_, err := s.ledger.Revoke(s.ctx, ca.RevokeSelection{Serial: step.c.Serial}, step.reason, start, "x", false)
		s.must(err)
	}
	for issuer, want := range map[string]int{issuerA: 3, issuerB: 1, "abcdef": 0} {
		if got, err := s.ledger.Signed(s.ctx, issuer, start.Add(-time.Hour)); err != nil || got != want {
			s.Errorf("%s signed %d, %v; want %d", issuer, got, err, want)
		}
	}
	if _, err := s.ledger.Signed(s.ctx, "no hexadecimal", start); err == nil {
		s.Error("an issuer that is no key id was accepted")
	}
}
