package main

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/ca/server"
	"github.com/handfast/handfast/internal/logging"
	"github.com/handfast/handfast/internal/version"
)

const serveLong = `serve runs the CA: the HTTPS API on address, and CRLs, OCSP and the roots over plain HTTP on
public_address. It logs one line with "ready" when it accepts requests. SIGTERM and SIGINT
stop it after the accepted requests are finished. One daemon runs on a directory.`

// overrideFlags are serve's flags for settings of config.yaml.
var overrideFlags = []struct{ name, usage string }{
	{"address", "`HOST:PORT` of the API, instead of config.yaml's"},
	{"public-address", "`HOST:PORT` of CRLs, OCSP and roots"},
	{"api-url", "how others reach the API"},
	{"public-url", "what certificates name for CRL and OCSP"},
	{"metrics-address", "`HOST:PORT` on loopback for metrics"},
	{"passphrase-file", "`file` with the keys' passphrase"},
	{"log-level", "debug, info, warn or error"},
	{"log-format", "text or json"},
}

func newServeCommand(env *environment) *cobra.Command {
	var acceptClock bool
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the CA", Long: serveLong, Args: noArguments,
		Example: "  handfast-ca serve --dir /var/lib/handfast-ca",
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := env.dir(cmd)
			if err != nil {
				return err
			}
			flags := map[string]string{}
			for _, flag := range overrideFlags {
				if flags[flag.name], err = cmd.Flags().GetString(flag.name); err != nil {
					return err
				}
			}
			if path := flags["passphrase-file"]; path != "" {
				if err := absolute(&path); err != nil {
					return err
				}
				flags["passphrase-file"] = path
			}
			cfg, err := home.Load(dir, home.FromEnvironment(env.lookup).With(home.FromFlags(flags)))
			if err != nil {
				return err
			}
			return env.serve(cmd.Context(), cfg, acceptClock)
		},
	}
	addDir(cmd)
	for _, flag := range overrideFlags {
		cmd.Flags().String(flag.name, "", flag.usage)
	}
	cmd.Flags().BoolVar(&acceptClock, "accept-clock", false, "issue although the ledger holds certificates from the future: the clock ran ahead and was set right")
	return cmd
}

func (env *environment) serve(ctx context.Context, cfg *home.Config, acceptClock bool) (err error) {
	logger, err := logging.New(env.stderr, cfg.Log.Level, cfg.Log.Format)
	if err != nil {
		return err
	}
	release, err := cfg.Dir.Lock()
	if err != nil {
		return err
	}
	defer release() //nolint:errcheck // the process ends with it
	defer runtime.KeepAlive(env.ballast())
	go env.collect(ctx)
	d, err := newDaemon(ctx, cfg, logger, env.now, acceptClock)
	if err != nil {
		return stoppedEarly(ctx, err)
	}
	defer func() { err = errors.Join(err, d.close()) }()
	listeners, err := server.Listen(ctx, server.Addresses{API: cfg.Address, Public: cfg.PublicAddress, Metrics: cfg.MetricsAddress})
	if err != nil {
		return err
	}
	listeners.API = &announcing{Listener: listeners.API, announce: func() {
		logger.Info("ready", "api", listeners.API.Addr().String(), "public", listeners.Public.Addr().String(),
			"trust_domain", cfg.TrustDomain.String(), "issuer", d.material.Issuer.ID(), "fingerprint", d.fingerprint, "version", version.String())
	}}
	if err := d.run(ctx, listeners); err != nil {
		return stoppedEarly(ctx, err)
	}
	logger.Info("stopped; what was accepted is finished")
	return nil
}

// stoppedEarly makes being told to stop while still starting no failure.
func stoppedEarly(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// announcing tells once when its server begins to accept: by then the API's certificate
// has been issued, so a request gets an answer.
type announcing struct {
	net.Listener
	once     sync.Once
	announce func()
}

// Accept announces, then accepts.
func (l *announcing) Accept() (net.Conn, error) {
	l.once.Do(l.announce)
	return l.Listener.Accept()
}
