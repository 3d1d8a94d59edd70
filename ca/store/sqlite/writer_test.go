package sqlite

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/ca/store/storetest"
	"github.com/handfast/handfast/certs"
)

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func openWith(t *testing.T, h hooks) *Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := Create(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), path, Options{hooks: h})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// switchable is a hook that fails while it is on.
type switchable struct {
	mu sync.Mutex
	on bool
}

var errInjected = errors.New("injected")

func (s *switchable) hook() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on {
		return errInjected
	}
	return nil
}

func (s *switchable) set(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = on
}

// writes are all the methods that change something. persisted tells whether the change is there.
func writes(s *Store) map[string]struct {
	do        func(context.Context) error
	persisted func(context.Context) (bool, error)
} {
	type pair = struct {
		do        func(context.Context) error
		persisted func(context.Context) (bool, error)
	}
	found := func(err error) (bool, error) {
		if errors.Is(err, ca.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}
	c, revoked := storetest.Certificate("a"), storetest.Certificate("b")
	return map[string]pair{
		"RecordIssuance": {
			func(ctx context.Context) error {
				_, _, err := s.RecordIssuance(ctx, ca.Issuance{Certificate: c})
				return err
			},
			func(ctx context.Context) (bool, error) { _, err := s.Certificate(ctx, c.Serial); return found(err) },
		},
		"Revoke": {
			func(ctx context.Context) error {
				_, err := s.Revoke(ctx, ca.RevokeSelection{Serial: revoked.Serial, Record: &revoked}, certs.Superseded, at, "x", false)
				return err
			},
			func(ctx context.Context) (bool, error) {
				_, err := s.Certificate(ctx, revoked.Serial)
				return found(err)
			},
		},
		"AppendPublished": {
			func(ctx context.Context) error { _, err := s.AppendPublished(ctx, c.Issuer, at); return err },
			func(ctx context.Context) (bool, error) { e, err := s.Entries(ctx, 0, 100); return len(e) > 0, err },
		},
		"PutService": {
			func(ctx context.Context) error {
				_, err := s.PutService(ctx, policy.Service{Name: "put"}, 0)
				return err
			},
			func(ctx context.Context) (bool, error) { _, err := s.Service(ctx, "put"); return found(err) },
		},
		"ApplyServices": {
			func(ctx context.Context) error {
				_, err := s.ApplyServices(ctx, []policy.Service{{Name: "applied"}}, true, false, at)
				return err
			},
			func(ctx context.Context) (bool, error) { _, err := s.Service(ctx, "applied"); return found(err) },
		},
		"AddOperator": {
			func(ctx context.Context) error {
				return s.AddOperator(ctx, policy.Operator{Name: "o", Role: policy.RoleReader})
			},
			func(ctx context.Context) (bool, error) { _, err := s.Operator(ctx, "o"); return found(err) },
		},
		"Probe": {
			s.Probe,
			func(ctx context.Context) (bool, error) {
				var n int
				err := reader{ctx, s}.queryRow("SELECT count FROM probe").Scan(&n)
				return n > 0, err
			},
		},
	}
}

// TestEachWriteFailsBeforeItPersisted: an error, and nothing of it is there; then it works.
func TestEachWriteFailsBeforeItPersisted(t *testing.T) {
	for name := range writes(nil) {
		t.Run(name, func(t *testing.T) {
			var fault switchable
			s := openWith(t, hooks{beforeCommit: fault.hook})
			w := writes(s)[name]
			fault.set(true)
			if err := w.do(t.Context()); !errors.Is(err, errInjected) {
				t.Fatalf("%v, want the injected error", err)
			}
			if there, err := w.persisted(t.Context()); there || err != nil {
				t.Errorf("persisted %v, %v; want nothing", there, err)
			}
			fault.set(false)
			if err := w.do(t.Context()); err != nil {
				t.Errorf("after the fault: %v", err)
			}
			if there, err := w.persisted(t.Context()); !there || err != nil {
				t.Errorf("persisted %v, %v; want it there", there, err)
			}
		})
	}
}

// TestEachWriteFailsAfterItPersisted: an error, although it is there: nobody may act on it,
// and nothing is undone.
func TestEachWriteFailsAfterItPersisted(t *testing.T) {
	for name := range writes(nil) {
		t.Run(name, func(t *testing.T) {
			var fault switchable
			s := openWith(t, hooks{afterCommit: fault.hook})
			w := writes(s)[name]
			fault.set(true)
			if err := w.do(t.Context()); !errors.Is(err, errInjected) {
				t.Fatalf("%v, want the injected error", err)
			}
			if there, err := w.persisted(t.Context()); !there || err != nil {
				t.Errorf("persisted %v, %v; want it there", there, err)
			}
			fault.set(false)
			if err := s.Probe(t.Context()); err != nil {
				t.Errorf("after the fault: %v", err)
			}
		})
	}
}

// TestOneFailureInABatchFailsNobodyElse holds the writer in a commit until the next batch
// has gathered, good and bad ones mixed.
func TestOneFailureInABatchFailsNobodyElse(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{}, 1000)
	s := openWith(t, hooks{beforeCommit: func() error { held <- struct{}{}; <-hold; return nil }})
	taken := storetest.Certificate("a")
	errs := make(chan error, 65)
	record := func(i ca.Issuance) {
		_, _, err := s.RecordIssuance(context.Background(), i)
		errs <- err
	}
	go record(ca.Issuance{Certificate: taken})
	<-held
	for i := range 64 {
		c := storetest.Certificate("a")
		if i%2 == 0 {
			c.Serial = taken.Serial
		}
		go record(ca.Issuance{Certificate: c})
	}
	for len(s.writer.queue) < 64 {
		time.Sleep(time.Millisecond)
	}
	close(hold)
	failed := 0
	for range 65 {
		if err := <-errs; errors.Is(err, ca.ErrSerialExists) {
			failed++
		} else if err != nil {
			t.Error(err)
		}
	}
	<-held // the one commit of all 64
	if failed != 32 || len(held) != 0 {
		t.Errorf("%d failed in %d more commits; want 32 in none", failed, len(held))
	}
}

// TestAPurgeSharesTheCommitOfOthers holds the writer in a commit while a purge and an issuance wait.
func TestAPurgeSharesTheCommitOfOthers(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{}, 10)
	s := openWith(t, hooks{beforeCommit: func() error { held <- struct{}{}; <-hold; return nil }})
	old := storetest.Certificate("a")
	errs := make(chan error, 3)
	record := func(c ca.Certificate) {
		_, _, err := s.RecordIssuance(context.Background(), ca.Issuance{Certificate: c})
		errs <- err
	}
	go record(old)
	<-held
	go record(storetest.Certificate("a"))
	go func() {
		n, err := s.Purge(context.Background(), old.NotAfter.Add(time.Second), 1)
		if n != 1 {
			err = errors.Join(err, errors.New("nothing was purged"))
		}
		errs <- err
	}()
	for len(s.writer.queue) < 1 || len(s.writer.patient) < 1 {
		time.Sleep(time.Millisecond)
	}
	close(hold)
	for range 3 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if <-held; len(held) != 0 {
		t.Errorf("%d more commits than one", len(held))
	}
}

// TestInvariant21AFullDiskIssuesNothingAndHeals uses SQLite's own bound of the file's size.
func TestInvariant21AFullDiskIssuesNothingAndHeals(t *testing.T) {
	s := openWith(t, hooks{})
	limit := func(pages int) {
		t.Helper()
		// The writer is idle between two calls, so its connection may be borrowed.
		var got int
		if err := s.writer.tx.queryRow("PRAGMA max_page_count = " + strconv.Itoa(pages)).Scan(&got); err != nil {
			t.Fatal(err)
		}
	}
	limit(40)
	var acknowledged []ca.Certificate
	var err error
	for range 1000 {
		c := storetest.Certificate("a")
		if _, _, err = s.RecordIssuance(t.Context(), ca.Issuance{Certificate: c}); err != nil {
			break
		}
		acknowledged = append(acknowledged, c)
	}
	if err == nil || errors.Is(err, ca.ErrNotFound) || errors.Is(err, ca.ErrSerialExists) || errors.Is(err, ErrUnknownState) {
		t.Fatalf("full: %v, want a fault that can heal", err)
	}
	page, _, listErr := s.Certificates(t.Context(), ca.CertificateQuery{Limit: 10_000, Now: at})
	if listErr != nil || len(page) != len(acknowledged) {
		t.Errorf("%d acknowledged, %d recorded, %v", len(acknowledged), len(page), listErr)
	}
	limit(1 << 20)
	if _, _, err := s.RecordIssuance(t.Context(), ca.Issuance{Certificate: storetest.Certificate("a")}); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
