// Command profiled is handfast-ca serve with a CPU profiler around it: the same parts,
// wired the same way. The product has no debugging port; this program is only built by
// the benchmarks. SIGUSR1 starts the profile, SIGTERM writes it and ends. What was allocated,
// from the start on, goes to PROFILE without .prof, with -allocs.prof.
//
//	profiled DIR PROFILE
package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/enroll"
	"github.com/handfast/handfast/ca/fleet"
	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/ca/server"
	"github.com/handfast/handfast/ca/store/sqlite"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/internal/logging"
	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/revocation"
	"github.com/handfast/handfast/revocation/broadcast"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, home.Dir(os.Args[1]), os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "profiled:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir home.Dir, profile string) (err error) {
	file, err := os.Create(profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	allocations, err := os.Create(strings.TrimSuffix(profile, ".prof") + "-allocs.prof")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pprof.Lookup("allocs").WriteTo(allocations, 0), allocations.Close()) }()
	begin := make(chan os.Signal, 1)
	signal.Notify(begin, syscall.SIGUSR1)
	go func() {
		<-begin
		if err := pprof.StartCPUProfile(file); err != nil {
			fmt.Fprintln(os.Stderr, "profiled:", err)
		}
		fmt.Fprintln(os.Stderr, "profiling")
	}()
	defer pprof.StopCPUProfile()
	return serve(ctx, dir)
}

func serve(ctx context.Context, dir home.Dir) (err error) {
	cfg, err := home.Load(dir, nil)
	if err != nil {
		return err
	}
	logger, err := logging.New(os.Stderr, cfg.Log.Level, cfg.Log.Format)
	if err != nil {
		return err
	}
	material, err := cfg.Open(ctx, time.Now())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, material.Close()) }()
	registry := prometheus.NewRegistry()
	store, err := sqlite.Open(ctx, cfg.Dir.Ledger(), sqlite.Options{Registerer: registry})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	p, err := wire(ctx, cfg, material, store, registry, logger)
	if err != nil {
		return err
	}
	return p.run(ctx, cfg, logger)
}

type parts struct {
	publisher   *revocation.Publisher
	broadcaster *broadcast.Broadcaster
	fleet       *fleet.Fleet
	ca          *ca.CA
	server      *server.Server
}

// wire follows cmd/handfast-ca/daemon.go.
func wire(ctx context.Context, cfg *home.Config, material *home.Material, store *sqlite.Store, registry *prometheus.Registry, logger *slog.Logger) (p *parts, err error) {
	p = &parts{}
	p.publisher, err = revocation.Open(ctx, revocation.Config{
		Log: store, Issuers: []revocation.CRLSigner{material.Issuer}, BaseURL: cfg.PublicURL,
		Shards: cfg.CRL.Shards, FormerShards: cfg.CRL.FormerShards,
		Validity: cfg.CRL.Validity, Interval: cfg.CRL.Interval, Retention: cfg.Retention,
		Logger: logger, Registerer: registry,
	})
	if err != nil {
		return p, err
	}
	if err := p.publisher.AddStaticCRL(material.RootCRL); err != nil {
		return p, err
	}
	if err := p.openFeed(ctx, cfg, store, registry, logger); err != nil {
		return p, err
	}
	p.ca, err = ca.New(ctx, ca.Config{
		Feed: p.broadcaster, Noted: p.fleet.Note,
		TrustDomain: cfg.TrustDomain, Ledger: store, Publisher: p.publisher,
		Issuers: []*issuer.Issuer{material.Issuer}, Roots: []*x509.Certificate{material.Root},
		Profiles: cfg.Profiles, DefaultProfile: cfg.DefaultProfile, URLs: cfg.URLs, Retention: cfg.Retention,
		Logger: logger, Registerer: registry,
	})
	if err != nil {
		return p, err
	}
	tokens, err := enroll.New(enroll.Config{
		TrustDomain: cfg.TrustDomain, NativeKey: material.TokenKey, URL: cfg.APIURL, Fingerprint: certs.Fingerprint(material.Root),
		TokenTTL: cfg.TokenTTL, Platforms: cfg.Platforms, Logger: logger, Registerer: registry,
	})
	if err != nil {
		return p, err
	}
	p.server, err = server.New(server.Config{
		CA: p.ca, Tokens: tokens, Revocations: p.publisher, DNSNames: cfg.DNSNames, IPs: cfg.IPs, Name: cfg.Name, Version: "profiled",
		Feed: server.FeedOf(p.broadcaster), Fleet: p.fleet,
		Logger: logger, Registerer: registry, Gatherer: registry,
	})
	return p, err
}

func (p *parts) openFeed(ctx context.Context, cfg *home.Config, store *sqlite.Store, registry *prometheus.Registry, logger *slog.Logger) (err error) {
	p.broadcaster, err = broadcast.New(broadcast.Config{
		TrustDomain: cfg.TrustDomain.String(), Log: store, Listed: p.publisher.Listed,
		Issuers:  func() []string { return p.ca.Issuers() },
		Versions: func(ctx context.Context) ([]feed.Version, error) { return p.ca.Versions(ctx) },
		Validity: cfg.CRL.Validity, Logger: logger, Registerer: registry,
	})
	if err != nil {
		return err
	}
	p.fleet, err = fleet.New(ctx, fleet.Config{
		Ledger: store, Sequence: p.broadcaster.Sequence, Retention: cfg.Retention, Logger: logger, Registerer: registry,
	})
	return err
}

func (p *parts) run(ctx context.Context, cfg *home.Config, logger *slog.Logger) error {
	listeners, err := server.Listen(ctx, server.Addresses{API: cfg.Address, Public: cfg.PublicAddress})
	if err != nil {
		return err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, background := errgroup.WithContext(background)
	group.Go(func() error { return p.publisher.Run(background) })
	group.Go(func() error { return p.ca.Run(background) })
	group.Go(func() error { return p.broadcaster.Run(background) })
	group.Go(func() error { p.fleet.Run(background); return nil })
	logger.Info("ready") // a little early: the driver asks /readyz before it loads
	served := p.server.Run(ctx, listeners)
	stop()
	return errors.Join(served, group.Wait())
}
