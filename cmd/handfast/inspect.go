package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/cmd/handfast/internal/connect"
	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/cmd/handfast/internal/inspect"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
	"github.com/handfast/handfast/cmd/handfast/internal/peek"
	"github.com/handfast/handfast/cmd/handfast/internal/pemfile"
	"github.com/handfast/handfast/cmd/handfast/internal/revstatus"
)

func newInspectCommand(a *app) *cobra.Command {
	var flags connect.Flags
	var offline bool
	cmd := &cobra.Command{
		Use:   "inspect TARGET",
		Short: "Explain a certificate, request, CRL or TLS server, in words",
		Long: `Explain what TARGET holds, in words. TARGET is

  a file       of certificates, requests, CRLs or keys, PEM or DER; - is standard input
  host:port    of a TLS server: what it shows, whoever it is
  a serial     in hexadecimal: looked up at the CA

Revocation is asked of the OCSP responder and the CRL that a certificate names, over the
network; --offline does not ask. Nothing here is a decision: "handfast verify" decides.`,
		Example: `  handfast inspect /etc/shop/tls/cert.pem
  handfast inspect shop.example.org:8443 -o json
  handfast inspect 1f0c5e...
  openssl s_client -showcerts -connect host:443 </dev/null | handfast inspect -`,
		Args: cobra.ExactArgs(1),
	}
	format := outputFlag(cmd, output.Text, output.JSON, output.YAML)
	flags.Add(cmd.Flags())
	cmd.Flags().BoolVar(&offline, "offline", false, "do not ask for revocation")
	cmd.RunE = a.does(func(cmd *cobra.Command, args []string) error {
		report, err := a.inspect(cmd.Context(), &flags, args[0], offline)
		if err != nil {
			return err
		}
		return a.show(format.Format, report, func() error { return report.WriteText(a.stdout, a.outStyle, a.now()) })
	})
	return cmd
}

func (a *app) inspect(ctx context.Context, flags *connect.Flags, target string, offline bool) (*inspect.Report, error) {
	report := &inspect.Report{Target: target}
	content, err := a.look(ctx, flags, target, report)
	if err != nil {
		return nil, err
	}
	inspector := &inspect.Inspector{Now: a.now, Issuers: contextAuthorities(flags)}
	if !offline {
		inspector.Ask = revstatus.New(a.now, min(flags.Timeout, revstatus.DefaultTimeout))
	}
	inspector.Fill(ctx, report, content)
	return report, nil
}

// look finds out what target is: a file that exists is never taken for anything else.
func (a *app) look(ctx context.Context, flags *connect.Flags, target string, report *inspect.Report) (pemfile.Content, error) {
	if isFile(target) {
		report.Source = "file"
		return pemfile.Read(target, a.stdin)
	}
	if isAddress(target) {
		report.Source = "tls"
		return lookAtServer(ctx, target, flags.Timeout, report)
	}
	if serial, err := certs.ParseSerial(target); err == nil {
		report.Source = "ca"
		return a.lookUp(ctx, flags, serial, report)
	}
	return pemfile.Content{}, fault.New(fault.NotFound, "name a file, HOST:PORT or a serial in hexadecimal",
		"%q is no file, no HOST:PORT and no serial", target)
}

func isFile(target string) bool {
	_, err := os.Stat(target)
	return target == "-" || err == nil
}

// isAddress takes HOST:PORT. A serial with colons between its octets has more than one
// colon and no brackets, which net.SplitHostPort refuses.
func isAddress(target string) bool {
	host, port, err := net.SplitHostPort(target)
	return err == nil && host != "" && port != ""
}

func lookAtServer(ctx context.Context, address string, timeout time.Duration, report *inspect.Report) (pemfile.Content, error) {
	server, err := peek.Dial(ctx, address, timeout)
	if err != nil {
		return pemfile.Content{}, fault.New(fault.Failure, "", "look at %s: %w", address, err)
	}
	state := &server.State
	report.TLS = &inspect.TLS{
		Version:      tls.VersionName(state.Version),
		CipherSuite:  tls.CipherSuiteName(state.CipherSuite),
		KeyExchange:  state.CurveID.String(),
		Protocol:     state.NegotiatedProtocol,
		ClientWanted: server.ClientWanted,
		Stapled:      len(state.OCSPResponse) > 0,
	}
	return pemfile.Content{Certificates: server.Chain}, nil
}

func (a *app) lookUp(ctx context.Context, flags *connect.Flags, serial certs.Serial, report *inspect.Report) (pemfile.Content, error) {
	session, err := flags.Open(a.now, a.warn)
	if err != nil {
		return pemfile.Content{}, err
	}
	defer session.Close()
	row, err := session.API.Certificate(ctx, serial)
	if err != nil {
		return pemfile.Content{}, connect.Explain("look up "+serial.String(), err)
	}
	cert, err := x509.ParseCertificate(row.DER)
	if err != nil {
		return pemfile.Content{}, errors.New("the CA's ledger holds a certificate that cannot be read")
	}
	row.DER = nil
	report.Ledger = row
	return pemfile.Content{Certificates: []*x509.Certificate{cert}}, nil
}

// contextAuthorities returns the CA certificates of the operator context. Without a context
// inspection knows less, but goes on.
func contextAuthorities(flags *connect.Flags) []*x509.Certificate {
	c, _, err := flags.LoadContext()
	if err != nil {
		return nil
	}
	return append(append([]*x509.Certificate{}, c.Chain[1:]...), c.Roots...)
}
