package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/certs"
)

const (
	// rootCRLPoll is how often the daemon looks for a new root CRL.
	rootCRLPoll = 15 * time.Second
	// rootCRLWarning is how long before its end a root CRL is worth a line in the log.
	rootCRLWarning = 30 * 24 * time.Hour
)

const rootCRLLong = `root-crl makes the next CRL of the root, which says which issuing certificates are revoked. It
needs the root's key for the moment. A CRL is good for a year; a running daemon publishes the
new one within seconds. Without a fresh one agents refuse every certificate of this CA.

What handfast revoke --issuer has put into the ledger is listed with the rest, but for --import:
then the CRL is taken as it is, and /readyz names what it lacks. It works beside a running daemon.`

func newRootCRLCommand(env *environment) *cobra.Command {
	var o home.RootCRLOptions
	var reason string
	cmd := &cobra.Command{
		Use: "root-crl", Short: "Renew the root's CRL, or revoke an issuing certificate", Long: rootCRLLong, Args: noArguments,
		Example: `  handfast-ca root-crl --dir D --root-key /media/stick/root.key
  handfast-ca root-crl --dir D --root-key /media/stick/root.key --revoke old-issuing.crt --reason cACompromise
  handfast-ca root-crl --dir D --import corp.crl`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := checkRootCRLFlags(cmd, o); err != nil {
				return err
			}
			if o.Reason, err = certs.ParseReason(reason); err != nil {
				return usageError{err}
			}
			if o.Reason == certs.CertificateHold || o.Reason == certs.RemoveFromCRL {
				// RFC 5280, section 5.3.1: the one can be undone, the other belongs on delta CRLs only.
				return usageError{fmt.Errorf("--reason %s: a CA certificate is revoked for good", o.Reason)}
			}
			cfg, err := env.load(cmd)
			if err != nil {
				return err
			}
			o.Now = env.now()
			o.Ledger = func(ctx context.Context, root string) ([]x509.RevocationListEntry, error) {
				return env.revokedByLedger(ctx, cfg.Dir, root)
			}
			list, err := cfg.RenewRootCRL(cmd.Context(), o)
			if err != nil {
				return err
			}
			env.printf("%s: CRL %v of %s, %d revoked, good until %s. A running daemon publishes it within %v.\n", cfg.Dir.RootCRL(),
				list.Number, list.Issuer, len(list.RevokedCertificateEntries), list.NextUpdate.Format(time.RFC3339), rootCRLPoll)
			return nil
		},
	}
	addDir(cmd)
	cmd.Flags().StringVar(&o.RootKey, "root-key", "", "`file` or URI of the root's key")
	cmd.Flags().StringVar(&o.PassphraseFile, "passphrase-file", "", "`file` with its passphrase (default the CA's)")
	cmd.Flags().StringVar(&o.Revoke, "revoke", "", "`file` with a certificate to revoke")
	cmd.Flags().StringVar(&reason, "reason", certs.Superseded.String(), "why, by RFC 5280")
	cmd.Flags().BoolVar(&o.First, "first", false, "this root has never had a CRL")
	cmd.Flags().StringVar(&o.Import, "import", "", "`file` with a CRL that was made elsewhere")
	return cmd
}

func checkRootCRLFlags(cmd *cobra.Command, o home.RootCRLOptions) error {
	switch {
	case (o.RootKey == "") == (o.Import == ""):
		return usageError{errors.New("give either --root-key, or --import with a CRL that was made elsewhere")}
	case o.Import != "":
		return notWith(cmd, "import", "an imported CRL is taken as it is", "revoke", "reason", "passphrase-file", "first")
	case o.Revoke == "" && cmd.Flags().Changed("reason"):
		return usageError{errors.New("--reason is that of --revoke, which is missing")}
	default:
		return nil
	}
}

// publishRootCRL hands the root's CRL to the publisher; nil is none.
func (d *daemon) publishRootCRL(der []byte) error {
	if der == nil {
		return nil
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return err
	}
	if left := list.NextUpdate.Sub(d.now()); left < rootCRLWarning {
		d.logger.Warn("the root's CRL ends soon; then agents refuse every certificate: run handfast-ca root-crl with the root's key",
			"next_update", list.NextUpdate, "left", left.Round(time.Minute))
	}
	return d.publisher.AddStaticCRL(der)
}

// followRootCRL publishes the root's CRL when root-crl has replaced the file. One that
// cannot be read or published leaves the one before.
func (d *daemon) followRootCRL(ctx context.Context) error {
	ticker := time.NewTicker(rootCRLPoll)
	defer ticker.Stop()
	current := d.material.RootCRL
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		next, err := d.cfg.ReadRootCRL(d.material.Root)
		if next != nil && err == nil && !bytes.Equal(next, current) { // a file that is gone takes nothing back
			if err = d.publishRootCRL(next); err == nil {
				d.logger.Info("the root's new CRL is published")
			}
			current = next
		}
		if err != nil {
			d.logger.Error("the root's CRL cannot be published; the one before stays", "error", err)
		}
	}
}
