//go:build e2e

package e2e

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/harness"
)

// Invariants 1, 2, 6, 10 and 16 on the real daemon: it is killed again and again while
// clients enrol. Whatever a client received is in the ledger, no token
// enrolled twice, no serial came twice, and what was revoked stays revoked.
func TestKillCAUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	ca := startCA(ctx, t)
	const services, kills = 200, 4
	tokens := mintTokens(ctx, t, ca, services)
	revoked := enrolAndRevokeOne(ctx, t, ca)

	received := newReceipts()
	work := make(chan int)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() { enrolEach(ctx, t, ca, tokens, work, received) })
	}
	go func() {
		defer close(work)
		for i := range services {
			work <- i
			time.Sleep(10 * time.Millisecond) // spread the load over the kills
		}
	}()
	for range kills {
		time.Sleep(time.Duration(150+rand.IntN(250)) * time.Millisecond)
		if err := ca.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		serve(ctx, t, ca)
	}
	workers.Wait()
	if t.Failed() {
		return
	}
	received.check(ctx, t, ca, services)
	certificate, err := client(t, ca.Client).Certificate(ctx, revoked)
	if err != nil || certificate.Status != "revoked" {
		t.Errorf("the certificate that was revoked before the crashes is %q, %v", certificate.Status, err)
	}
}

func serviceName(i int) string { return fmt.Sprintf("load/s%03d", i) }

func mintTokens(ctx context.Context, t *testing.T, ca *harness.CA, n int) []string {
	t.Helper()
	operator := client(t, ca.Client)
	var request api.ApplyRequest
	for i := range n {
		request.Services = append(request.Services, api.Service{Name: serviceName(i)})
	}
	if _, err := operator.Apply(ctx, &request); err != nil {
		t.Fatal(err)
	}
	tokens := make([]string, n)
	for i := range tokens {
		token, err := operator.CreateToken(ctx, &api.TokenRequest{Service: serviceName(i)})
		if err != nil {
			t.Fatal(err)
		}
		tokens[i] = token.Token
	}
	return tokens
}

func enrolAndRevokeOne(ctx context.Context, t *testing.T, ca *harness.CA) certs.Serial {
	t.Helper()
	operator := client(t, ca.Client)
	if _, err := operator.PutService(ctx, &api.Service{Name: "gone"}, 0); err != nil {
		t.Fatal(err)
	}
	issued, err := operator.Issue(ctx, &api.IssueRequest{Service: "gone", CSR: newCSR(t)}, "")
	if err != nil {
		t.Fatal(err)
	}
	serial := leafSerial(t, issued)
	if _, err := operator.Revoke(ctx, &api.RevokeRequest{Serial: serial, Reason: certs.KeyCompromise}); err != nil {
		t.Fatal(err)
	}
	return serial
}

// enrolEach enrols each service of work with its token, through crashes. Odd ones
// repeat the same request under an idempotency key, so they must get their certificate.
// Even ones come with another key each time, so a crash after the commit
// leaves them with a token that was used: that is right, and the only refusal that is.
func enrolEach(ctx context.Context, t *testing.T, ca *harness.CA, tokens []string, work <-chan int, received *receipts) {
	anonymous, err := ca.Anonymous()
	if err != nil {
		t.Error(err)
		return
	}
	defer anonymous.Close()
	for i := range work {
		repeats := i%2 == 1
		request := &api.EnrollRequest{Token: tokens[i], CSR: newCSR(t)}
		key := ""
		if repeats {
			key = fmt.Sprintf("enrol-%d", i)
		}
		for ctx.Err() == nil {
			issued, err := anonymous.Enroll(ctx, request, key)
			if err == nil {
				received.add(serviceName(i), leafSerial(t, issued))
				break
			}
			var refusal *api.Error
			if errors.As(err, &refusal) && !refusal.Retryable() {
				if repeats || refusal.Code != api.CodeTokenUsed {
					t.Errorf("%s was refused: %v", serviceName(i), err)
				}
				break
			}
			if !repeats {
				request.CSR = newCSR(t)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func leafSerial(t *testing.T, issued *api.Issued) certs.Serial {
	t.Helper()
	leaf, err := x509.ParseCertificate(issued.Chain[0])
	if err != nil {
		t.Error(err)
		return certs.Serial{}
	}
	serial, err := certs.SerialFromInt(leaf.SerialNumber)
	if err != nil {
		t.Error(err)
	}
	return serial
}

// receipts is what clients hold in their hands.
type receipts struct {
	mu      sync.Mutex
	serials map[certs.Serial]string // to the service; guarded by mu
}

func newReceipts() *receipts { return &receipts{serials: map[certs.Serial]string{}} }

func (r *receipts) add(service string, serial certs.Serial) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serials[serial] = service
}

func (r *receipts) check(ctx context.Context, t *testing.T, ca *harness.CA, services int) {
	t.Helper()
	ledger := listAll(ctx, t, ca)
	perService := map[string]int{}
	for _, certificate := range ledger {
		perService[certificate.Service]++
	}
	for serial, service := range r.serials {
		if ledger[serial].Service != service {
			t.Errorf("the ledger does not know %s, which %s received", serial, service)
		}
	}
	for i := range services {
		if n := perService[serviceName(i)]; n > 1 {
			t.Errorf("%s has %d certificates for one token", serviceName(i), n)
		}
	}
	if len(r.serials) < services/2 {
		t.Errorf("only %d of %d services received a certificate", len(r.serials), services)
	}
}

func listAll(ctx context.Context, t *testing.T, ca *harness.CA) map[certs.Serial]api.Certificate {
	t.Helper()
	operator := client(t, ca.Client)
	all := map[certs.Serial]api.Certificate{}
	for cursor := ""; ; {
		page, err := operator.Certificates(ctx, api.CertificateQuery{Kind: "service", Limit: 100, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, certificate := range page.Certificates {
			if _, twice := all[certificate.Serial]; twice {
				t.Errorf("serial %s is listed twice", certificate.Serial)
			}
			all[certificate.Serial] = certificate
		}
		if cursor = page.Next; cursor == "" {
			return all
		}
	}
}

// An agent that is killed at any moment comes back by itself: with the identity it had,
// without a token.
func TestKilledAgentComesBackByItself(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	ca := startCA(ctx, t)
	dir, status := t.TempDir(), freeAddress(t)
	handfast(ctx, t, ca, "service", "add", "phoenix", "--profile", "short")
	agent := startAgent(ctx, t, ca, "phoenix", dir, "--status", status)
	if err := os.Remove(dir + "/phoenix.token"); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		// Rotation comes every 5 s or so: some of the kills fall into one.
		time.Sleep(time.Duration(500+rand.IntN(2500)) * time.Millisecond)
		if err := agent.Kill(); err != nil {
			t.Fatal(err)
		}
		var err error
		if agent, err = ca.StartAgent(ctx, "phoenix", dir, "--status", status); err != nil {
			t.Fatal(err)
		}
	}
	if err := agent.Stop(); err != nil {
		t.Fatal(err)
	}
}

// After a power-off that outlasted the certificate an agent recovers by itself, within
// the profile's grace, by proving that it holds the old key.
func TestAgentRecoversAfterItsCertificateExpired(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	ca := startCA(ctx, t)
	dir := t.TempDir()
	handfast(ctx, t, ca, "service", "add", "sleeper", "--profile", "short")
	agent := startAgent(ctx, t, ca, "sleeper", dir)
	if err := agent.Stop(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	case <-time.After(62 * time.Second):
	}
	agent, err := ca.StartAgent(ctx, "sleeper", dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, certificate := range listAll(ctx, t, ca) {
		if certificate.Method == "rekey" {
			return
		}
	}
	t.Error("no certificate was issued by rekey")
}
