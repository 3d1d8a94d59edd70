package storetest

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation"
)

func (s *suite) purge(before time.Time, limit int) int {
	s.Helper()
	deleted, err := s.ledger.Purge(s.ctx, before, limit)
	s.must(err)
	if deleted > limit {
		s.Errorf("Purge deleted %d rows, at most %d were allowed", deleted, limit)
	}
	return deleted
}

// purgeKeepsRevocations is a property over random lives in virtual time: after any purge, a
// revocation that has not expired before that time, or that no CRL past its expiry has shown,
// is still in the log and on its row, and so is every certificate that has not expired.
func (s *suite) purgeKeepsRevocations() {
	random := rand.New(rand.NewPCG(1, 2))
	now := start
	var issued []ca.Certificate
	revoked := map[certs.Serial]bool{}
	published, purged := now, now
	for range 400 {
		now = now.Add(time.Duration(random.IntN(40)) * time.Minute)
		switch random.IntN(5) {
		case 0, 1:
			c := Certificate("a")
			c.NotBefore, c.IssuedAt = now, now
			c.NotAfter = now.Add(time.Duration(1+random.IntN(300)) * time.Minute)
			issued = append(issued, s.record(c))
		case 2:
			if len(issued) > 0 {
				c := issued[random.IntN(len(issued))]
				reason := []certs.Reason{certs.KeyCompromise, hold, hold, release}[random.IntN(4)]
				_, err := s.ledger.Revoke(s.ctx, ca.RevokeSelection{Serial: c.Serial}, reason, now, "x", false)
				switch {
				case err == nil:
					revoked[c.Serial] = reason != release
				case !errors.Is(err, ca.ErrNotFound) && !errors.Is(err, ca.ErrRevoked) && !errors.Is(err, ca.ErrNotHeld):
					s.Fatal(err) // none of: purged already, final, never held
				}
			}
		case 3:
			s.publish(issuerA, now)
			published = now
		case 4:
			if before := now.Add(-time.Duration(random.IntN(120)) * time.Minute); before.After(purged) {
				purged = before
			}
			s.purge(purged, 2+random.IntN(50))
			s.checkKept(issued, revoked, purged, published)
		}
	}
	if len(revoked) < 5 {
		s.Fatalf("only %d revocations: the property was not tried", len(revoked))
	}
	// In the end everything may go.
	s.publish(issuerA, now.Add(24*time.Hour))
	for s.purge(now.Add(48*time.Hour), 100) > 0 {
	}
	if left := s.serials(ca.CertificateQuery{}); len(left) != 0 {
		s.Errorf("%d certificates are left for ever", len(left))
	}
	if entries := s.entries(); len(entries) != 1 {
		s.Errorf("%d entries are left, want the newest number only", len(entries))
	}
}

func (s *suite) checkKept(issued []ca.Certificate, revoked map[certs.Serial]bool, before, published time.Time) {
	s.Helper()
	inLog := map[certs.Serial]bool{}
	for _, e := range s.entries() {
		if e.Kind != revocation.Published {
			inLog[e.Serial] = e.Kind != revocation.Released
		}
	}
	for _, c := range issued {
		mustStay := !c.NotAfter.Before(before) || revoked[c.Serial] && !published.After(c.NotAfter)
		if !mustStay {
			continue
		}
		got, err := s.ledger.Certificate(s.ctx, c.Serial)
		if err != nil {
			s.Fatalf("purge before %s dropped a certificate of %s, revoked %v: %v", before, c.NotAfter, revoked[c.Serial], err)
		}
		if revoked[c.Serial] && (got.Revocation == nil || !inLog[c.Serial]) {
			s.Fatalf("purge before %s dropped the revocation of a certificate of %s", before, c.NotAfter)
		}
	}
}

func (s *suite) purgeLimit() {
	for i := range 12 {
		c := Certificate("a")
		s.record(c)
		if i < 5 {
			s.revoke(ca.RevokeSelection{Serial: c.Serial}, start)
		}
	}
	s.publish(issuerA, end.Add(time.Hour))
	for i := range 7 {
		_, _, err := s.ledger.RecordIssuance(s.ctx, ca.Issuance{
			Certificate: Certificate("b"), OneTime: oneTime(string(rune('a' + i))), Idempotency: key(string(rune('a'+i)), "r"),
		})
		s.must(err)
	}
	if n := s.purge(start, 100); n != 0 {
		s.Errorf("%d rows were purged before anything had expired", n)
	}
	total, rounds := 0, 0
	for ; rounds < 100; rounds++ {
		n := s.purge(start.Add(48*time.Hour), 6)
		total += n
		if n == 0 {
			break
		}
	}
	// 19 certificates, 5 revocations, 7 ids, 7 keys; a store may count more of its own.
	if total < 38 || rounds < 7 {
		s.Errorf("%d rows in %d rounds, want at least 38 in at least 7", total, rounds)
	}
	counts, err := s.ledger.Counts(s.ctx, start)
	s.must(err)
	if counts.Live != 0 || counts.Revoked != 0 {
		s.Errorf("left: %+v", counts)
	}
	// A purged key is new again, whatever it was before.
	if _, err := s.ledger.Replay(s.ctx, "a", key("a", "r").Digest); !errors.Is(err, ca.ErrNotFound) {
		s.Errorf("Replay of a purged key: %v, want ErrNotFound", err)
	}
}

// purgeKeepsNumbers sees that a number never comes again, even when the log is as empty as
// it can get.
func (s *suite) purgeKeepsNumbers() {
	c := s.issue("a")
	s.revoke(ca.RevokeSelection{Serial: c.Serial}, start)
	var last uint64
	for i := range 5 {
		last = s.publish(issuerA, end.Add(time.Duration(i)*time.Hour))
	}
	for s.purge(end.Add(1000*time.Hour), 100) > 0 {
	}
	entries := s.entries()
	if len(entries) != 1 || entries[0].Sequence != last {
		s.Fatalf("log = %+v, want only the newest, %d", entries, last)
	}
	if next := s.publish(issuerA, end.Add(1001*time.Hour)); next <= last {
		s.Errorf("number %d after %d", next, last)
	}
}
