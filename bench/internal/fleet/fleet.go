// Package fleet is many simulated agents in one process. They speak the real protocol: a new
// mutual TLS connection and a CSR for each renewal. One in a hundred makes a fresh key each
// time, as an agent does; the others share one key, or this process would be
// busier with keys than the CA with certificates.
package fleet

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/agent/pace"
	"github.com/handfast/handfast/ca/api"
)

// workers is how many renewals are under way at most: they wait for the network mostly.
const workers = 256

// Config is what New needs.
type Config struct {
	Root    *x509.Certificate
	Address string // HOST:PORT of the CA's API
	Service string
	Agents  int
	Life    time.Duration // of a certificate
	Renewal time.Duration // from issuance to renewal
	Token   func() (string, error)
}

// Fleet is the agents and what they have lived through.
type Fleet struct {
	cfg    Config
	key    *ecdsa.PrivateKey // that most of them share
	csr    []byte            // for it
	agents []agent
	next   atomic.Int64 // the next one to enrol

	mu      sync.Mutex // guards what follows
	queue   queue
	seconds map[int64]*Second // by Unix time
	expired int
	least   float64 // life left at a renewal, as a share; 1 is all
	overdue time.Time
}

// agent is one simulated agent. Only one worker at a time has it.
type agent struct {
	chain     [][]byte
	key       *ecdsa.PrivateKey
	notBefore time.Time
	notAfter  time.Time
	retry     pace.Backoff
	due       time.Time
	renewAt   time.Time // when the renewal fell due first
	ownKey    bool
	dead      bool // its certificate has expired
}

// New makes agents without certificates.
func New(cfg Config) (*Fleet, error) {
	f := &Fleet{cfg: cfg, agents: make([]agent, cfg.Agents), seconds: make(map[int64]*Second), least: 1}
	var err error
	if f.key, f.csr, err = newKey(); err != nil {
		return nil, err
	}
	for i := range f.agents {
		f.agents[i].ownKey = i%100 == 0
	}
	return f, nil
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	return key, csr, err
}

// Len returns how many agents there are.
func (f *Fleet) Len() int { return len(f.agents) }

// Enrol enrols agents, over one connection, until none is left. Several may run at a time.
func (f *Fleet) Enrol(ctx context.Context, done *atomic.Int64) error {
	client, err := api.NewClient("https://"+f.cfg.Address, f.clientTLS())
	if err != nil {
		return err
	}
	defer client.Close()
	for ctx.Err() == nil {
		i := int(f.next.Add(1)) - 1
		if i >= len(f.agents) {
			return nil
		}
		token, err := f.cfg.Token()
		if err != nil {
			return err
		}
		issued, err := client.Enroll(ctx, &api.EnrollRequest{Token: token, CSR: f.csr}, rand.Text())
		if err != nil {
			return err
		}
		if err := f.agents[i].take(issued, f.key); err != nil {
			return err
		}
		done.Add(1)
	}
	return ctx.Err()
}

func (f *Fleet) clientTLS(certificates ...tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(f.cfg.Root)
	return &tls.Config{RootCAs: roots, Certificates: certificates, MinVersion: tls.VersionTLS13}
}

// take makes a new certificate the agent's own.
func (a *agent) take(issued *api.Issued, key *ecdsa.PrivateKey) error {
	leaf, err := x509.ParseCertificate(issued.Chain[0])
	if err != nil {
		return err
	}
	a.chain, a.key, a.notBefore, a.notAfter = issued.Chain, key, leaf.NotBefore, leaf.NotAfter
	a.retry.Reset()
	a.renewAt = issued.RenewAfter
	return nil
}

// Run lets the agents renew until ctx ends. Their first renewals are spread evenly, as in a fleet
// that has been up for long.
func (f *Fleet) Run(ctx context.Context) error {
	begin := time.Now()
	f.mu.Lock()
	for i := range f.agents {
		a := &f.agents[i]
		a.due = begin.Add(time.Duration(float64(f.cfg.Renewal) * float64(i) / float64(len(f.agents))))
		a.renewAt = a.due
		f.queue.add(a)
	}
	f.mu.Unlock()
	ready := make(chan *agent)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for a := range ready {
				f.renew(ctx, a)
			}
		})
	}
	err := f.dispatch(ctx, ready)
	close(ready)
	group.Wait()
	return err
}

// dispatch hands out the agents that are due.
func (f *Fleet) dispatch(ctx context.Context, ready chan<- *agent) error {
	for {
		f.mu.Lock()
		a, left := f.queue.due(time.Now())
		f.mu.Unlock()
		if a == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(min(left, 20*time.Millisecond)):
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case ready <- a:
		}
	}
}

// renew tries once, notes how it went, and puts the agent back into the queue.
func (f *Fleet) renew(ctx context.Context, a *agent) {
	key, csr, err := f.key, f.csr, error(nil)
	if a.ownKey {
		key, csr, err = newKey()
	}
	var issued *api.Issued
	if err == nil {
		issued, err = f.ask(ctx, a, csr)
	}
	now := time.Now()
	if ctx.Err() != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		left := float64(a.notAfter.Sub(now)) / float64(f.cfg.Life)
		late := now.Sub(a.renewAt) > f.cfg.Life/20
		err = a.take(issued, key)
		if err == nil {
			f.note(now).Renewed++
			f.least = min(f.least, left)
			if late {
				f.overdue = now
			}
			a.dead = false
			a.due = pace.Spread(a.renewAt, now, f.cfg.Life, pace.Jitter())
			a.renewAt = a.due
		}
	}
	if err != nil {
		f.failed(a, err, now)
	}
	f.queue.add(a)
}

// failed plans the next attempt. f.mu is held.
func (f *Fleet) failed(a *agent, err error, now time.Time) {
	second := f.note(now)
	var refused *api.Error
	switch {
	case errors.As(err, &refused) && (refused.Code == api.CodeRateLimited || refused.Code == api.CodeUnavailable):
		second.PutOff++
	default:
		second.Failed++
	}
	if !a.dead && now.After(a.notAfter) {
		a.dead = true
		f.expired++
	}
	a.due = now.Add(a.retry.Next(err, a.notAfter.Sub(now)))
}

func (f *Fleet) ask(ctx context.Context, a *agent, csr []byte) (*api.Issued, error) {
	if time.Now().After(a.notAfter) {
		return nil, fmt.Errorf("the certificate has expired at %s", a.notAfter)
	}
	own := tls.Certificate{Certificate: a.chain, PrivateKey: a.key}
	client, err := api.NewClient("https://"+f.cfg.Address, f.clientTLS(own))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.Renew(ctx, &api.RenewRequest{CSR: csr}, rand.Text())
}
