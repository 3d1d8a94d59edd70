package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/handfast/handfast/agent"
	"github.com/handfast/handfast/agent/certdir"
	"github.com/handfast/handfast/agent/localapi"
	"github.com/handfast/handfast/agent/proxy"
	"github.com/handfast/handfast/agent/statusapi"
	"github.com/handfast/handfast/internal/logging"
	"github.com/handfast/handfast/internal/version"
)

// parts are what runs beside the agent itself; each is nil when it is not wanted.
type parts struct {
	proxy  *proxy.Proxy
	files  *certdir.Writer
	socket *localapi.Server
	status *statusapi.Server
}

// serve binds everything, so that a taken port shows before a token is spent, and runs
// until ctx ends: then the proxy drains while certificate and socket still live.
func serve(ctx context.Context, s *settings, env environment) (err error) {
	logger, err := logging.New(env.stderr, s.logLevel, s.logFormat)
	if err != nil {
		return err
	}
	defer runtime.KeepAlive(env.ballast())
	registry := newRegistry()
	config := s.agentConfig()
	config.Token, config.Logger, config.Registerer = s.tokenSource(env), logger, registry
	a, err := agent.New(config)
	if err != nil {
		return err
	}
	p, err := s.bind(ctx, a, logger, registry)
	if err != nil {
		return errors.Join(err, a.Close())
	}
	logger.Info("started", "version", version.String(), "pid", os.Getpid(), "state", first(s.state, "in memory"))
	err = runAll(ctx, a, p, logger)
	logger.Info("stopped")
	return err
}

// newRegistry holds Go's and the process's own metrics. Package collectors, which prometheus prefers,
// brings database/sql along for a collector that is not wanted here; the functions are the same.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		prometheus.NewGoCollector(),                                       //nolint:staticcheck // see above
		prometheus.NewProcessCollector(prometheus.ProcessCollectorOpts{}), //nolint:staticcheck // see above
	)
	return registry
}

// runAll runs the parts. What fails ends the others.
func runAll(ctx context.Context, a *agent.Agent, p *parts, logger *slog.Logger) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// What the proxy needs to drain lives until it has.
	base, stopBase := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBase()
	var group errgroup.Group
	start := func(run func(context.Context) error, ctx context.Context) {
		group.Go(func() error {
			err := run(ctx)
			if err != nil {
				stop(err)
			}
			return err
		})
	}
	start(a.Run, base)
	if p.files != nil {
		start(p.files.Run, base)
	}
	if p.socket != nil {
		start(p.socket.Serve, base)
	}
	if p.status != nil {
		start(p.status.Serve, base)
	}
	group.Go(func() error {
		if a.WaitReady(ctx) == nil {
			status := a.Status()
			logger.Info("agent is ready", "self", status.ID, "serial", status.Serial, "not_after", status.NotAfter)
		}
		return nil
	})
	group.Go(func() error {
		defer stopBase()
		if p.proxy == nil {
			<-ctx.Done()
			return nil
		}
		err := p.proxy.Serve(ctx)
		stop(err)
		return err
	})
	return group.Wait()
}

// bind makes the parts that the settings ask for, all of them or none.
func (s *settings) bind(ctx context.Context, a *agent.Agent, logger *slog.Logger, registry *prometheus.Registry) (p *parts, err error) {
	p = &parts{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if len(s.inbound)+len(s.outbound) > 0 {
		p.proxy, err = proxy.Listen(ctx, proxy.Config{
			Source: a, Inbound: s.inbound, Outbound: s.outbound, DrainTimeout: s.drain,
			Enforced: a.Enforcer(), Refused: a.Refused,
			CATime: a.CATime, Logger: logger, Registerer: registry,
		})
		if err != nil {
			return p, err
		}
	}
	if s.files != "" {
		p.files, err = certdir.New(certdir.Config{
			Source: a, Dir: s.files, KeyMode: s.keyMode, Group: s.filesGroup, Reload: s.reload,
			Logger: logger, Registerer: registry,
		})
		if err != nil {
			return p, err
		}
	}
	if s.socket != "" {
		p.socket, err = localapi.Listen(ctx, localapi.Config{Source: a, Followers: a.Followers(), Path: s.socket, Group: s.socketGroup, Logger: logger})
		if err != nil {
			return p, err
		}
	}
	if s.status == "" {
		return p, nil
	}
	p.status, err = statusapi.Listen(ctx, statusapi.Config{
		Agent: a, Proxy: p.proxy, Gatherer: registry, Version: version.String(),
		Listen: s.status, AllowRemote: s.statusAllowRemote, Logger: logger,
	})
	if err == nil {
		logger.Info("status is served", "address", p.status.Addr().String())
	}
	return p, err
}

func (p *parts) close() error {
	var err error
	if p.proxy != nil {
		err = errors.Join(err, p.proxy.Close())
	}
	if p.socket != nil {
		err = errors.Join(err, p.socket.Close())
	}
	return err
}

// agentConfig is the part of the settings that is the agent's.
func (s *settings) agentConfig() agent.Config {
	return agent.Config{StateDir: s.state, CA: s.ca, Fingerprint: s.fingerprint, KeyAlgorithm: s.keyAlgorithm, FullCRLs: s.files != ""}
}

func (s *settings) tokenSource(env environment) agent.TokenSource {
	switch s.tokenFile {
	case "":
		return agent.TokenString(s.token)
	case "-":
		return agent.TokenReader(env.stdin)
	default:
		return agent.TokenFile(s.tokenFile)
	}
}
