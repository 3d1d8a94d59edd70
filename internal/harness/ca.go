package harness

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/operctx"
)

// CA is a certificate authority of its own directory, run by the real binary.
type CA struct {
	Bin     string // where the three binaries are
	Dir     string
	API     string // HOST:PORT of the HTTPS API
	Public  string // HOST:PORT of CRL, OCSP and roots
	Env     []string
	Wrap    []string // goes before each command: "ip netns exec NAME" runs it in a network namespace
	Process *Process // the newest; nil before Serve
}

// InitCA makes a new authority in dir, for the trust domain, on two free ports.
func InitCA(ctx context.Context, bin, dir, trustDomain string, args ...string) (*CA, string, error) {
	ca := &CA{Bin: bin, Dir: dir}
	for _, address := range []*string{&ca.API, &ca.Public} {
		var err error
		if *address, err = FreeAddress(); err != nil {
			return nil, "", err
		}
	}
	argv := append([]string{"init", "--dir", dir, "--trust-domain", trustDomain, "--address", ca.API, "--public-address", ca.Public}, args...)
	out, err := Run(ctx, ca.Env, append([]string{filepath.Join(bin, "handfast-ca")}, argv...)...)
	return ca, out, err
}

// Serve starts the daemon and waits until it is ready.
func (ca *CA) Serve(ctx context.Context) error {
	process, err := Start("handfast-ca", ca.Env, ca.wrapped(filepath.Join(ca.Bin, "handfast-ca"), "serve", "--dir", ca.Dir)...)
	if err != nil {
		return err
	}
	ca.Process = process
	_, err = process.WaitLog(ctx, 0, "ready")
	return err
}

// Context is the operator's file that init made.
func (ca *CA) Context() string { return filepath.Join(ca.Dir, "operator.yaml") }

// Handfast runs the CLI as the first operator and returns its standard output.
func (ca *CA) Handfast(ctx context.Context, args ...string) (string, error) {
	argv := append([]string{filepath.Join(ca.Bin, "handfast"), "--context", ca.Context()}, args...)
	return Run(ctx, nil, ca.wrapped(argv...)...)
}

func (ca *CA) wrapped(argv ...string) []string { return slices.Concat(ca.Wrap, argv) }

// Token mints a one-time token for a service and writes it to a file of mode 0600.
func (ca *CA) Token(ctx context.Context, service, path string) error {
	token, err := ca.Handfast(ctx, "token", service)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(token), 0o600)
}

// Agent starts an agent for service, which it enrols with a fresh token, with its state
// below dir, and waits until it is ready.
func (ca *CA) Agent(ctx context.Context, service, dir string, args ...string) (*Process, error) {
	tokenFile := filepath.Join(dir, service+".token")
	if err := ca.Token(ctx, service, tokenFile); err != nil {
		return nil, err
	}
	return ca.StartAgent(ctx, service, dir, append([]string{"--token-file", tokenFile}, args...)...)
}

// StartAgent is Agent without a token: for one that has its state already.
func (ca *CA) StartAgent(ctx context.Context, service, dir string, args ...string) (*Process, error) {
	argv := append([]string{filepath.Join(ca.Bin, "handfast-agent"), "run", "--state", filepath.Join(dir, service)}, args...)
	process, err := Start("agent of "+service, nil, argv...)
	if err != nil {
		return nil, err
	}
	_, err = process.WaitLog(ctx, 0, "ready")
	return process, err
}

// A RunError is a program that failed, and what it printed on standard error.
type RunError struct {
	Argv   []string
	Stderr string
	Err    error
}

func (e *RunError) Error() string {
	return fmt.Sprintf("%s %s: %v: %s", filepath.Base(e.Argv[0]), strings.Join(e.Argv[1:], " "), e.Err, e.Stderr)
}

func (e *RunError) Unwrap() error { return e.Err }

// Run runs a program to its end and returns its standard output; a failure is a *RunError.
func Run(ctx context.Context, env []string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), &RunError{Argv: argv, Stderr: strings.TrimSpace(stderr.String()), Err: err}
	}
	return stdout.String(), nil
}

// Client returns a client of the native API that acts as the first operator.
func (ca *CA) Client() (*api.Client, error) {
	operator, err := operctx.Load(ca.Context())
	if err != nil {
		return nil, err
	}
	certificate := tls.Certificate{PrivateKey: operator.Key, Leaf: operator.Chain[0]}
	for _, cert := range operator.Chain {
		certificate.Certificate = append(certificate.Certificate, cert.Raw)
	}
	return ca.connect(operator, certificate)
}

// Anonymous returns a client that shows no certificate.
func (ca *CA) Anonymous() (*api.Client, error) {
	operator, err := operctx.Load(ca.Context())
	if err != nil {
		return nil, err
	}
	return ca.connect(operator)
}

func (ca *CA) connect(operator operctx.Context, show ...tls.Certificate) (*api.Client, error) {
	config, err := certs.PinnedConfig(certs.Fingerprint(operator.Roots[0]))
	if err != nil {
		return nil, err
	}
	config.Certificates = show
	return api.NewClient(operator.CA, config)
}
