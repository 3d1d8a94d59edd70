// Package connect reaches the CA with an operator's context or a service's certificate.
package connect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
	"github.com/handfast/handfast/internal/operctx"
	"github.com/handfast/handfast/internal/version"
)

// serverPath is the path of the CA's own SPIFFE ID.
const serverPath = certs.ReservedPrefix + "/ca"

// Flags say which CA to reach, and how long to wait for each of its answers.
type Flags struct {
	Context string
	Timeout time.Duration
}

// Add registers the flags of commands that need an operator's context.
func (f *Flags) Add(flags *pflag.FlagSet) {
	f.AddContext(flags)
	flags.DurationVar(&f.Timeout, "timeout", 30*time.Second, "how long to wait for each answer of the CA")
}

// AddContext registers --context alone.
func (f *Flags) AddContext(flags *pflag.FlagSet) {
	flags.StringVar(&f.Context, "context", "", "operator context `FILE` (default $HANDFAST_CONTEXT, then ~/.config/handfast/operator.yaml)")
}

// Session is an operator's connection to the CA. Close it when done.
type Session struct {
	Path    string // where the context was read from
	Context operctx.Context
	API     *api.Client
}

// Close drops the connection.
func (s *Session) Close() { s.API.Close() }

// LoadContext reads the context that f names.
func (f *Flags) LoadContext() (operctx.Context, string, error) {
	path, err := operctx.Resolve(f.Context)
	if err != nil {
		return operctx.Context{}, "", err
	}
	c, err := operctx.Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return operctx.Context{}, "", fault.New(fault.NotFound,
			"name one with --context FILE or "+operctx.EnvContext+"; `handfast-ca init` writes the first, `handfast operator add` the others",
			"there is no operator context at %s", path)
	}
	return c, path, err
}

// Open reads the context and prepares the connection; nothing is sent yet. warn gets what
// the operator should know although the command goes on.
func (f *Flags) Open(now func() time.Time, warn func(string)) (*Session, error) {
	c, path, err := f.LoadContext()
	if err != nil {
		return nil, err
	}
	if err := checkExpiry(c, path, now(), warn); err != nil {
		return nil, err
	}
	client, err := Client(c.CA, c.TrustDomain, c.Roots, KeyPair(c.Chain, c.Key), f.Timeout, now)
	if err != nil {
		return nil, err
	}
	return &Session{Path: path, Context: c, API: client}, nil
}

// warnFraction of a certificate's life before its end is "close to expiry".
const warnFraction = 4

func checkExpiry(c operctx.Context, path string, now time.Time, warn func(string)) error {
	leaf := c.Chain[0]
	if now.After(leaf.NotAfter) {
		return fault.New(fault.Refused,
			fmt.Sprintf("an admin makes a new one: handfast operator remove %s, then handfast operator add %s", c.Name(), c.Name()),
			"the operator certificate in %s expired %s", path, output.Ago(leaf.NotAfter, now))
	}
	if now.Before(leaf.NotBefore) {
		return fault.New(fault.Failure, "set this host's clock right",
			"the operator certificate in %s is not valid yet: it begins %s", path, output.Ago(leaf.NotBefore, now))
	}
	if left := leaf.NotAfter.Sub(now); left < leaf.NotAfter.Sub(leaf.NotBefore)/warnFraction {
		warn(fmt.Sprintf("your operator certificate expires in %s; run: handfast operator renew", output.Span(left)))
	}
	return nil
}

// KeyPair joins a chain and its key for TLS.
func KeyPair(chain []*x509.Certificate, key any) *tls.Certificate {
	pair := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, cert := range chain {
		pair.Certificate = append(pair.Certificate, cert.Raw)
	}
	return pair
}

// Client makes an API client that believes only a server of trust domain td's own
// CA identity, issued under roots, and shows pair; a nil pair shows nothing. The
// revocation of the CA's own certificate is not asked for: it lives for a day, and the one to ask would be the CA.
func Client(address string, td certs.TrustDomain, roots []*x509.Certificate, pair *tls.Certificate,
	timeout time.Duration, now func() time.Time,
) (*api.Client, error) {
	bundle, err := certs.NewBundle(td, roots)
	if err != nil {
		return nil, err
	}
	want, err := td.ID(serverPath)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Time:                   now,
		SessionTicketsDisabled: true,
		InsecureSkipVerify:     true, //nolint:gosec // VerifyConnection does it all, by roots and identity
		VerifyConnection: func(cs tls.ConnectionState) error {
			return verifyServer(cs.PeerCertificates, bundle, want, now())
		},
	}
	if pair != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
	return api.NewClient(address, config, api.WithTimeout(timeout), api.WithUserAgent("handfast/"+version.String()))
}

func verifyServer(chain []*x509.Certificate, bundle *certs.Bundle, want certs.ID, now time.Time) error {
	if _, err := certs.VerifyChain(chain, bundle, x509.ExtKeyUsageServerAuth, now); err != nil {
		return err
	}
	got, err := certs.IDFromCertificate(chain[0])
	if err != nil {
		return &certs.Refusal{Cause: certs.CauseNoIdentity, Clock: now, Err: err}
	}
	if got != want {
		return &certs.Refusal{Cause: certs.CauseWrongIdentity, Peer: got, Clock: now, Err: fmt.Errorf("%s answered where %s belongs", got, want)}
	}
	return nil
}

// Explain turns what a request failed with into what the user needs: what was tried, who
// said no, and the next step. It drops the method and the URL, which are the program's
// affair. A nil err stays nil.
func Explain(doing string, err error) error {
	var refused *api.Error
	var wrongPeer *certs.Refusal
	var transport *url.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return fmt.Errorf("%s: %w", doing, refused)
	case errors.Is(err, context.Canceled):
		return fault.New(fault.Failure, "", "%s: interrupted", doing)
	case errors.As(err, &wrongPeer):
		return fault.New(fault.Unverified, "check the address in the context, this host's clock, and whether the CA's root has changed",
			"%s: the server is not the CA that the context trusts: %w", doing, wrongPeer)
	case errors.As(err, &transport):
		return explainTransport(doing, transport)
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

func explainTransport(doing string, err *url.Error) error {
	host := err.URL
	if u, parseErr := url.Parse(err.URL); parseErr == nil {
		host = u.Host
	}
	if strings.Contains(err.Err.Error(), "remote error: tls:") {
		return fault.New(fault.Refused, "the CA's log says why; `handfast inspect` on the context's certificate may, too",
			"%s: the CA at %s refused the certificate that this program showed: %w", doing, host, err.Err)
	}
	reason := err.Err
	if err.Timeout() {
		reason = errors.New("no answer in time")
	}
	return fault.New(fault.Unreachable, "check that handfast-ca runs there and that nothing stands between",
		"%s: cannot reach the CA at %s: %w", doing, host, reason)
}
