package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/handfast/handfast/bench/internal/report"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/enroll"
	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/harness"
)

const (
	trustDomain = "bench.test"
	service     = "web"
	serviceDNS  = "web.bench.test"
	serviceID   = "spiffe://" + trustDomain + "/" + service
)

// authority is our CA, the real binary with the configuration that init writes.
type authority struct {
	*harness.CA
	name   string      // in figures
	api    *api.Client // the first operator's
	tokens *enroll.Enroller
	root   *x509.Certificate
}

// initCA makes a CA with the binary in bin. Tokens are minted here with the CA's own key, so
// that minting them costs the server nothing that is not part of issuing.
func (s *session) initCA(ctx context.Context, bin, name string) (*authority, error) {
	made, _, err := harness.InitCA(ctx, bin, s.path(name), trustDomain)
	if err != nil {
		return nil, err
	}
	cfg, err := home.Load(home.Dir(made.Dir), nil)
	if err != nil {
		return nil, err
	}
	material, err := cfg.Open(ctx, time.Now())
	if err != nil {
		return nil, err
	}
	a := &authority{CA: made, name: name, root: material.Root}
	a.tokens, err = enroll.New(enroll.Config{
		TrustDomain: cfg.TrustDomain, NativeKey: material.TokenKey, URL: cfg.APIURL, Fingerprint: certs.Fingerprint(material.Root),
	})
	if err := errors.Join(err, material.Close()); err != nil {
		return nil, err
	}
	a.api, err = made.Client()
	return a, err
}

// startCA makes a CA, serves it, and registers the services that the benchmarks know.
func (s *session) startCA(ctx context.Context) (*authority, error) {
	return s.serveCA(ctx, s.bin(), report.Ours)
}

// startBase is startCA with the binary of before a change; nil when there is none to measure.
func (s *session) startBase(ctx context.Context) (*authority, error) {
	if s.base == "" {
		return nil, nil
	}
	return s.serveCA(ctx, s.base, "before")
}

func (s *session) serveCA(ctx context.Context, bin, name string) (*authority, error) {
	a, err := s.initCA(ctx, bin, name)
	if err != nil {
		return nil, err
	}
	if err := a.Serve(ctx); err != nil {
		return nil, err
	}
	s.started = append(s.started, a.Process)
	return a, a.register(ctx)
}

// configure replaces a text of config.yaml that init wrote. It holds from the next start on.
func (a *authority) configure(from, to string) error {
	path := filepath.Join(a.Dir, "config.yaml")
	config, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed := bytes.Replace(config, []byte(from), []byte(to), 1)
	if bytes.Equal(changed, config) {
		return fmt.Errorf("%s has no %q to change", path, from)
	}
	return os.WriteFile(path, changed, 0o600)
}

func (a *authority) register(ctx context.Context) error {
	for _, registered := range []api.Service{
		{Name: service, DNSNames: []string{serviceDNS}, Callers: []string{"client"}},
		{Name: "client"},
	} {
		if _, err := a.api.PutService(ctx, &registered, 0); err != nil {
			return err
		}
	}
	return nil
}

// clientTLS trusts the CA's root and shows certificates, if any.
func (a *authority) clientTLS(certificates ...tls.Certificate) *tls.Config {
	return clientTLS(a.root, certificates...)
}

func clientTLS(root *x509.Certificate, certificates ...tls.Certificate) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return &tls.Config{RootCAs: pool, Certificates: certificates, MinVersion: tls.VersionTLS13}
}

// header has what an agent sends with a request for a certificate.
func header() http.Header {
	return http.Header{"Content-Type": {"application/json"}, api.HeaderIdempotencyKey: {rand.Text()}}
}

// enrol obtains certificates for a service, each with a key of its own.
func (a *authority) enrol(ctx context.Context, name string, n int) ([]tls.Certificate, error) {
	client, err := a.Anonymous()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	requests, err := newRequests(n)
	if err != nil {
		return nil, err
	}
	all := make([]tls.Certificate, n)
	for i, request := range requests {
		token, _, err := a.tokens.Mint(name, 0)
		if err != nil {
			return nil, err
		}
		issued, err := client.Enroll(ctx, &api.EnrollRequest{Token: token, CSR: request.der}, rand.Text())
		if err != nil {
			return nil, err
		}
		all[i] = tls.Certificate{Certificate: issued.Chain, PrivateKey: request.key}
	}
	return all, nil
}

// enrolment is ours in a contest about issuing.
func (a *authority) enrolment(clients int) contestant {
	return a.enrolmentBy(callers(clients, func(int) *tls.Config { return a.clientTLS() }))
}

func (a *authority) enrolmentBy(all []*caller) contestant {
	url := "https://" + a.API + api.PathEnroll
	var bodies [][]byte
	return contestant{
		name: a.name, pid: a.Process.PID(),
		prepare: func(units int) (err error) {
			bodies, err = prepare(units, func(r request) ([]byte, error) {
				token, _, err := a.tokens.Mint(service, 0)
				if err != nil {
					return nil, err
				}
				return json.Marshal(api.EnrollRequest{Token: token, CSR: r.der})
			})
			return err
		},
		do: func(ctx context.Context, client, unit int) error {
			return all[client].call(ctx, http.MethodPost, url, bodies[unit], header())
		},
	}
}

// renewal is ours in a contest about renewing. anew has each request on a new connection.
func (a *authority) renewal(credentials []tls.Certificate, anew bool) contestant {
	return a.renewalBy(callers(len(credentials), func(i int) *tls.Config { return a.clientTLS(credentials[i]) }), anew)
}

func (a *authority) renewalBy(all []*caller, anew bool) contestant {
	url := "https://" + a.API + api.PathRenew
	var bodies [][]byte
	return contestant{
		name: a.name, pid: a.Process.PID(),
		prepare: func(units int) (err error) {
			bodies, err = prepare(units, func(r request) ([]byte, error) { return json.Marshal(api.RenewRequest{CSR: r.der}) })
			return err
		},
		do: func(ctx context.Context, client, unit int) error {
			if anew {
				defer all[client].http.CloseIdleConnections()
			}
			return all[client].call(ctx, http.MethodPost, url, bodies[unit], header())
		},
	}
}
