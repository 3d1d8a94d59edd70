package storetest

import (
	"errors"
	"slices"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/certs"
)

func (s *suite) listing() {
	var want []certs.Serial
	for range 10 {
		want = append(want, s.issue("a").Serial)
	}
	slices.Reverse(want)
	s.equalSerials("one page", s.serials(ca.CertificateQuery{}), want)

	var got []certs.Serial
	query := ca.CertificateQuery{Limit: 3, Now: start}
	for pages := 1; ; pages++ {
		page, next, err := s.ledger.Certificates(s.ctx, query)
		s.must(err)
		got = append(got, serialsOf(page)...)
		if next == "" {
			if pages != 4 {
				s.Errorf("%d pages, want 4", pages)
			}
			break
		}
		if len(page) != 3 {
			s.Fatalf("a page of %d in the middle, want 3", len(page))
		}
		query.Cursor = next
	}
	s.equalSerials("pages of three", got, want)
	if page, next, err := s.ledger.Certificates(s.ctx, ca.CertificateQuery{Limit: 10, Now: start}); err != nil || len(page) != 10 || next != "" {
		s.Errorf("a page that is just full: %d, cursor %q, %v; want no further page", len(page), next, err)
	}
	for _, cursor := range []string{"x", "-1", "0", "1 OR 1=1"} {
		if _, _, err := s.ledger.Certificates(s.ctx, ca.CertificateQuery{Limit: 3, Now: start, Cursor: cursor}); !errors.Is(err, ca.ErrBadCursor) {
			s.Errorf("cursor %q: %v, want ErrBadCursor", cursor, err)
		}
	}
}

func (s *suite) filters() {
	valid := s.issue("shop/cart")
	expired := Certificate("shop/cart")
	expired.NotAfter = start.Add(-time.Second)
	s.record(expired)
	edge := Certificate("shop/edge")
	edge.NotAfter = start
	s.record(edge)
	revoked := s.issue("shop/pay")
	s.revoke(ca.RevokeSelection{Serial: revoked.Serial}, start)
	person := Certificate("handfast/operator/shop")
	person.Kind, person.Name = ca.KindOperator, "shop"
	s.record(person)

	list := func(rows ...ca.Certificate) []certs.Serial { return serialsOf(rows) }
	for _, test := range []struct {
		name  string
		query ca.CertificateQuery
		want  []certs.Serial
	}{
		{"name", ca.CertificateQuery{Name: "shop/cart"}, list(expired, valid)},
		{"name of two kinds", ca.CertificateQuery{Name: "shop"}, list(person)},
		{"no such name", ca.CertificateQuery{Name: "shop/car"}, list()},
		{"kind", ca.CertificateQuery{Kind: ca.KindOperator}, list(person)},
		{"kind and name", ca.CertificateQuery{Kind: ca.KindService, Name: "shop/pay"}, list(revoked)},
		{"valid, its last second included", ca.CertificateQuery{Status: ca.StatusValid}, list(person, edge, valid)},
		{"expired", ca.CertificateQuery{Status: ca.StatusExpired}, list(expired)},
		{"revoked", ca.CertificateQuery{Status: ca.StatusRevoked}, list(revoked)},
		{"revoked of a name", ca.CertificateQuery{Status: ca.StatusRevoked, Name: "shop/cart"}, list()},
		{"expiring", ca.CertificateQuery{Status: ca.StatusValid, ExpiresBefore: start.Add(time.Minute)}, list(edge)},
		{"part of a name", ca.CertificateQuery{Search: "op/ca"}, list(expired, valid)},
		{"beginning of a serial", ca.CertificateQuery{Search: valid.Serial.String()[:15]}, list(valid)},
		{"whole serial with colons", ca.CertificateQuery{Search: colons(revoked.Serial.String())}, list(revoked)},
		{"no pattern", ca.CertificateQuery{Search: "%"}, list()},
	} {
		s.equalSerials(test.name, s.serials(test.query), test.want)
	}
}

func colons(digits string) string {
	text := digits[:2]
	for i := 2; i < len(digits); i += 2 {
		text += ":" + digits[i:i+2]
	}
	return text
}

// pagingUnderLoad turns pages while others issue: what was there at the first page comes
// exactly once.
func (s *suite) pagingUnderLoad() {
	var want []certs.Serial
	for range 20 {
		want = append(want, s.issue("a").Serial)
	}
	slices.Reverse(want)
	page, cursor, err := s.ledger.Certificates(s.ctx, ca.CertificateQuery{Limit: 4, Now: start})
	s.must(err)
	got := serialsOf(page)
	for cursor != "" {
		s.issue("b")
		page, cursor, err = s.ledger.Certificates(s.ctx, ca.CertificateQuery{Limit: 4, Now: start, Cursor: cursor})
		s.must(err)
		got = append(got, serialsOf(page)...)
	}
	s.equalSerials("pages", got, want)
}

func (s *suite) counts() {
	s.issue("a")
	revoked := s.issue("a")
	s.revoke(ca.RevokeSelection{Serial: revoked.Serial}, start)
	old := Certificate("a")
	old.NotAfter = start.Add(-time.Second)
	s.record(old)
	s.revoke(ca.RevokeSelection{Serial: old.Serial}, start)
	s.put("a")
	s.put("b")
	got, err := s.ledger.Counts(s.ctx, start)
	s.must(err)
	if want := (ca.Counts{Services: 2, Live: 1, Revoked: 1}); got != want {
		s.Errorf("Counts = %+v, want %+v", got, want)
	}
}
