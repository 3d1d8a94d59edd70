package enroll

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5" // spaces the attempts to reach an identity provider
	"github.com/smallstep/certificates/authority/provisioner"
)

const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
	// minRefresh keeps a flood of forged tokens from becoming a flood of fetches.
	minRefresh = time.Minute
)

// issuerSession holds the provisioner of one OpenID Connect issuer once it could be
// reached. Connecting does network I/O, so it happens when a token needs it, one
// attempt at a time, with growing pauses after failures.
type issuerSession struct {
	name    string
	connect func() (*provisioner.OIDC, error)
	now     func() time.Time
	logger  *slog.Logger

	mu      sync.Mutex // guards everything below
	step    *provisioner.OIDC
	fetched time.Time // of the newest attempt to connect
	retryAt time.Time // no attempt before
	pause   backoff.BackOff
	running chan struct{} // closed when the attempt under way has ended; nil without one
}

func newIssuerSession(name string, connect func() (*provisioner.OIDC, error), environment env) *issuerSession {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = firstRetry, lastRetry
	return &issuerSession{name: name, connect: connect, now: environment.now, logger: environment.logger, pause: pause}
}

// current returns the provisioner and when its keys were asked for. Without one it
// connects; it fails closed with a retryable error.
func (s *issuerSession) current(ctx context.Context) (*provisioner.OIDC, time.Time, error) {
	s.mu.Lock()
	if s.step != nil {
		defer s.mu.Unlock()
		return s.step, s.fetched, nil
	}
	if wait := s.retryAt.Sub(s.now()); wait > 0 && s.running == nil {
		s.mu.Unlock()
		return nil, time.Time{}, s.away(wait)
	}
	running := s.start()
	s.mu.Unlock()

	select {
	case <-running:
	case <-ctx.Done():
		return nil, time.Time{}, unavailable(firstRetry, "the request ended before the identity provider %q answered", s.name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.step == nil {
		return nil, time.Time{}, s.away(s.retryAt.Sub(s.now()))
	}
	return s.step, s.fetched, nil
}

// refresh fetches the keys again unless that happened since seen or less than
// minRefresh ago. It reports whether the provisioner is another one than at seen; the
// old one stays when the fetch fails.
func (s *issuerSession) refresh(ctx context.Context, seen time.Time) (*provisioner.OIDC, bool) {
	s.mu.Lock()
	if s.fetched.After(seen) || (s.running == nil && s.now().Sub(s.fetched) < minRefresh) {
		defer s.mu.Unlock()
		return s.step, s.fetched.After(seen)
	}
	before := s.step
	running := s.start()
	s.mu.Unlock()

	select {
	case <-running:
	case <-ctx.Done():
		return before, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.step, s.step != before
}

// start begins an attempt to connect, or joins the one under way. The caller holds mu.
func (s *issuerSession) start() <-chan struct{} {
	if s.running != nil {
		return s.running
	}
	running := make(chan struct{})
	s.running = running
	s.fetched = s.now()
	go func() {
		step, err := s.connect()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running = nil
		if err != nil {
			s.retryAt = s.now().Add(s.pause.NextBackOff())
			s.logger.Warn("identity provider cannot be reached; its tokens are refused or judged by the last known keys",
				"provider", s.name, "error", err, "retry_at", s.retryAt)
		} else {
			s.step = step
			s.pause.Reset()
		}
		close(running)
	}()
	return running
}

func (s *issuerSession) away(wait time.Duration) error {
	return unavailable(max(wait, firstRetry), "the identity provider %q cannot be reached, so its tokens cannot be checked", s.name)
}
