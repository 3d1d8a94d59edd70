package main

import (
	"context"
	"fmt"
	"strings"
	"time"

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
	serial, cert, service, id, issuer, issuedBefore, reason string
	all, hold, unhold, dryRun, yes, wait                    bool
}

func newRevokeCommand(a *app) *cobra.Command {
	var flags connect.Flags
	var o revokeOptions
	cmd := &cobra.Command{
		Use:   "revoke {--serial SERIAL | --cert FILE | --service NAME | --spiffe-id ID | --all | --issuer KEYID} [--issued-before TIME] [--hold | --unhold]",
		Short: "Revoke certificates at once, for good or until they are released",
		Long: `Revoke one certificate, or every live certificate of a service or of a SPIFFE ID.
--issued-before keeps to those that were issued before a time; with it, --all means
every service's. When the command returns, all of it is durable and OCSP shows it;
the CRLs follow within a second. A certificate that has expired counts as live as long
as it could be rekeyed.

Revoking cannot be undone. --hold refuses certificates like revoked ones until --unhold
releases them, or they are revoked. Until then they cannot be renewed. What was
renewed after TIME is a certificate of its own: name the service without a time, too.

With --wait the command goes on until every agent that the CA knows has said that it
enforces it (it refuses new handshakes and has cut live connections), or until
--timeout is over. It ends with a receipt: how many do, how long that took from the
moment it was durable, measured by the CA, and who is silent since when. The exit code
is 7 when somebody is missing; what was revoked is revoked all the same.

A key whose certificate is revoked for keyCompromise is never certified again.

--issuer revokes an issuing CA's own certificate, and with it everything that it signed:
agents refuse all of that at once, OCSP calls it revoked, and the CA signs nothing more
with it. That takes operators' credentials away too, yours included; handfast status
shows key ids. The root's CRL follows with handfast-ca root-crl and the root's key.

Before more than one certificate is hit a person at a terminal is shown which, and
asked. Elsewhere all but --serial and --cert needs --yes.`,
		Example: `  handfast revoke --serial 1f0c5e... --reason keyCompromise
  handfast revoke --cert /etc/shop/tls/cert.pem
  handfast revoke --service shop --reason cessationOfOperation --dry-run
  handfast revoke --spiffe-id spiffe://example.org/shop --hold
  handfast revoke --spiffe-id spiffe://example.org/shop --unhold
  handfast revoke --all --issued-before 2026-03-01T09:30:00Z --reason keyCompromise
  handfast revoke --service shop --issued-before 2h --yes
  handfast revoke --issuer 5e1f... --reason cACompromise --dry-run
  handfast revoke --service shop --reason keyCompromise --yes --wait --timeout 10s`,
		Args: cobra.NoArgs,
	}
	format := outputFlag(cmd, output.Table, output.Wide, output.JSON, output.YAML)
	flags.Add(cmd.Flags())
	o.add(cmd)
	cmd.RunE = a.withCA(&flags, func(ctx context.Context, s *connect.Session, _ []string) error {
		request, err := a.revocation(o)
		if err != nil {
			return err
		}
		result, err := a.revoke(ctx, s.API, request, o)
		if err != nil {
			return err
		}
		if o.wait {
			return a.revokedAndWait(ctx, s.API, result, deedOf(request.Reason), format.Format, flags.Timeout)
		}
		return a.show(format.Format, result, func() error { return a.writeRevoked(result, deedOf(request.Reason), format.Format) })
	})
	return cmd
}

func (o *revokeOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.serial, "serial", "", "`SERIAL` of the certificate, hexadecimal")
	f.StringVar(&o.cert, "cert", "", "`FILE` whose first certificate is meant; - is standard input")
	f.StringVar(&o.service, "service", "", "`NAME` of the service whose live certificates are all meant")
	f.StringVar(&o.id, "spiffe-id", "", "`ID` of a service or an operator whose live certificates are all meant")
	f.StringVar(&o.issuer, "issuer", "", "`KEYID` of the issuing CA whose own certificate is meant")
	f.BoolVar(&o.all, "all", false, "every service's live certificates; only with --issued-before")
	f.StringVar(&o.issuedBefore, "issued-before", "", "only what was issued before `TIME`: RFC 3339, or a duration ago such as 2h")
	f.BoolVar(&o.hold, "hold", false, "put on hold instead (certificateHold)")
	f.BoolVar(&o.unhold, "unhold", false, "release what is on hold instead (removeFromCRL)")
	f.StringVar(&o.reason, "reason", certs.Unspecified.String(), "one of "+strings.Join(reasons(), ", ")+"; cACompromise with --issuer")
	f.BoolVar(&o.dryRun, "dry-run", false, "only say what would be hit")
	f.BoolVar(&o.wait, "wait", false, "wait until every agent enforces it, and end with a receipt")
	f.Lookup("timeout").Usage += ", and with --wait for the agents"
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	complete(cmd, "reason", reasons())
	cmd.MarkFlagsOneRequired("serial", "cert", "service", "spiffe-id", "all", "issuer")
	cmd.MarkFlagsMutuallyExclusive("serial", "cert", "service", "spiffe-id", "all", "issuer")
	for _, other := range []string{"issued-before", "hold", "unhold", "wait"} { // with the CA's certificate the credential ends that could wait
		cmd.MarkFlagsMutuallyExclusive("issuer", other)
	}
	cmd.MarkFlagsMutuallyExclusive("serial", "issued-before")
	cmd.MarkFlagsMutuallyExclusive("cert", "issued-before")
	cmd.MarkFlagsMutuallyExclusive("hold", "unhold", "reason")
	cmd.MarkFlagsMutuallyExclusive("wait", "dry-run")
}

// several reports whether more than one certificate may be meant.
func (o *revokeOptions) several() bool { return o.serial == "" && o.cert == "" }

func (a *app) revocation(o revokeOptions) (*api.RevokeRequest, error) {
	reason, err := o.deed()
	if err != nil {
		return nil, err
	}
	request := &api.RevokeRequest{Reason: reason, Service: o.service, AllServices: o.all, Issuer: o.issuer, DryRun: o.dryRun}
	if o.all && o.issuedBefore == "" {
		return nil, fault.Usagef("--all needs --issued-before")
	}
	if o.issuedBefore != "" {
		if request.IssuedBefore, err = parseCutOff(o.issuedBefore, a.now()); err != nil {
			return nil, err
		}
	}
	switch {
	case o.serial != "":
		if request.Serial, err = certs.ParseSerial(o.serial); err != nil {
			return nil, fault.Usagef("--serial: %w", err)
		}
	case o.id != "":
		if request.ID, err = certs.ParseID(o.id); err != nil {
			return nil, fault.Usagef("--spiffe-id: %w", err)
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

// deed is the reason that tells the CA what to do.
func (o *revokeOptions) deed() (certs.Reason, error) {
	switch {
	case o.hold:
		return certs.CertificateHold, nil
	case o.unhold:
		return certs.RemoveFromCRL, nil
	}
	reason, err := certs.ParseReason(o.reason)
	if err != nil {
		return 0, fault.Usagef("--reason: %w", err)
	}
	if reason == certs.CertificateHold || reason == certs.RemoveFromCRL {
		return 0, fault.Usagef("--reason: %s is not final: use --hold and --unhold", reason)
	}
	return reason, nil
}

// parseCutOff reads a time, or how long ago it was.
func parseCutOff(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago).UTC(), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fault.Usagef("--issued-before: %q is neither a time such as 2026-03-01T09:30:00Z nor a duration such as 2h", text)
	}
	return at.UTC(), nil
}

// revoke shows what it would hit, found out by a dry run, and asks before it hits several.
func (a *app) revoke(ctx context.Context, client *api.Client, request *api.RevokeRequest, o revokeOptions) (*api.RevokeResult, error) {
	words := deedOf(request.Reason)
	if o.several() && !o.dryRun && !o.yes {
		if !output.IsTerminal(a.stdin) {
			return nil, a.confirm(words.imperative + " " + o.subject(request))
		}
		rehearsal := *request
		rehearsal.DryRun = true
		would, err := client.Revoke(ctx, &rehearsal)
		if err != nil {
			return nil, connect.Explain("revoke", err)
		}
		if question := o.question(would, words, request); question != "" {
			if err := a.preview(would); err != nil {
				return nil, err
			}
			if err := a.confirm(question); err != nil {
				return nil, err
			}
		}
	}
	result, err := client.Revoke(ctx, request)
	return result, connect.Explain("revoke", err)
}
