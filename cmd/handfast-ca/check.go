package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"crypto/x509"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
)

// soon is how long before the end of a certificate or CRL check warns.
const soon = 30 * 24 * time.Hour

const checkLong = `check reads the configuration, opens the keys, compiles the profiles and looks at the
certificates' ends, and says everything that is wrong. It changes nothing, needs no network and
works beside a running daemon.`

func newCheckCommand(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Say what is wrong with configuration and keys", Long: checkLong, Args: noArguments,
		Example: "  handfast-ca check --dir D",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := env.load(cmd)
			if err != nil {
				return err
			}
			return env.check(cmd.Context(), cfg)
		},
	}
	addDir(cmd)
	return cmd
}

func (env *environment) check(ctx context.Context, cfg *home.Config) (err error) {
	material, err := cfg.Open(ctx, env.now())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, material.Close()) }()
	if _, err := newEnroller(cfg, material, env.now, slog.New(slog.DiscardHandler), nil); err != nil {
		return err
	}
	if err := compileProfiles(cfg, material); err != nil {
		return err
	}
	if _, err := os.Stat(cfg.Dir.Ledger()); err != nil {
		return fmt.Errorf("the ledger: %w; restore it from a backup", err)
	}
	env.printf("%s: configuration, keys, %d profiles and enrolment are in order\n", cfg.Dir.Config(), len(cfg.Profiles))
	env.printf("trust domain        %s\nAPI                 %s\npublic              %s\nroot fingerprint    %s\n",
		cfg.TrustDomain, cfg.APIURL, cfg.PublicURL, certs.Fingerprint(material.Root))
	env.printEnd("root", material.Root.NotAfter)
	env.printEnd("issuing certificate", material.Chain[0].NotAfter)
	if material.RootCRL != nil {
		list, err := x509.ParseRevocationList(material.RootCRL)
		if err != nil {
			return err
		}
		env.printEnd("root's CRL", list.NextUpdate)
	}
	if _, err := os.Stat(cfg.Dir.RootKey()); err == nil {
		env.printf("warning: the root's key is still in %s; carry it away\n", cfg.Dir.RootKey())
	}
	return nil
}

// compileProfiles lints every profile, as serve does at its start.
func compileProfiles(cfg *home.Config, material *home.Material) error {
	urls := cfg.URLs(material.Issuer.ID())
	endpoints := issuer.Endpoints{OCSP: urls.OCSP(), CAIssuers: urls.CAIssuers(), CRL: urls.Shard, FreshestCRL: urls.Delta}
	var errs []error
	for _, profile := range cfg.Profiles {
		if _, err := material.Issuer.Compile(profile, endpoints); err != nil {
			errs = append(errs, fmt.Errorf("%s: profiles.%s: %w", cfg.Dir.Config(), profile.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (env *environment) printEnd(what string, end time.Time) {
	left := end.Sub(env.now())
	switch {
	case left <= 0:
		env.printf("%-19s ended %s: nothing of this CA is accepted any more\n", what, end.Format(time.RFC3339))
	case left < soon:
		env.printf("%-19s ends %s: renew it within %d days\n", what, end.Format(time.RFC3339), int(left.Hours()/24))
	default:
		env.printf("%-19s until %s\n", what, end.Format(time.RFC3339))
	}
}
