package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/internal/logtest"
)

// A host whose clock is far ahead takes every certificate for one that is due. The CA must not be
// asked as fast as it answers.
func TestClockThatIsAheadDoesNotRenewWithoutEnd(t *testing.T) {
	for _, ahead := range []time.Duration{50 * time.Minute, 2 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, log := newFakeCA(t), &logtest.Buffer{}
				var fast atomic.Int64
				fast.Store(int64(ahead))
				cfg := ca.config(log)
				cfg.Now = func() time.Time { return time.Now().Add(time.Duration(fast.Load())) }
				a, stop := start(t, cfg)
				defer stop()
				time.Sleep(time.Hour)
				synctest.Wait()
				if n := len(ca.seen("renew")) + len(ca.seen("rekey")); n < 5 || n > 40 {
					t.Errorf("%d certificates in an hour; want some, ever more seldom", n)
				}
				if !strings.Contains(log.String(), "correct the clock") {
					t.Errorf("the log does not say what to do:\n%s", log)
				}
				fast.Store(0) // the clock is corrected
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				before := len(ca.seen("renew")) + len(ca.seen("rekey"))
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if n := len(ca.seen("renew")) + len(ca.seen("rekey")) - before; n != 0 || a.Ready() != nil {
					t.Errorf("%d renewals in ten minutes with a right clock, %v", n, a.Ready())
				}
			})
		})
	}
}

// restlessCA has another state at each question, and a feed that names new versions all the time.
type restlessCA struct {
	CA
	asked *atomic.Int64
}

func (c *restlessCA) AgentState(ctx context.Context, _ string) (*api.AgentState, string, error) {
	state, _, err := c.CA.AgentState(ctx, "")
	n := c.asked.Add(1)
	if state != nil {
		state.PolicyEpoch, state.Versions = uint64(n), nil
	}
	return state, fmt.Sprint(n), err
}

func TestRestlessCADoesNotKeepTheHostBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		var asked atomic.Int64
		cfg := ca.config(log)
		cfg.Connect = func(address string, config *tls.Config) (CA, error) {
			conn, err := ca.connect(address, config)
			return &restlessCA{conn, &asked}, err
		}
		a, stop := start(t, cfg)
		defer stop()
		for i := range 600 {
			ca.feed.SetVersions(feed.Version{Name: "crls", Value: fmt.Sprint(i)})
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if n := asked.Load(); n < 30 || n > 90 {
			t.Errorf("%d questions in a minute; want about one a second", n)
		}
		if err := a.Ready(); err != nil {
			t.Error(err)
		}
	})
}

// blockedToken is standard input that nobody writes to.
type blockedToken struct{ until chan string }

func (b blockedToken) Token() (string, error) { return <-b.until, nil }

func TestTokenThatDoesNotComeHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		blocked := blockedToken{make(chan string)}
		defer close(blocked.until)
		cfg := ca.config(log)
		cfg.Token = blocked
		a, stop := start(t, cfg)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := strings.Count(log.String(), "waiting for an enrolment token"); got != 1 {
			t.Errorf("said %d times that a token is missing; want once:\n%s", got, log)
		}
		blocked.until <- ca.token("late")
		time.Sleep(2 * tokenPoll)
		synctest.Wait()
		mustCurrent(t, a)
		// The CA says no once: the renewal goes on although no token comes.
		ca.do(func() { ca.fail = &api.Error{Code: api.CodeServiceUnknown, Message: "no such service"} })
		time.Sleep(45 * time.Minute)
		ca.do(func() { ca.fail = nil })
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if err := a.Ready(); err != nil || len(ca.seen("renew")) < 2 {
			t.Errorf("not renewed: %v", err)
		}
		stop() // and the end does not wait for it either
	})
}

func TestRenewalGoesOnWhenItsRequestCannotBeSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		a, err := New(ca.config(log))
		if err != nil {
			t.Fatal(err)
		}
		broken := &brokenStore{}
		a.store = broken
		go a.Run(t.Context())
		synctest.Wait()
		mustCurrent(t, a)
		broken.set(func() { broken.err, broken.pendingToo = errors.New("no space left on device"), true })
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		if _, err := a.Current(); err != nil {
			t.Fatalf("a full disk cost the service: %v", err)
		}
		requests := ca.seen("renew")
		if n := len(requests); n < 7 || n > 12 {
			t.Errorf("%d renewals in six hours; want about nine", n)
		}
		if !strings.Contains(log.String(), "could not be saved") {
			t.Errorf("the log does not say so:\n%s", log)
		}
	})
}

// bulkyCA promises more CRLs than an agent can hold.
type bulkyCA struct {
	CA
	fetched *atomic.Int64
}

func (c *bulkyCA) AgentState(ctx context.Context, etag string) (*api.AgentState, string, error) {
	state, etag, err := c.CA.AgentState(ctx, etag)
	for state != nil && len(state.CRLs) < maxIssuers {
		state.CRLs = append(state.CRLs, state.CRLs[0])
	}
	return state, etag, err
}

func (c *bulkyCA) CRL(ctx context.Context, issuer, etag string) ([]byte, string, error) {
	c.fetched.Add(1)
	return c.CA.CRL(ctx, issuer, etag)
}

func TestMoreCRLsThanFitAreNotFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		ca.crl, ca.crlNumber = ca.pki.PaddedCRL(8<<20), "2"
		var fetched atomic.Int64
		cfg := ca.config(log)
		cfg.Connect = func(address string, config *tls.Config) (CA, error) {
			conn, err := ca.connect(address, config)
			return &bulkyCA{conn, &fetched}, err
		}
		_, stop := start(t, cfg)
		defer stop()
		synctest.Wait()
		if n, fit := fetched.Load(), int64(maxCRLBytes/len(ca.crl)+1); n == 0 || n > fit {
			t.Errorf("fetched %d CRLs of %d bytes; %d fill the room", n, len(ca.crl), fit)
		}
		if !strings.Contains(log.String(), "bytes together") {
			t.Errorf("the log does not say so:\n%s", log)
		}
	})
}

// The session that a renewal used is closed; one that shows the new certificate stays.
func TestSessionsAreClosedOnceTheyAreStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		var open, made atomic.Int64
		cfg := ca.config(log)
		cfg.StateDir = filepath.Join(t.TempDir(), "state")
		cfg.Connect = func(address string, config *tls.Config) (CA, error) {
			conn, err := ca.connect(address, config)
			open.Add(1)
			made.Add(1)
			return &countedCA{CA: conn, open: &open}, err
		}
		_, stop := start(t, cfg)
		time.Sleep(6 * time.Hour) // nine rotations
		synctest.Wait()
		if n := open.Load(); n != 1 {
			t.Errorf("%d sessions are open after %d; want 1", n, made.Load())
		}
		if strings.Contains(log.String(), "could not be used") {
			t.Errorf("a rotation looks like a failure:\n%s", log)
		}
		stop()
		if n := open.Load(); n != 0 {
			t.Errorf("%d sessions are open after the end", n)
		}
	})
}

// countedCA fails what is asked of it once it is closed, as a hung-up connection would.
type countedCA struct {
	CA
	open   *atomic.Int64
	closed atomic.Bool
}

func (c *countedCA) Close() {
	if !c.closed.Swap(true) {
		c.open.Add(-1)
	}
}

func (c *countedCA) AgentState(ctx context.Context, etag string) (*api.AgentState, string, error) {
	state, next, err := c.CA.AgentState(ctx, etag)
	if c.closed.Load() && ctx.Err() == nil {
		return nil, "", errDown
	}
	return state, next, err
}
