package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/cmd/handfast/internal/connect"
	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
	"github.com/handfast/handfast/cmd/handfast/internal/pemfile"
)

// reasons are those that make sense for an operator to give (RFC 5280, section 5.3.1).
func reasons() []string {
	list := []certs.Reason{
		certs.Unspecified, certs.KeyCompromise, certs.AffiliationChanged, certs.Superseded, certs.CessationOfOperation, certs.PrivilegeWithdrawn,
	}
	names := make([]string, len(list))
	for i, reason := range list {
		names[i] = reason.String()
	}
	return names
}

// revokeOptions are the flags of `revoke`.
type revokeOptions struct {
	serial, cert, service, reason string
	dryRun, yes                   bool
}

func newRevokeCommand(a *app) *cobra.Command {
	var flags connect.Flags
	var o revokeOptions
	cmd := &cobra.Command{
		Use:   "revoke {--serial SERIAL | --cert FILE | --service NAME}",
		Short: "Revoke certificates, at once and for good",
		Long: `Revoke one certificate, or every live certificate of a service. When the command
returns, the revocation is durable and OCSP shows it; the CRLs follow within a
second. It cannot be undone.

Before more than one certificate is revoked a person at a terminal is asked.
Elsewhere --service needs --yes.`,
		Example: `  handfast revoke --serial 1f0c5e... --reason keyCompromise
  handfast revoke --cert /etc/shop/tls/cert.pem
  handfast revoke --service shop --reason cessationOfOperation --dry-run
  handfast revoke --service shop --reason keyCompromise --yes`,
		Args: cobra.NoArgs,
	}
	format := outputFlag(cmd, output.Table, output.Wide, output.JSON, output.YAML)
	flags.Add(cmd.Flags())
	cmd.Flags().StringVar(&o.serial, "serial", "", "`SERIAL` of the certificate, hexadecimal")
	cmd.Flags().StringVar(&o.cert, "cert", "", "`FILE` whose first certificate is meant; - is standard input")
	cmd.Flags().StringVar(&o.service, "service", "", "`NAME` of the service whose live certificates are all meant")
	cmd.Flags().StringVar(&o.reason, "reason", certs.Unspecified.String(), "one of "+strings.Join(reasons(), ", "))
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "only say what would be revoked")
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	complete(cmd, "reason", reasons())
	cmd.MarkFlagsOneRequired("serial", "cert", "service")
	cmd.MarkFlagsMutuallyExclusive("serial", "cert", "service")
	cmd.RunE = a.withCA(&flags, func(ctx context.Context, s *connect.Session, _ []string) error {
		request, err := a.revocation(o)
		if err != nil {
			return err
		}
		result, err := a.revoke(ctx, s.API, request, o)
		if err != nil {
			return err
		}
		return a.show(format.Format, result, func() error { return a.writeRevoked(result, format.Format) })
	})
	return cmd
}

func (a *app) revocation(o revokeOptions) (*api.RevokeRequest, error) {
	reason, err := certs.ParseReason(o.reason)
	if err != nil {
		return nil, fault.Usagef("--reason: %w", err)
	}
	request := &api.RevokeRequest{Reason: reason, Service: o.service, DryRun: o.dryRun}
	switch {
	case o.serial != "":
		if request.Serial, err = certs.ParseSerial(o.serial); err != nil {
			return nil, fault.Usagef("--serial: %w", err)
		}
	case o.cert != "":
		content, err := pemfile.Read(o.cert, a.stdin)
		if err != nil {
			return nil, err
		}
		if len(content.Certificates) == 0 {
			return nil, fmt.Errorf("%s holds no certificate", o.cert)
		}
		request.Certificate = content.Certificates[0].Raw
	}
	return request, nil
}

// revoke asks before it hits several: what it would hit is found out by a dry run.
func (a *app) revoke(ctx context.Context, client *api.Client, request *api.RevokeRequest, o revokeOptions) (*api.RevokeResult, error) {
	if o.service != "" && !o.dryRun && !o.yes {
		if !output.IsTerminal(a.stdin) {
			return nil, a.confirm("revoke every live certificate of " + o.service)
		}
		rehearsal := *request
		rehearsal.DryRun = true
		would, err := client.Revoke(ctx, &rehearsal)
		if err != nil {
			return nil, connect.Explain("revoke", err)
		}
		if n := len(would.Revoked); n > 1 {
			if err := a.confirm(fmt.Sprintf("This revokes %d live certificates of %s, for good.", n, o.service)); err != nil {
				return nil, err
			}
		}
	}
	result, err := client.Revoke(ctx, request)
	return result, connect.Explain("revoke", err)
}

func (a *app) writeRevoked(r *api.RevokeResult, format output.Format) error {
	if len(r.Revoked) > 0 {
		if err := certificateGrid(r.Revoked, format == output.Wide, a.now()).Write(a.stdout, a.outStyle); err != nil {
			return err
		}
	}
	verb := "revoked"
	if r.DryRun {
		verb = "would be revoked (a dry run: nothing was changed)"
	}
	text := fmt.Sprintf("%s %s", plural(len(r.Revoked), "certificate"), verb)
	if n := len(r.Already); n > 0 {
		text += fmt.Sprintf(", %d already revoked before", n)
	}
	return a.say("%s", text)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		noun = stem + "ie"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
