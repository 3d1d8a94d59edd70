package sqlite

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/ca/store/storetest"
	"github.com/handfast/handfast/certs"
)

func recordOne(t *testing.T, s *Store, issuance ca.Issuance) {
	t.Helper()
	if _, _, err := s.RecordIssuance(t.Context(), issuance); err != nil {
		t.Fatal(err)
	}
}

// remember has s remember a certificate and a service, and returns a guard that rests on both.
func remember(t *testing.T, s *Store) ca.Guard {
	t.Helper()
	c := storetest.Certificate("a")
	recordOne(t, s, ca.Issuance{Certificate: c})
	stored, err := s.PutService(t.Context(), policy.Service{Name: "a"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Certificate(t.Context(), c.Serial); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Service(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.memory.certificate(c.Serial); !ok {
		t.Fatal("the certificate is not remembered: this shows nothing")
	}
	if _, ok := s.memory.service("a"); !ok {
		t.Fatal("the service is not remembered: this shows nothing")
	}
	return ca.Guard{Serial: c.Serial, Service: "a", ServiceVersion: stored.Version}
}

// TestWhatIsRememberedNeverOutlivesAChange: when a change was answered, every read shows it.
func TestWhatIsRememberedNeverOutlivesAChange(t *testing.T) {
	s := openWith(t, hooks{})
	for range 20 {
		guard := remember(t, s)
		if _, err := s.Revoke(t.Context(), ca.RevokeSelection{Serial: guard.Serial}, certs.Superseded, at, "x", false); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Certificate(t.Context(), guard.Serial); err != nil || got.Revocation == nil {
			t.Fatalf("after the revocation: %+v, %v", got.Revocation, err)
		}
		if err := s.DeleteService(t.Context(), "a", ca.AnyVersion); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Service(t.Context(), "a"); !errors.Is(err, ca.ErrNotFound) {
			t.Fatalf("after the removal: %v, want ErrNotFound", err)
		}
	}
}

// TestARowReadDuringAChangeIsNotRemembered: a reader that saw the row before a revocation, and
// comes to remember it after, would hide it for ever.
func TestARowReadDuringAChangeIsNotRemembered(t *testing.T) {
	s := openWith(t, hooks{})
	guard := remember(t, s)
	s.memory.forget(onCertificates, nil)
	_, err := recall(s.memory, s.memory.certificates, maxCertificates, guard.Serial, func() (row, error) {
		r, err := certificateBySerial(reader{t.Context(), s}, guard.Serial)
		if err != nil {
			return row{}, err
		}
		_, err = s.Revoke(t.Context(), ca.RevokeSelection{Serial: guard.Serial}, certs.Superseded, at, "x", false)
		return r, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Certificate(t.Context(), guard.Serial); err != nil || got.Revocation == nil {
		t.Errorf("revoked, and read as %+v, %v", got.Revocation, err)
	}
}

// TestGuardsSeeTheirOwnTransaction holds the writer until a revocation, a change of the
// service and renewals that rest on the state before share one commit.
func TestGuardsSeeTheirOwnTransaction(t *testing.T) {
	for name, test := range map[string]struct {
		change func(context.Context, *Store, ca.Guard) error
		want   error
	}{
		"revoked": {func(ctx context.Context, s *Store, g ca.Guard) error {
			_, err := s.Revoke(ctx, ca.RevokeSelection{Serial: g.Serial}, certs.Superseded, at, "x", false)
			return err
		}, ca.ErrRevoked},
		"changed": {func(ctx context.Context, s *Store, _ ca.Guard) error {
			_, err := s.PutService(ctx, policy.Service{Name: "a", Profile: "other"}, ca.AnyVersion)
			return err
		}, ca.ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			gate := make(chan chan struct{}, 1)
			s := openWith(t, hooks{beforeCommit: func() error {
				select {
				case open := <-gate:
					<-open
				default:
				}
				return nil
			}})
			guard := remember(t, s)
			open := make(chan struct{})
			gate <- open
			errs := make(chan error, 10)
			go func() { errs <- s.Probe(context.Background()) }()
			await(t, func() bool { return len(gate) == 0 })
			go func() { errs <- test.change(context.Background(), s, guard) }()
			await(t, func() bool { return len(s.writer.queue) == 1 })
			refused := make(chan error, 3)
			for range 3 {
				go func() {
					_, _, err := s.RecordIssuance(context.Background(), ca.Issuance{Certificate: storetest.Certificate("a"), Guard: guard})
					refused <- err
				}()
			}
			await(t, func() bool { return len(s.writer.queue) == 4 })
			close(open)
			for range 2 {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
			for range 3 {
				if err := <-refused; !errors.Is(err, test.want) {
					t.Errorf("%v, want %v", err, test.want)
				}
			}
		})
	}
}

// TestAnotherWriterIsNoticed: the daemon's lock keeps others out, and still nothing is
// recorded on what somebody else has changed.
func TestAnotherWriterIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := Create(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	var stores [2]*Store
	for i := range stores {
		var err error
		if stores[i], err = Open(t.Context(), path, Options{}); err != nil {
			t.Fatal(err)
		}
		defer stores[i].Close() //nolint:errcheck // a test of something else
	}
	guard := remember(t, stores[0])
	recordOne(t, stores[1], ca.Issuance{Certificate: storetest.Certificate("b")})
	recordOne(t, stores[0], ca.Issuance{Certificate: storetest.Certificate("c"), Guard: guard}) // its place is behind the other's
	if _, err := stores[1].Revoke(t.Context(), ca.RevokeSelection{Serial: guard.Serial}, certs.Superseded, at, "x", false); err != nil {
		t.Fatal(err)
	}
	_, _, err := stores[0].RecordIssuance(t.Context(), ca.Issuance{Certificate: storetest.Certificate("a"), Guard: guard})
	if !errors.Is(err, ca.ErrRevoked) {
		t.Errorf("renewal of what another process revoked: %v, want ErrRevoked", err)
	}
}

// TestARolledBackCommitLeavesNothingRemembered: the rows that a commit would have made are
// made again by the next.
func TestARolledBackCommitLeavesNothingRemembered(t *testing.T) {
	var fault switchable
	s := openWith(t, hooks{beforeCommit: fault.hook})
	c := storetest.Certificate("first")
	fault.set(true)
	if _, _, err := s.RecordIssuance(t.Context(), ca.Issuance{Certificate: c}); !errors.Is(err, errInjected) {
		t.Fatalf("%v, want the injected error", err)
	}
	fault.set(false)
	recordOne(t, s, ca.Issuance{Certificate: c})
	if got, err := s.Certificate(t.Context(), c.Serial); err != nil || got.Name != c.Name || got.Issuer != c.Issuer {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestMemoryIsBounded fills a memory with more than it holds.
func TestMemoryIsBounded(t *testing.T) {
	m := newMemory()
	for i := range 3 * maxServices {
		name := string(rune('a'+i%26)) + string(rune(0x4e00+i/26))
		if _, err := recall(m, m.services, maxServices, name, func() (policy.Service, error) { return policy.Service{Name: name}, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(m.services); n != maxServices {
		t.Errorf("%d services are remembered, want %d", n, maxServices)
	}
}

// await looks until it is so.
func await(t *testing.T, so func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come to it in a minute")
		}
	}
}

// TestWhatIsPurgedIsForgotten, and nothing else is: requests go on while the CA purges.
func TestWhatIsPurgedIsForgotten(t *testing.T) {
	s := openWith(t, hooks{})
	old, live := storetest.Certificate("a"), storetest.Certificate("a")
	live.NotAfter = old.NotAfter.Add(time.Hour)
	for _, c := range []ca.Certificate{old, live} {
		if _, _, err := s.RecordIssuance(t.Context(), ca.Issuance{Certificate: c}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Certificate(t.Context(), c.Serial); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Purge(t.Context(), live.NotAfter, 10); n != 1 || err != nil {
		t.Fatalf("Purge: %d, %v", n, err)
	}
	if _, err := s.Certificate(t.Context(), old.Serial); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("the purged one: %v, want ErrNotFound", err)
	}
	if _, ok := s.memory.certificate(live.Serial); !ok {
		t.Error("the other one is not remembered any more")
	}
	guard := ca.Guard{Serial: old.Serial}
	if _, _, err := s.RecordIssuance(t.Context(), ca.Issuance{Certificate: storetest.Certificate("a"), Guard: guard}); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("the purged one asks: %v, want ErrNotFound", err)
	}
}
