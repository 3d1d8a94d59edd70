package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/certs"
)

var compareSerial = cmp.Comparer(func(a, b certs.Serial) bool { return a == b })

// Agent is a row for an agent of a service with a fresh certificate of the suite's times.
func Agent(service, id string) ca.AgentRow {
	return ca.AgentRow{
		ID: strings.Repeat(id, 32), Service: service, Issuer: issuerA, Serial: Certificate(service).Serial, NotAfter: end,
		Version: "handfast-agent/1", Address: "10.0.0.7", Sequence: 1 << 40, EnforcedAt: start.Add(1234 * time.Millisecond),
	}
}

func (s *suite) agents() {
	if list, err := s.ledger.Agents(s.ctx); err != nil || len(list) != 0 {
		s.Errorf("a fresh ledger knows %d agents, %v", len(list), err)
	}
	b, a1, a2 := Agent("b", "1"), Agent("a", "1"), Agent("a", "2")
	b.SilentSince, b.Stopped, b.EnforcedAt = start.Add(5*time.Millisecond), true, time.Time{}
	s.must(s.ledger.SaveAgents(s.ctx, []ca.AgentRow{b, a2, a1}))
	s.sameAgents(a1, a2, b)

	// The same service and ID is the same agent; another service's with that ID is another one.
	a1.Serial, a1.Issuer, a1.Sequence, a1.Address, a1.Version = Certificate("a").Serial, issuerB, 7, "", ""
	a1.NotAfter, a1.SilentSince, a1.Stopped = end.Add(time.Hour), end, true
	s.must(s.ledger.SaveAgents(s.ctx, []ca.AgentRow{a1}))
	s.sameAgents(a1, a2, b)
	s.must(s.ledger.SaveAgents(s.ctx, nil))
	s.sameAgents(a1, a2, b)

	// All rows or none.
	bad := a2
	bad.Issuer = "not hexadecimal"
	a1.Sequence = 8
	if err := s.ledger.SaveAgents(s.ctx, []ca.AgentRow{a1, bad}); err == nil {
		s.Error("an issuer that is no key identifier was saved")
	}
	a1.Sequence = 7
	s.sameAgents(a1, a2, b)
}

func (s *suite) sameAgents(want ...ca.AgentRow) {
	s.Helper()
	got, err := s.ledger.Agents(s.ctx)
	s.must(err)
	if diff := cmp.Diff(want, got, compareSerial); diff != "" {
		s.Errorf("agents (-want +got):\n%s", diff)
	}
}

func (s *suite) purgeAgents() {
	var rows []ca.AgentRow
	for i := range 6 {
		row := Agent(fmt.Sprintf("service-%d", i), "a")
		row.NotAfter = end.Add(time.Duration(i) * time.Hour)
		rows = append(rows, row)
	}
	s.must(s.ledger.SaveAgents(s.ctx, rows))
	if n := s.purge(end, 100); n != 0 {
		s.Errorf("%d rows purged before anything had expired", n)
	}
	if n := s.purge(end.Add(3*time.Hour), 2); n != 2 {
		s.Errorf("%d rows purged with a limit of 2", n)
	}
	s.purge(end.Add(3*time.Hour), 100)
	s.sameAgents(rows[3:]...)
}
