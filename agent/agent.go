package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/handfast/handfast/agent/followers"
	"github.com/handfast/handfast/agent/holder"
	"github.com/handfast/handfast/agent/pace"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/certs/feed"
)

// Errors of Current. Callers fail closed.
var (
	ErrNotEnrolled = errors.New("no certificate yet: the agent is not enrolled")
	ErrExpired     = errors.New("the own certificate has expired")
	ErrNotYetValid = errors.New("the own certificate is not valid yet: this host's clock is behind the CA's")
)

var _ certs.Source = (*Agent)(nil)

// Agent keeps one service's identity. Make it with New, start it with Run. All its
// methods are safe for concurrent use.
type Agent struct {
	ca, fingerprint string
	keyAlgorithm    string
	token           *patientSource
	now             func() time.Time
	jitter          func() float64
	logger          *slog.Logger
	connect         Connector
	metrics         *metrics
	stapler         *stapler
	polls           *rate.Limiter // of questions about the CA's state
	id              string        // of this agent, towards the CA
	fullCRLs        bool
	followers       *followers.Registry

	newVersions chan struct{} // the feed names versions that were not fetched
	newEntries  chan struct{} // the view is to be saved
	newCRLs     chan struct{} // full CRLs are behind the feed
	questions   chan question

	live atomic.Pointer[certs.Snapshot] // what Current hands out; nil before enrolment

	saving     sync.Mutex // held while state is written, so that memory and disk change in one order
	store      store      // guarded by saving
	request    *pending   // under way; guarded by saving
	savedRules *rules     // what the store holds; guarded by saving

	mu        sync.Mutex // guards what follows
	cred      *credential
	rules     *rules
	feed      *holder.Holder // of the own trust domain, which is feedOf
	feedOf    string
	view      *feed.View // what feed has published last
	savedView *feed.View
	durable   uint64                 // up to where the feed is saved
	enforcers []uint64               // up to where each enforces it
	askedFor  []api.Version          // what the feed named before the CA's state was fetched last
	keptOld   bool                   // CRLs are held that nobody needs any more once the feed is there
	wanted    map[string]uint64      // by issuer, the number that its full CRL has to reach
	asked     map[question]time.Time // until when the same is not asked again
	toldAt    time.Time              // of the last publication that wakes who waits
	endRound  func()                 // lets watch begin again with the new certificate
	renewAt   time.Time              // cred's renewal, jittered
	changed   chan struct{}          // closed and replaced at each publication
	unsaved   bool                   // cred is newer than what the store holds
	clock     clockOffset
	report    report       // what happened last, for Status
	session   CA           // shows cred's certificate; nil until used
	sessionOf certs.Serial // the certificate that session shows
	verdict   verdict
	tried     string // digest of the token that the CA has refused
	lastPlea  string // what was logged last about a missing token, to say it once
}

// New makes an agent and loads its state, so that Current works at once after a
// restart, a CA outage included. Damaged state is logged, set aside and replaced
// by the previous generation or a new enrolment. It fails when the configuration is wrong or the
// state directory cannot be used: others can read it, another agent has it.
func New(cfg Config) (*Agent, error) {
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	cfg.fill()
	a := &Agent{
		ca: cfg.CA, fingerprint: strings.ToLower(cfg.Fingerprint), keyAlgorithm: cfg.KeyAlgorithm,
		token: &patientSource{source: cfg.Token}, now: cfg.Now, jitter: cfg.Jitter, logger: cfg.Logger, connect: cfg.Connect,
		store: memoryStore{}, changed: make(chan struct{}), polls: rate.NewLimiter(rate.Every(time.Second), pollsAtOnce),
		fullCRLs: cfg.FullCRLs, newVersions: make(chan struct{}, 1), newEntries: make(chan struct{}, 1), newCRLs: make(chan struct{}, 1),
		questions: make(chan question, maxQuestions), asked: make(map[question]time.Time), wanted: make(map[string]uint64),
		endRound: func() {},
	}
	a.stapler = newStapler(cfg, a.restaple)
	a.followers = followers.New(a.now, a.acknowledge)
	if cfg.StateDir != "" {
		opened, err := openStore(cfg.StateDir, cfg.Logger)
		if err != nil {
			return nil, fmt.Errorf("agent: %w", err)
		}
		a.store = opened
	}
	if err := a.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("agent: %w", err), a.store.close())
	}
	var err error
	if a.metrics, err = newMetrics(a, cfg.Registerer); err != nil {
		return nil, errors.Join(fmt.Errorf("agent: %w", err), a.store.close())
	}
	return a, nil
}

func (a *Agent) load() error {
	var err error
	if a.id, err = a.store.agentID(); err != nil {
		return err
	}
	cred, err := a.store.loadIdentity()
	if err != nil || cred == nil {
		return err
	}
	known, err := a.store.loadEnforcement()
	if err != nil {
		return err
	}
	if known != nil && known.raw.ID != cred.id {
		a.logger.Warn("the stored policy is another identity's and is not used", "self", cred.id, "stored", known.raw.ID)
		known = nil
	}
	view, err := a.store.loadView()
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if domain := cred.id.TrustDomain().String(); view.TrustDomain() == domain {
		a.view = view
		a.newFeed(domain, view)
	}
	a.rules, a.savedRules = known, known
	a.setCredential(cred)
	a.refresh(true)
	return nil
}

// Run keeps the certificate and the policy up to date until ctx ends, and then returns nil.
// Failures do not end it: they are logged, counted and tried again. The state directory
// is given free when it returns; the last snapshot stays readable. Call it once.
func (a *Agent) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { a.rotate(ctx); return nil })
	group.Go(func() error { a.watch(ctx); return nil })
	group.Go(func() error { a.stapler.run(ctx); return nil })
	group.Go(func() error { a.keep(ctx); return nil })
	group.Go(func() error { a.watchSilence(ctx); return nil })
	err := group.Wait()
	a.endSession()
	a.saving.Lock()
	defer a.saving.Unlock()
	err = errors.Join(err, a.store.close())
	a.store = memoryStore{}
	return err
}

// Close gives the state directory free when Run is never called.
func (a *Agent) Close() error {
	a.saving.Lock()
	defer a.saving.Unlock()
	err := a.store.close()
	a.store = memoryStore{}
	return err
}

// Followers is who follows this agent from other processes: what the CA is told to be enforced waits for them too.
func (a *Agent) Followers() *followers.Registry { return a.followers }

// Current returns the newest snapshot. It fails before enrolment and when the certificate
// has expired (or, by this host's clock, is not valid yet): what has expired is never handed out.
func (a *Agent) Current() (*certs.Snapshot, error) {
	snap := a.live.Load()
	if snap == nil {
		return nil, ErrNotEnrolled
	}
	now, leaf := a.now(), snap.Certificate.Leaf
	switch {
	case now.After(leaf.NotAfter):
		return nil, fmt.Errorf("%w: %s at %s, clock here %s", ErrExpired, snap.ID, stamp(leaf.NotAfter), stamp(now))
	case now.Before(leaf.NotBefore):
		return nil, fmt.Errorf("%w: %s from %s, clock here %s", ErrNotYetValid, snap.ID, stamp(leaf.NotBefore), stamp(now))
	default:
		return snap, nil
	}
}

// Changed returns a channel that is closed at the next publication: ask for it before
// Current, so that no change is missed.
func (a *Agent) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

// WaitReady returns when there is a valid certificate and policy and revocation are
// known, or when ctx ends.
func (a *Agent) WaitReady(ctx context.Context) error {
	for {
		changed := a.Changed()
		err := a.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("agent is not ready: %w: %w", ctx.Err(), err)
		}
	}
}

// Ready returns nil when calls can be made and taken, and otherwise why not.
func (a *Agent) Ready() error {
	snap, err := a.Current()
	switch {
	case err != nil:
		return err
	case snap.Policy == nil:
		return errors.New("policy is unknown until the CA has answered: every caller is refused")
	case snap.Revocation == nil:
		return errors.New("revocation is unknown until the CA has answered: every peer is refused")
	default:
		return errors.Join(a.feedReady(snap.Revocation), a.stapler.ready())
	}
}

// setCredential makes cred the own identity. mu is held.
func (a *Agent) setCredential(cred *credential) {
	if a.rules != nil && a.rules.raw.ID != cred.id {
		a.rules = nil // another identity's policy says nothing about this one
	}
	if domain := cred.id.TrustDomain().String(); a.feedOf != domain {
		a.view = nil
		a.newFeed(domain, nil)
	}
	a.cred = cred
	a.stapler.use(cred.cert, cred.issuer)
	a.renewAt = pace.Spread(cred.renewAfter, a.now(), cred.notAfter().Sub(cred.notBefore()), a.jitter())
}

// feedReady returns why peers cannot be judged by the feed, if the CA has one.
func (a *Agent) feedReady(revocation *certs.Revocation) error {
	a.mu.Lock()
	promised := a.rules != nil && len(a.rules.raw.Versions) > 0
	a.mu.Unlock()
	view := revocation.Feed()
	if view == nil && !promised {
		return nil
	}
	if view == nil {
		return errors.New("what is revoked is unknown until the CA's feed has come: every peer is refused")
	}
	if err := view.Fresh(a.now(), revocation.MaxSilence()); err != nil {
		return fmt.Errorf("the CA's feed is silent: every peer is refused: %w", err)
	}
	return nil
}

// trust returns the roots and the revocation of now.
func (a *Agent) trust() (*certs.Bundle, *certs.Revocation) {
	a.mu.Lock()
	defer a.mu.Unlock()
	snap := a.snapshot()
	return snap.Bundle, snap.Revocation
}

// credential returns the own identity, nil before enrolment.
func (a *Agent) credential() *credential {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cred
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
