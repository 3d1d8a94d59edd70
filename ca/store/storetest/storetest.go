// Package storetest is the conformance suite that every ledger must pass: what
// ca.Ledger promises, each promise as a test that can fail.
package storetest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
)

// Run runs the suite. open returns a fresh, empty ledger that the test's cleanup closes.
func Run(t *testing.T, open func(t *testing.T) ca.Ledger) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"Issuance round trip", (*suite).issuanceRoundTrip},
		{"Invariant 2: a serial is unique", (*suite).serialIsUnique},
		{"Invariant 16: a one-time token enrols once", (*suite).oneTimeOnce},
		{"A failed issuance uses up nothing", (*suite).failedIssuanceUsesNothing},
		{"Idempotency", (*suite).idempotency},
		{"Idempotency under concurrency", (*suite).idempotencyRace},
		{"Guard", (*suite).guard},
		{"Guard against a racing revocation", (*suite).guardRace},
		{"Certificates are listed newest first", (*suite).listing},
		{"Certificates are filtered", (*suite).filters},
		{"Listing pages while others issue", (*suite).pagingUnderLoad},
		{"Revoke by serial", (*suite).revokeSerial},
		{"Revoke what the ledger lost", (*suite).revokeUnknown},
		{"Revoke by service", (*suite).revokeService},
		{"Revoke an issuing CA", (*suite).revokeIssuer},
		{"What an issuing CA signed", (*suite).signed},
		{"Revoke: bounded outcome", (*suite).revokeMany},
		{"Revoke: dry run", (*suite).revokeDryRun},
		{"Hold, release, revoke", (*suite).holds},
		{"Hold and release a service", (*suite).holdService},
		{"Cut-off", (*suite).cutOff},
		{"Guard against what is on hold", (*suite).guardHeld},
		{"Hold, release and revoke at once", (*suite).holdRace},
		{"A compromised key never comes back", (*suite).compromisedKey},
		{"The log's order", (*suite).logOrder},
		{"The log under concurrency", (*suite).logRace},
		{"Issued", (*suite).issued},
		{"Invariant 12: purging keeps unexpired revocations", (*suite).purgeKeepsRevocations},
		{"Purge keeps to its limit and ends", (*suite).purgeLimit},
		{"Purge keeps the newest number", (*suite).purgeKeepsNumbers},
		{"Counts", (*suite).counts},
		{"Probe", (*suite).probe},
		{"Services", (*suite).services},
		{"Services: versions", (*suite).serviceVersions},
		{"Services: lost updates are refused", (*suite).serviceRace},
		{"Services: paging", (*suite).servicePaging},
		{"Apply is atomic", (*suite).apply},
		{"Apply: dry run", (*suite).applyDryRun},
		{"Operators", (*suite).operators},
		{"The last admin stays", (*suite).lastAdmin},
		{"Agents", (*suite).agents},
		{"Purge forgets agents", (*suite).purgeAgents},
		{"A context that has ended", (*suite).endedContext},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(&suite{T: t, ctx: t.Context(), ledger: open(t)})
		})
	}
}

// suite is one test with its own ledger.
type suite struct {
	*testing.T
	ctx    context.Context
	ledger ca.Ledger
}

// The times of the suite: whole seconds in UTC, as a ledger keeps them.
var (
	start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	end   = start.Add(time.Hour)
)

const issuerA, issuerB = "00112233445566778899aabbccddeeff00112233", "ffeeddccbbaa99887766554433221100ffeeddcc"

// Certificate is a row for a service with a fresh serial, valid from the suite's start for
// an hour. Its DER is not a certificate's: a ledger does not look into it.
func Certificate(service string) ca.Certificate {
	octets := make([]byte, certs.MaxSerialOctets)
	_, _ = rand.Read(octets) // never fails (Go 1.24 and later)
	octets[0] = octets[0]&0x7f | 0x40
	serial, err := certs.SerialFromBytes(octets)
	if err != nil {
		panic(err)
	}
	td, err := certs.ParseTrustDomain("test.example")
	if err != nil {
		panic(err)
	}
	id, err := td.ID(service)
	if err != nil {
		panic(err)
	}
	der := make([]byte, 700)
	_, _ = rand.Read(der)
	return ca.Certificate{
		Serial: serial, Kind: ca.KindService, Name: service, ID: id, Issuer: issuerA, Profile: "default",
		Method: ca.MethodToken, By: "token-1", NotBefore: start.Add(-time.Minute), NotAfter: end, IssuedAt: start, DER: der,
	}
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) record(c ca.Certificate) ca.Certificate {
	s.Helper()
	recorded, replayed, err := s.ledger.RecordIssuance(s.ctx, ca.Issuance{Certificate: c})
	s.must(err)
	if replayed {
		s.Fatal("replayed without an idempotency key")
	}
	return recorded
}

func (s *suite) issue(service string) ca.Certificate {
	s.Helper()
	return s.record(Certificate(service))
}

func (s *suite) revoke(selection ca.RevokeSelection, at time.Time) ca.RevokeOutcome {
	s.Helper()
	outcome, err := s.ledger.Revoke(s.ctx, selection, certs.KeyCompromise, at, "someone", false)
	s.must(err)
	return outcome
}

func (s *suite) put(name string, callers ...string) policy.Service {
	s.Helper()
	stored, err := s.ledger.PutService(s.ctx, service(name, callers...), ca.AnyVersion)
	s.must(err)
	return stored
}

func service(name string, callers ...string) policy.Service {
	return policy.Service{Name: name, Callers: callers, Created: start, Updated: start}
}

func (s *suite) serials(query ca.CertificateQuery) []certs.Serial {
	s.Helper()
	if query.Limit == 0 {
		query.Limit = 100
	}
	if query.Now.IsZero() {
		query.Now = start
	}
	page, _, err := s.ledger.Certificates(s.ctx, query)
	s.must(err)
	return serialsOf(page)
}

func serialsOf(list []ca.Certificate) []certs.Serial {
	serials := []certs.Serial{}
	for _, c := range list {
		serials = append(serials, c.Serial)
	}
	return serials
}

// same compares rows but for the revocation.
func same(a, b ca.Certificate) bool {
	return a.Serial == b.Serial && a.Kind == b.Kind && a.Name == b.Name && a.ID == b.ID && a.Issuer == b.Issuer &&
		a.Profile == b.Profile && a.Method == b.Method && a.By == b.By && a.NotBefore.Equal(b.NotBefore) &&
		a.NotAfter.Equal(b.NotAfter) && a.IssuedAt.Equal(b.IssuedAt) && slices.Equal(a.DER, b.DER)
}

func key(name, request string) *ca.Idempotency {
	return &ca.Idempotency{Key: name, Digest: sha256.Sum256([]byte(request)), ExpiresAt: start.Add(24 * time.Hour)}
}

func oneTime(id string) *ca.OneTime {
	return &ca.OneTime{ID: id, ExpiresAt: start.Add(15 * time.Minute)}
}

// race runs n of action at once and returns their errors.
func race(n int, action func(i int) error) []error {
	begin, errs := make(chan struct{}), make(chan error, n)
	for i := range n {
		go func() {
			<-begin
			errs <- action(i)
		}()
	}
	close(begin)
	list := make([]error, n)
	for i := range list {
		list[i] = <-errs
	}
	return list
}

func (s *suite) equalSerials(what string, got, want []certs.Serial) {
	s.Helper()
	if !slices.Equal(got, want) {
		s.Errorf("%s: got %s, want %s", what, short(got), short(want))
	}
}

func short(serials []certs.Serial) string {
	text := ""
	for _, serial := range serials {
		text += fmt.Sprintf("%.6s ", serial)
	}
	return "[" + text + "]"
}
