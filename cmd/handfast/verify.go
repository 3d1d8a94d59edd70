package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/cmd/handfast/internal/connect"
	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
	"github.com/handfast/handfast/cmd/handfast/internal/peek"
	"github.com/handfast/handfast/cmd/handfast/internal/pemfile"
	"github.com/handfast/handfast/cmd/handfast/internal/revstatus"
)

// verifyOptions are the flags of `verify`.
type verifyOptions struct {
	id, roots, usage string
	crls             []string
	timeout          time.Duration
}

// verdict is the answer of `verify`.
type verdict struct {
	Target   string     `json:"target"`
	OK       bool       `json:"ok"`
	ID       string     `json:"id,omitempty"`
	Serial   string     `json:"serial,omitempty"`
	NotAfter *time.Time `json:"not_after,omitempty"`
	Root     string     `json:"root,omitempty"`  // SHA-256 of the root at the chain's end
	CRLs     int        `json:"crls"`            // that revocation was looked up in
	Cause    string     `json:"cause,omitempty"` // one stable word, as in the agents' logs
	Problem  string     `json:"problem,omitempty"`
}

func newVerifyCommand(a *app) *cobra.Command {
	var flags connect.Flags
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify {FILE | HOST:PORT}",
		Short: "Decide whether a certificate would be accepted",
		Long: `Decide about a certificate as an agent would: its chain, its dates, its identity and
its revocation, against the roots of the operator context or of --roots. FILE
holds the certificate first, then its intermediates.

The CRLs are fetched from where the certificates say; with --crl those files are used
instead. When a CRL is named but cannot be had, the answer is no. The exit code
is 0 for yes and 6 for no.`,
		Example: `  handfast verify /etc/shop/tls/cert.pem
  handfast verify shop.example.org:8443 --id spiffe://example.org/shop
  handfast verify cert.pem --roots roots.pem --crl issuing.crl -o json`,
		Args: cobra.ExactArgs(1),
	}
	format := outputFlag(cmd, output.Text, output.JSON, output.YAML)
	flags.AddContext(cmd.Flags())
	cmd.Flags().StringVar(&o.id, "id", "", "the SPIFFE `ID` that the certificate must carry")
	cmd.Flags().StringVar(&o.roots, "roots", "", "`FILE` of the roots to trust (default the operator context's)")
	cmd.Flags().StringArrayVar(&o.crls, "crl", nil, "CRL `FILE` to use instead of fetching; repeat")
	cmd.Flags().StringVar(&o.usage, "usage", "any", "what the certificate must be good for: server, client or any")
	cmd.Flags().DurationVar(&o.timeout, "timeout", revstatus.DefaultTimeout, "how long to wait for each answer")
	complete(cmd, "usage", []string{"server", "client", "any"})
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		v, err := a.verify(cmd.Context(), &flags, args[0], o)
		if v == nil {
			return err
		}
		if showErr := a.show(format.Format, v, func() error { return a.writeVerdict(v) }); showErr != nil {
			return showErr
		}
		return err
	})
	return cmd
}

// verify returns no verdict when the question could not be put; with a verdict of no it
// returns the error as well.
func (a *app) verify(ctx context.Context, flags *connect.Flags, target string, o verifyOptions) (*verdict, error) {
	usage, err := parseUsage(o.usage)
	if err != nil {
		return nil, err
	}
	var want certs.ID
	if o.id != "" {
		if want, err = certs.ParseID(o.id); err != nil {
			return nil, fault.Usagef("--id: %w", err)
		}
	}
	chain, err := a.presented(ctx, target, o.timeout)
	if err != nil {
		return nil, err
	}
	v := &verdict{Target: target}
	peer, err := a.decide(ctx, flags, chain, usage, o, v)
	if err == nil && !want.IsZero() && peer.ID != want {
		err = &certs.Refusal{Cause: certs.CauseWrongIdentity, Peer: peer.ID, Clock: a.now(), Err: fmt.Errorf("the certificate is %s's, not %s's", peer.ID, want)}
	}
	return conclude(v, chain[0], peer, err)
}

func conclude(v *verdict, leaf *x509.Certificate, peer certs.Peer, err error) (*verdict, error) {
	var refusal *certs.Refusal
	if err != nil && !errors.As(err, &refusal) {
		return nil, err
	}
	v.OK = err == nil
	v.NotAfter = &leaf.NotAfter
	if serial, err := certs.SerialFromInt(leaf.SerialNumber); err == nil {
		v.Serial = serial.String()
	}
	if id, err := certs.IDFromCertificate(leaf); err == nil {
		v.ID = id.String()
	}
	if refusal != nil {
		v.Cause, v.Problem = string(refusal.Cause), refusal.Error()
		return v, fault.New(fault.Unverified, "", "%s does not verify: %s", v.Target, refusal.Cause)
	}
	v.Root = certs.Fingerprint(peer.Chain[len(peer.Chain)-1])
	return v, nil
}

func (a *app) presented(ctx context.Context, target string, timeout time.Duration) ([]*x509.Certificate, error) {
	if !isFile(target) && isAddress(target) {
		server, err := peek.Dial(ctx, target, timeout)
		if err != nil {
			return nil, fault.New(fault.Failure, "", "look at %s: %w", target, err)
		}
		return server.Chain, nil
	}
	content, err := pemfile.Read(target, a.stdin)
	if err != nil {
		return nil, err
	}
	if len(content.Certificates) == 0 {
		return nil, fmt.Errorf("%s holds no certificate", target)
	}
	return content.Certificates, nil
}

// decide asks package certs, with the roots and CRLs that o says.
func (a *app) decide(ctx context.Context, flags *connect.Flags, chain []*x509.Certificate, usage x509.ExtKeyUsage, o verifyOptions, v *verdict) (certs.Peer, error) {
	bundle, err := a.bundle(flags, chain[0], o.roots)
	if err != nil {
		return certs.Peer{}, err
	}
	var ders [][]byte
	if len(o.crls) > 0 {
		ders, err = a.givenCRLs(o.crls)
	} else {
		ders = a.fetchCRLs(ctx, chain, o.timeout)
	}
	if err != nil {
		return certs.Peer{}, err
	}
	revocation, err := certs.NewRevocation(ders)
	if err != nil {
		return certs.Peer{}, &certs.Refusal{Cause: certs.CauseRevocationUnknown, Clock: a.now(), Err: err}
	}
	v.CRLs = len(ders)
	return certs.Verify(chain, &certs.Snapshot{Bundle: bundle, Revocation: revocation}, usage, a.now())
}

// bundle makes the trust that --roots or the context gives. A file of roots names no trust
// domain: they are then believed for the one that the certificate claims.
func (a *app) bundle(flags *connect.Flags, leaf *x509.Certificate, path string) (*certs.Bundle, error) {
	if path == "" {
		c, _, err := flags.LoadContext()
		if fault.CodeOf(err) == fault.NotFound {
			return nil, fault.New(fault.Usage, "name the roots to trust with --roots FILE", "%w", err)
		}
		if err != nil {
			return nil, err
		}
		return certs.NewBundle(c.TrustDomain, c.Roots)
	}
	content, err := pemfile.Read(path, a.stdin)
	if err != nil {
		return nil, err
	}
	id, err := certs.IDFromCertificate(leaf)
	if err != nil {
		return nil, &certs.Refusal{Cause: certs.CauseNoIdentity, Clock: a.now(), Err: err}
	}
	bundle, err := certs.NewBundle(id.TrustDomain(), content.Certificates)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return bundle, nil
}

func (a *app) givenCRLs(paths []string) ([][]byte, error) {
	var ders [][]byte
	for _, path := range paths {
		content, err := pemfile.Read(path, a.stdin)
		if err != nil {
			return nil, err
		}
		if len(content.CRLs) == 0 {
			return nil, fmt.Errorf("%s holds no CRL", path)
		}
		for _, crl := range content.CRLs {
			ders = append(ders, crl.Raw)
		}
	}
	return ders, nil
}

// fetchCRLs fetches what the chain names. What cannot be had is a warning here and a refusal
// by certs.Verify, which knows whether it was needed.
func (a *app) fetchCRLs(ctx context.Context, chain []*x509.Certificate, timeout time.Duration) [][]byte {
	client := revstatus.New(a.now, timeout)
	var ders [][]byte
	seen := map[string]bool{}
	for _, cert := range chain[:min(len(chain), maxFetched)] {
		for _, source := range cert.CRLDistributionPoints[:min(1, len(cert.CRLDistributionPoints))] {
			if seen[source] {
				continue
			}
			seen[source] = true
			der, err := client.FetchFullCRL(ctx, source)
			if err != nil {
				a.warn(fmt.Sprintf("CRL %s: %v", source, err))
				continue
			}
			ders = append(ders, der)
		}
	}
	return ders
}

// maxFetched is for how many certificates of a chain a CRL is fetched.
const maxFetched = 8

func parseUsage(name string) (x509.ExtKeyUsage, error) {
	switch name {
	case "server":
		return x509.ExtKeyUsageServerAuth, nil
	case "client":
		return x509.ExtKeyUsageClientAuth, nil
	case "any":
		return x509.ExtKeyUsageAny, nil
	default:
		return 0, fault.Usagef("--usage %q: use server, client or any", name)
	}
}

func (a *app) writeVerdict(v *verdict) error {
	var f output.Fields
	if v.OK {
		f.Add("verdict", a.outStyle.Paint(output.Green, "yes, it verifies"))
	} else {
		f.Add("verdict", a.outStyle.Paint(output.Red, "no: "+v.Cause))
		f.Add("because", output.Clean(v.Problem))
	}
	f.Add("SPIFFE ID", output.Clean(v.ID))
	f.Add("serial", v.Serial)
	f.Add("expires", output.Moment(*v.NotAfter, a.now()))
	if v.OK {
		f.Add("root SHA-256", v.Root)
		f.Add("revocation", fmt.Sprintf("looked up in %s", plural(v.CRLs, "CRL")))
	}
	return f.Write(a.stdout, "")
}
