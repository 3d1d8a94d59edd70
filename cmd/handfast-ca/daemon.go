package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup" // ends all parts when one fails, and waits for them

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/enroll"
	"github.com/handfast/handfast/ca/fleet"
	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/ca/server"
	"github.com/handfast/handfast/ca/store/sqlite"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/version"
	"github.com/handfast/handfast/revocation"
	"github.com/handfast/handfast/revocation/broadcast"
)

// daemon is everything that runs, wired together.
type daemon struct {
	cfg         *home.Config
	logger      *slog.Logger
	registry    *prometheus.Registry
	now         func() time.Time
	material    *home.Material
	fingerprint string
	store       *sqlite.Store
	publisher   *revocation.Publisher
	broadcaster *broadcast.Broadcaster
	fleet       *fleet.Fleet
	ca          *ca.CA
	server      *server.Server
}

// newDaemon opens keys and ledger and makes the parts, in the order of what needs what.
// It serves nothing yet.
func newDaemon(ctx context.Context, cfg *home.Config, logger *slog.Logger, now func() time.Time, acceptClock bool) (*daemon, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	d := &daemon{cfg: cfg, logger: logger, registry: registry, now: now}
	for _, open := range []func(context.Context) error{
		d.openKeys,
		d.openStore,
		d.openPublisher,
		d.openFeed,
		func(ctx context.Context) error { return d.openCA(ctx, acceptClock) },
		d.openServer,
	} {
		if err := open(ctx); err != nil {
			return nil, errors.Join(err, d.close())
		}
	}
	return d, nil
}

func (d *daemon) openKeys(ctx context.Context) (err error) {
	if d.material, err = d.cfg.Open(ctx, d.now()); err != nil {
		return err
	}
	d.fingerprint = certs.Fingerprint(d.material.Root)
	return nil
}

func (d *daemon) openStore(ctx context.Context) (err error) {
	d.store, err = sqlite.Open(ctx, d.cfg.Dir.Ledger(), sqlite.Options{Registerer: d.registry})
	return err
}

func (d *daemon) openPublisher(ctx context.Context) (err error) {
	d.publisher, err = revocation.Open(ctx, revocation.Config{
		Log: d.store, Issuers: []revocation.CRLSigner{d.material.Issuer}, BaseURL: d.cfg.PublicURL,
		Shards: d.cfg.CRL.Shards, FormerShards: d.cfg.CRL.FormerShards,
		Validity: d.cfg.CRL.Validity, Interval: d.cfg.CRL.Interval, Retention: d.cfg.Retention,
		Now: d.now, Logger: d.logger, Registerer: d.registry,
	})
	if err != nil {
		return err
	}
	return d.publishRootCRL(d.material.RootCRL)
}

func (d *daemon) openCA(ctx context.Context, acceptClock bool) (err error) {
	d.ca, err = newCA(ctx, d.cfg, d.material, ca.Config{
		Ledger: d.store, Publisher: d.publisher, Feed: d.broadcaster, Noted: d.fleet.Note, AcceptClock: acceptClock,
		Now: d.now, Logger: d.logger, Registerer: d.registry,
	})
	return err
}

func (d *daemon) openServer(context.Context) error {
	enroller, err := newEnroller(d.cfg, d.material, d.now, d.logger, d.registry)
	if err != nil {
		return err
	}
	d.server, err = server.New(server.Config{
		CA: d.ca, Tokens: enroller, Revocations: d.publisher, Feed: server.FeedOf(d.broadcaster), Fleet: d.fleet,
		DNSNames: d.cfg.DNSNames, IPs: d.cfg.IPs, Name: d.cfg.Name, Version: version.String(),
		Limits: server.Limits{
			Slots: d.cfg.Limits.Slots, FailureRate: d.cfg.Limits.FailureRate, FailureBurst: d.cfg.Limits.FailureBurst, Shutdown: d.cfg.Limits.Shutdown,
		},
		Now: d.now, Logger: d.logger, Registerer: d.registry, Gatherer: d.registry,
	})
	return err
}

// newEnroller makes the judge of enrolment tokens.
func newEnroller(cfg *home.Config, material *home.Material, now func() time.Time, logger *slog.Logger, registerer prometheus.Registerer) (*enroll.Enroller, error) {
	return enroll.New(enroll.Config{
		TrustDomain: cfg.TrustDomain, NativeKey: material.TokenKey, URL: cfg.APIURL, Fingerprint: certs.Fingerprint(material.Root),
		TokenTTL: cfg.TokenTTL, Platforms: cfg.Platforms, Now: now, Logger: logger, Registerer: registerer,
	})
}

// run serves until ctx ends. The server goes first: while it finishes what was
// accepted, the CA and the publisher still work; only then they stop.
func (d *daemon) run(ctx context.Context, listeners *server.Listeners) error {
	if err := d.ca.Prepare(ctx); err != nil {
		return err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	parts, failing := errgroup.WithContext(background)
	parts.Go(func() error { return d.publisher.Run(failing) })
	parts.Go(func() error { return d.ca.Run(failing) })
	parts.Go(func() error { return d.followRootCRL(failing) })
	parts.Go(func() error { return d.broadcaster.Run(failing) })
	parts.Go(func() error { d.followLog(failing); return nil })
	parts.Go(func() error { d.fleet.Run(failing); return nil })

	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(failing, cancel) // a part that failed ends the server, too
	served := d.server.Run(serving, listeners)
	stop()
	return errors.Join(served, parts.Wait())
}

// close releases what was opened, the last first.
func (d *daemon) close() error {
	var errs []error
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	if d.material != nil {
		errs = append(errs, d.material.Close())
	}
	return errors.Join(errs...)
}
