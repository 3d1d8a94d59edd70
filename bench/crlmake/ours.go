package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/revocation"
)

// serial is as long as real ones are, and as random.
func serial(number uint64) []byte {
	random := rand.NewPCG(number, 1)
	octets := []byte{0x40}
	for range 2 {
		octets = binary.BigEndian.AppendUint64(octets, random.Uint64())
	}
	return octets
}

// log is a revocation log whose first entries are made up when they are read, so that the
// memory is the publisher's. It is safe for concurrent use.
type log struct {
	issuer string
	made   uint64 // how many are made up
	begin  time.Time

	mu    sync.Mutex
	later []revocation.Entry // guarded by mu
}

func (l *log) Entries(_ context.Context, after uint64, limit int) ([]revocation.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entries := make([]revocation.Entry, 0, min(limit, int(l.made)+len(l.later)-int(after)))
	for number := after + 1; len(entries) < cap(entries); number++ {
		if number > l.made {
			entries = append(entries, l.later[number-l.made-1])
			continue
		}
		e, err := l.entry(number, l.begin)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (l *log) entry(number uint64, at time.Time) (revocation.Entry, error) {
	revoked, err := certs.SerialFromBytes(serial(number))
	return revocation.Entry{
		Sequence: number, Kind: revocation.Revoked, Issuer: l.issuer, Serial: revoked,
		Reason: certs.KeyCompromise, At: at, NotAfter: l.begin.Add(24 * time.Hour),
	}, err
}

func (l *log) AppendPublished(_ context.Context, issuer string, at time.Time) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	number := l.made + uint64(len(l.later)) + 1
	l.later = append(l.later, revocation.Entry{Sequence: number, Kind: revocation.Published, Issuer: issuer, At: at})
	return number, nil
}

// revoke appends one more.
func (l *log) revoke() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, err := l.entry(l.made+uint64(len(l.later))+1, time.Now().UTC().Truncate(time.Second))
	l.later = append(l.later, e)
	return err
}

func (l *log) Issued(context.Context, string, certs.Serial) (bool, error) { return true, nil }

func ours(ctx context.Context, chain []*x509.Certificate, key *ecdsa.PrivateKey, revoked, shards, times int) error {
	signer, err := issuer.New(chain, key)
	if err != nil {
		return err
	}
	begin := time.Now().UTC().Truncate(time.Second)
	l := &log{issuer: signer.ID(), made: uint64(revoked), begin: begin}
	p, err := revocation.Open(ctx, revocation.Config{
		Log: l, Issuers: []revocation.CRLSigner{signer}, BaseURL: "http://bench.test:8080", Shards: shards,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	for range times {
		if err := publishOne(ctx, p, l); err != nil {
			cancel()
			return err
		}
	}
	cancel()
	return <-ended
}

// publishOne revokes one more and waits for the full list that has it.
func publishOne(ctx context.Context, p *revocation.Publisher, l *log) error {
	list, _ := p.CRL(l.issuer)
	if err := l.revoke(); err != nil {
		return err
	}
	before := used()
	if err := p.Sync(ctx); err != nil {
		return err
	}
	for have := list.Entries; list.Entries == have; {
		changed := p.Changed()
		if list, _ = p.CRL(l.issuer); list.Entries > have {
			break
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			return fmt.Errorf("the publisher published no list of %d entries", have+1)
		}
	}
	note(before)
	return nil
}
