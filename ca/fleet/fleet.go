package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/certs"
)

// Ledger is where the fleet is remembered; the CA's ledger is one.
type Ledger = ca.AgentRecords

// Config is what New needs. Ledger has no default.
type Config struct {
	Ledger Ledger
	// Sequence is what there is to enforce now; nil says nothing, so that nobody lags.
	Sequence func() uint64
	// Refused reports whether a certificate is revoked or on hold; nil says that none is.
	Refused func(issuer string, serial certs.Serial) bool
	// Retention is how long after its certificate's expiry an agent is remembered; 0 is 7 days.
	Retention time.Duration

	Now        func() time.Time      // nil: time.Now
	Logger     *slog.Logger          // nil: discards
	Registerer prometheus.Registerer // nil: metrics are kept but not registered
}

// Errors that end a member's connection.
var (
	// ErrReplaced: the same agent, or another one with the same certificate, has connected anew.
	ErrReplaced = errors.New("the agent has connected anew")
	// ErrClosed: the CA stops.
	ErrClosed = errors.New("the CA is stopping")
)

// State is how an agent is.
type State string

// The states. Current, lagging and silent agents count in a Progress.
const (
	Current State = "current" // connected, and enforces all there is
	Lagging State = "lagging" // connected, and enforces less
	Silent  State = "silent"  // not connected, with a certificate that is valid
	Stopped State = "stopped" // said that it stops, and has not come back
	Expired State = "expired" // not connected, with a certificate that has expired
	Revoked State = "revoked" // its certificate is revoked or on hold
)

// Agent is what is known of one agent.
type Agent struct {
	ID         string
	Service    string
	Issuer     string // of the certificate that it showed last
	Serial     certs.Serial
	NotAfter   time.Time
	Version    string
	Address    string
	State      State
	Since      time.Time // connected since, or not connected since
	Sequence   uint64    // what it enforces
	EnforcedAt time.Time // when it said so
}

const defaultRetention = 7 * 24 * time.Hour

// Fleet is every agent that is known. Its methods are safe for concurrent use.
type Fleet struct {
	cfg     Config
	metrics *metrics

	mu       sync.Mutex // guards what follows, and the agents
	agents   map[key]*agent
	bySerial map[certs.Serial]*agent
	rounds   []*round // by sequence, at most maxRounds
	waiters  map[chan struct{}]struct{}
	closed   bool
}

type key struct{ service, id string }

// agent is one entry; Fleet.mu guards it.
type agent struct {
	row     ca.AgentRow
	since   time.Time // of the present connection, or of its end
	first   time.Time // when it was first seen; zero for those that the ledger remembered
	highest uint64    // that it ever acknowledged
	member  *Member   // its connection; nil is none
	linger  time.Time // until when one who polls counts as connected
	dirty   bool      // row is not saved
}

// New loads what the ledger remembers: everybody is silent until it comes back.
func New(ctx context.Context, cfg Config) (*Fleet, error) {
	if cfg.Ledger == nil {
		return nil, errors.New("fleet: the ledger is missing")
	}
	if cfg.Retention < 0 {
		return nil, fmt.Errorf("fleet: retention %s is negative", cfg.Retention)
	}
	if cfg.Retention == 0 {
		cfg.Retention = defaultRetention
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Refused == nil {
		cfg.Refused = func(string, certs.Serial) bool { return false }
	}
	if cfg.Sequence == nil {
		cfg.Sequence = func() uint64 { return 0 }
	}
	f := &Fleet{cfg: cfg, agents: make(map[key]*agent), bySerial: make(map[certs.Serial]*agent), waiters: make(map[chan struct{}]struct{})}
	if err := f.load(ctx); err != nil {
		return nil, err
	}
	f.metrics = newMetrics(f, cfg.Registerer)
	return f, nil
}

func (f *Fleet) load(ctx context.Context) error {
	rows, err := f.cfg.Ledger.Agents(ctx)
	if err != nil {
		return fmt.Errorf("fleet: read the agents: %w", err)
	}
	now := f.cfg.Now()
	for _, row := range rows {
		a := &agent{row: row, since: row.SilentSince, highest: row.Sequence}
		if a.since.IsZero() {
			a.since, a.row.SilentSince = now, now // it was connected when the CA last wrote
		}
		if other := f.bySerial[row.Serial]; other != nil {
			if other.row.EnforcedAt.After(row.EnforcedAt) {
				continue
			}
			delete(f.agents, other.key())
		}
		f.agents[a.key()], f.bySerial[row.Serial] = a, a
	}
	return nil
}

func (a *agent) key() key { return key{a.row.Service, a.row.ID} }

func (a *agent) connected(now time.Time) bool { return a.member != nil || now.Before(a.linger) }

// state is the agent's when there is sequence to enforce.
func (f *Fleet) state(a *agent, sequence uint64, now time.Time) State {
	switch {
	case f.cfg.Refused(a.row.Issuer, a.row.Serial):
		return Revoked
	case a.connected(now) && a.row.Sequence < sequence:
		return Lagging
	case a.connected(now):
		return Current
	case a.row.Stopped:
		return Stopped
	case now.After(a.row.NotAfter):
		return Expired
	default:
		return Silent
	}
}

func (f *Fleet) show(a *agent, sequence uint64, now time.Time) Agent {
	shown := Agent{
		ID: a.row.ID, Service: a.row.Service, Issuer: a.row.Issuer, Serial: a.row.Serial, NotAfter: a.row.NotAfter,
		Version: a.row.Version, Address: a.row.Address, State: f.state(a, sequence, now), Since: a.since,
		Sequence: a.row.Sequence, EnforcedAt: a.row.EnforcedAt,
	}
	if !a.connected(now) {
		shown.Since = a.row.SilentSince
	}
	return shown
}

// Agents returns everybody, by service and ID.
func (f *Fleet) Agents() []Agent {
	now, sequence := f.cfg.Now(), f.cfg.Sequence()
	f.mu.Lock()
	list := make([]Agent, 0, len(f.agents))
	for _, a := range f.agents {
		list = append(list, f.show(a, sequence, now))
	}
	f.mu.Unlock()
	slices.SortFunc(list, byName)
	return list
}
