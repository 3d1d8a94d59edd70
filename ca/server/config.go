package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/ca/fleet"
)

// Config is what New needs. CA, Tokens, Revocations, Feed, Fleet and one of DNSNames and IPs have no default.
type Config struct {
	CA          Authority
	Tokens      Tokens
	Revocations Revocations
	Feed        Feed         // what agents follow; see FeedOf
	Fleet       *fleet.Fleet // who follows, and how far they are

	DNSNames []string     // of the API's own certificate
	IPs      []netip.Addr // of the API's own certificate
	Name     string       // of this CA, for status
	Version  string       // of the program, for status

	Limits     Limits
	Now        func() time.Time      // nil is time.Now
	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil leaves the metrics unregistered
	Gatherer   prometheus.Gatherer   // what /metrics shows; nil shows nothing
}

// Limits bounds what clients can take. The zero value of each is its default.
type Limits struct {
	ReadHeader time.Duration // TLS handshake, and a request's header; default 5 s
	Read       time.Duration // a whole request; default 15 s
	Write      time.Duration // an answer, from the request's header on and without the wait that it asks for; default 30 s
	Idle       time.Duration // a kept connection without a request; default 3 min
	Shutdown   time.Duration // to finish accepted requests at the end; default 20 s

	// Slots is how many requests without a certificate (enrol, rekey) work at once, and
	// Queue how long one more waits for a slot before it is told to come back. Defaults: 64, 1 s.
	Slots int
	Queue time.Duration
	// Renewals is how many renewals work at once. Of those that wait, for Queue as well, the certificate
	// that expires first goes first; the others are told when to come back. Default: 128.
	Renewals int
	// FailureRate and FailureBurst bound refused enrolments and rekeys from one address
	// (IPv6: from one /64), a second; those that succeed are free. Defaults: 5, 50.
	FailureRate  float64
	FailureBurst int
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.ReadHeader, 5*time.Second)
	setDefault(&l.Read, 15*time.Second)
	setDefault(&l.Write, 30*time.Second)
	setDefault(&l.Idle, 3*time.Minute)
	setDefault(&l.Shutdown, 20*time.Second)
	setDefault(&l.Slots, 64)
	setDefault(&l.Queue, time.Second)
	setDefault(&l.Renewals, 128)
	setDefault(&l.FailureRate, 5)
	setDefault(&l.FailureBurst, 50)
	return l
}

func setDefault[T ~int | ~int64 | ~float64](value *T, fallback T) {
	if *value == 0 {
		*value = fallback
	}
}

func (cfg *Config) check() error {
	switch {
	case cfg.CA == nil:
		return errors.New("server: the CA is missing")
	case cfg.Tokens == nil:
		return errors.New("server: the verifier of enrolment tokens is missing")
	case cfg.Revocations == nil:
		return errors.New("server: the publisher of revocations is missing")
	case cfg.Feed == nil || cfg.Fleet == nil:
		return errors.New("server: the feed, or the fleet that follows it, is missing")
	case len(cfg.DNSNames) == 0 && len(cfg.IPs) == 0:
		return errors.New("server: the API has no DNS name and no IP address to certify")
	}
	l := cfg.Limits.withDefaults()
	if min(l.ReadHeader, l.Read, l.Write, l.Idle, l.Shutdown, l.Queue) < 0 || min(l.Slots, l.Renewals, l.FailureBurst) < 0 || l.FailureRate < 0 {
		return fmt.Errorf("server: a limit is negative: %+v", l)
	}
	cfg.Limits = l
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Gatherer == nil {
		cfg.Gatherer = prometheus.NewRegistry()
	}
	return nil
}
