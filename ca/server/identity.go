package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/ca/api"
)

// retryIdentity is how soon a failed rotation of the server's certificate is repeated.
const retryIdentity = 30 * time.Second

// identity is the API's own certificate. The CA issues it like any other; it is replaced
// at 2/3 of its life. While that fails the last good one is served until it expires.
type identity struct {
	issue   func(ctx context.Context) (*tls.Certificate, error)
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics
	staples *stapler
	current atomic.Pointer[tls.Certificate] // Leaf is set
}

func newIdentity(cfg Config, m *metrics) *identity {
	return &identity{
		issue: func(ctx context.Context) (*tls.Certificate, error) {
			return cfg.CA.ServerCertificate(ctx, cfg.DNSNames, cfg.IPs)
		},
		now: cfg.Now, log: cfg.Logger, metrics: m,
		staples: &stapler{respond: cfg.Revocations.Respond, now: cfg.Now},
	}
}

// rotate replaces the certificate; on an error the old one stays.
func (i *identity) rotate(ctx context.Context) error {
	next, err := i.issue(ctx)
	if err != nil {
		return fmt.Errorf("server: issue the API's own certificate: %w", err)
	}
	if next.Leaf == nil {
		return errors.New("server: the API's own certificate came without its parsed leaf")
	}
	i.current.Store(next)
	i.metrics.notAfter.Set(float64(next.Leaf.NotAfter.Unix()))
	return nil
}

// run rotates in time until ctx ends. It looks at the clock at least once a minute: a
// host that slept, or whose clock was set, has not counted the time that passed.
func (i *identity) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		pause := i.remaining()
		if pause <= 0 {
			pause = time.Second // a new certificate never needs another at once
			if err := i.rotate(ctx); err != nil && ctx.Err() == nil {
				i.log.LogAttrs(ctx, slog.LevelError, "the API's own certificate was not replaced; the old one is served until it expires",
					slog.Any("error", err))
				pause = retryIdentity
			}
		}
		timer.Reset(min(pause, time.Minute))
	}
}

// remaining is the time until 2/3 of the certificate's life.
func (i *identity) remaining() time.Duration {
	leaf := i.current.Load().Leaf
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return leaf.NotBefore.Add(life / 3 * 2).Sub(i.now())
}

// get is for tls.Config.GetCertificate. It fails closed after the expiry.
func (i *identity) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	certificate := i.current.Load()
	if certificate == nil {
		return nil, errors.New("server: there is no certificate yet")
	}
	if i.now().After(certificate.Leaf.NotAfter) {
		return nil, fmt.Errorf("server: the API's own certificate expired at %s and could not be replaced", certificate.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return i.staples.on(certificate), nil
}

// TLSConfig is for the API's listener: TLS 1.3, without session tickets, a client
// certificate is asked for and looked at with each request (enrolment has none yet).
// The handshake itself proves only that the client holds the key of what it sent.
func (s *Server) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequestClientCert,
		GetCertificate:         s.identity.get,
		NextProtos:             []string{"h2", "http/1.1", api.FeedProtocol},
		SessionTicketsDisabled: true,
		// Records for the first packets to be read alone save browsers time. Answers here are one piece.
		DynamicRecordSizingDisabled: true,
		Time:                        s.cfg.Now,
	}
}
