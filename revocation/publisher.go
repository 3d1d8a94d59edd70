package revocation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/certs"
)

// Publisher folds the log into memory and publishes CRLs and OCSP responses from there.
// It is safe for concurrent use; readers never wait for a publication.
type Publisher struct {
	config      Config
	follower    *follower
	authorities []*authority          // in the order of Config.Issuers
	byID        map[string]*authority // never changes
	routes      map[string]*slot      // by path; never changes
	responder   *responder
	metrics     *metrics

	static   atomic.Pointer[map[string]*document] // by issuer; a new map for each change
	staticMu sync.Mutex                           // one change at a time

	wakeAhead chan struct{} // holds one element while shards that have news are asked for
	wake      chan struct{} // the same, of everything: when the shards are out
	changed   signal
	mu        sync.Mutex
	lastErr   error // guarded by mu: of the last publication, nil when it worked
}

// Open folds the whole log and publishes the first CRLs of every issuer, each with a
// number of its own. It fails if the log cannot be read or written, or a CRL cannot be signed.
func Open(ctx context.Context, config Config) (*Publisher, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	measures, err := newMetrics(config.Registerer)
	if err != nil {
		return nil, err
	}
	p := &Publisher{
		config: config, metrics: measures,
		byID: make(map[string]*authority), routes: make(map[string]*slot),
		wake: make(chan struct{}, 1), wakeAhead: make(chan struct{}, 1),
	}
	p.static.Store(&map[string]*document{})
	p.follower = newFollower(config.Log, measures)
	for _, signer := range config.Issuers {
		p.add(signer)
	}
	if p.responder, err = newResponder(p); err != nil {
		return nil, err
	}
	if _, err := p.follower.fold(ctx, config.Now()); err != nil {
		return nil, err
	}
	for _, a := range p.authorities {
		a.history.unsharded.claim() // what was revoked before the start waits for nothing
		a.history.unlisted.claim()
		if err := p.publish(ctx, a, true); err != nil {
			return nil, fmt.Errorf("publish the first CRL of issuer %s: %w", a.signer.ID(), err)
		}
	}
	p.observe()
	return p, nil
}

func (p *Publisher) add(signer CRLSigner) {
	id, base := signer.ID(), strings.TrimRight(p.config.BaseURL, "/")
	a := &authority{
		signer: signer, history: newHistory(p.config.DeltaWindow),
		everything: newPartition(base, id, 0, p.routes),
	}
	for _, shards := range p.config.partitions() {
		if shards > 0 {
			a.partitions = append(a.partitions, newPartition(base, id, shards, p.routes))
		}
	}
	p.authorities = append(p.authorities, a)
	p.byID[id] = a
	p.follower.histories[id] = a.history
}

// Sync folds what is new in the log. When it returns nil, OCSP and Revoked know
// everything that was durable when it was called, and Run publishes it in its shard's CRL
// at once and in the full one within a second. When it fails, OCSP answers tryLater until the log could be read.
func (p *Publisher) Sync(ctx context.Context) error {
	news, err := p.follower.fold(ctx, p.config.Now())
	if news {
		ask(p.wakeAhead)
	}
	return err
}

func ask(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default: // asked for already
	}
}

// Revoked returns the entry that revoked a certificate or holds it, as of the last Sync,
// also for issuers that are not in Config.Issuers; else the one that the CRL of its issuer
// lists which AddStaticCRL took.
func (p *Publisher) Revoked(issuer string, serial certs.Serial) (Entry, bool) {
	if serial.IsZero() {
		return Entry{}, false
	}
	if entry, ok := p.logged(issuer, serial); ok {
		return entry, true
	}
	return p.listed(issuer, serial)
}

// listed is what an issuer's CRL says, if AddStaticCRL took it.
func (p *Publisher) listed(issuer string, serial certs.Serial) (Entry, bool) {
	if d := (*p.static.Load())[issuer]; d != nil {
		entry, ok := d.revoked[serial]
		return entry, ok
	}
	return Entry{}, false
}

// logged is what the log says, as of the last Sync.
func (p *Publisher) logged(issuer string, serial certs.Serial) (Entry, bool) {
	r, ok := p.follower.lookup(issuer, serial)
	if !ok {
		return Entry{}, false
	}
	return Entry{
		Sequence: r.sequence, Kind: r.kind, Issuer: issuer, Serial: serial, Reason: certs.Reason(r.reason),
		At: time.Unix(int64(r.at), 0).UTC(), NotAfter: time.Unix(int64(r.notAfter), 0).UTC(),
	}, true
}

// CRL returns the newest full CRL of an issuer: one in Config.Issuers, or one whose CRL
// AddStaticCRL took.
func (p *Publisher) CRL(issuer string) (CRL, bool) {
	if a := p.byID[issuer]; a != nil {
		return a.everything.scopes[0].full.newest.Load().export(), true
	}
	if d := (*p.static.Load())[issuer]; d != nil {
		return d.export(), true
	}
	return CRL{}, false
}

// CRLs returns the newest full CRL of every issuer in the order of Config.Issuers, and
// then the static ones by issuer.
func (p *Publisher) CRLs() []CRL {
	var all []CRL
	for _, a := range p.authorities {
		all = append(all, a.everything.scopes[0].full.newest.Load().export())
	}
	static := *p.static.Load()
	for _, issuer := range slices.Sorted(maps.Keys(static)) {
		all = append(all, static[issuer].export())
	}
	return all
}

// Changed returns a channel that is closed at the next publication. Take it before CRLs
// are read, so that no publication is missed.
func (p *Publisher) Changed() <-chan struct{} { return p.changed.wait() }
