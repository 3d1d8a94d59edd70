package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/cmd/handfast/internal/connect"
	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/cmd/handfast/internal/keys"
	"github.com/handfast/handfast/cmd/handfast/internal/load"
)

// benchCleanUp is how long the removal of the temporary service may take, after an interrupt too.
const benchCleanUp = 10 * time.Second

// bench is one measurement.
type bench struct {
	app     *app
	session *connect.Session
	options benchOptions
	timeout time.Duration
	service string
}

// run prepares the service, measures, and leaves the CA as it was but for certificates that soon expire.
func (b *bench) run(ctx context.Context, name string, measure func(*bench, context.Context) (load.Result, error)) (result *measured, err error) {
	if !b.options.yes {
		if err := b.app.confirm(b.question(name)); err != nil {
			return nil, err
		}
	}
	remove, err := b.takeService(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	r, err := measure(b, ctx)
	if err != nil {
		return nil, connect.Explain("measure how fast the CA can "+name, err)
	}
	return newMeasured(name, b.service, b.options, r), nil
}

func (b *bench) question(name string) string {
	service := "the temporary service " + benchService
	if b.options.service != "" {
		service = "the service " + b.options.service
	}
	return fmt.Sprintf("The CA at %s is to %s %s for %s, as fast as it can.",
		b.session.Context.CA, name, plural(b.options.requests, "certificate"), service)
}

// takeService registers the temporary service, or looks whether the named one may be used. remove undoes it.
func (b *bench) takeService(ctx context.Context) (remove func() error, err error) {
	if b.options.service != "" {
		b.service = b.options.service
		return func() error { return nil }, b.checkService(ctx)
	}
	b.service = benchService
	made, err := b.session.API.PutService(ctx, &api.Service{Name: benchService, TTL: api.Duration(benchLifetime)}, 0)
	if err != nil {
		err = connect.Explain("register the service "+benchService, err)
		if refused, ok := errors.AsType[*api.Error](err); ok && refused.Code == api.CodeConflict {
			return nil, fault.New(fault.Refused, "if no other measurement runs, an earlier one was killed: handfast service remove "+benchService, "%w", err)
		}
		return nil, err
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), benchCleanUp)
		defer cancel()
		return connect.Explain("remove the service "+benchService+" again", b.session.API.DeleteService(ctx, benchService, made.Version))
	}, nil
}

// checkService refuses a service that is there for something else, as far as the CA can tell.
func (b *bench) checkService(ctx context.Context) error {
	if _, err := b.session.API.Service(ctx, b.service); err != nil {
		return connect.Explain("use the service "+b.service, err)
	}
	agents, err := b.session.API.Agents(ctx, api.AgentQuery{Service: b.service, Limit: 1})
	if err != nil {
		return connect.Explain("look for agents of "+b.service, err)
	}
	if len(agents.Agents) > 0 {
		return fault.New(fault.Refused, "leave --service out, or register one for measurements only",
			"agents run as %s: a measurement must not meddle with them", b.service)
	}
	return nil
}

// issue measures enrolments. Tokens and requests are made before the clock starts.
func (b *bench) issue(ctx context.Context) (load.Result, error) {
	bodies := make([]*api.EnrollRequest, b.options.requests)
	if err := b.each(ctx, "preparing", len(bodies), func(ctx context.Context, _, i int) (err error) {
		bodies[i], _, err = b.enrolment(ctx)
		return err
	}); err != nil {
		return load.Result{}, err
	}
	clients, err := b.clients(func(int) *tls.Certificate { return nil })
	if err != nil {
		return load.Result{}, err
	}
	defer closeAll(clients)
	return b.measure(ctx, "issuing", func(ctx context.Context, w, i int) error {
		_, err := clients[w].Enroll(ctx, bodies[i], rand.Text())
		return err
	})
}

// renew measures renewals. Each client is enrolled once before.
func (b *bench) renew(ctx context.Context) (load.Result, error) {
	pairs := make([]*tls.Certificate, b.options.concurrency)
	if err := b.each(ctx, "enrolling", len(pairs), func(ctx context.Context, _, i int) (err error) {
		pairs[i], err = b.enrol(ctx)
		return err
	}); err != nil {
		return load.Result{}, err
	}
	bodies := make([]*api.RenewRequest, b.options.requests)
	if err := b.each(ctx, "preparing", len(bodies), func(_ context.Context, _, i int) error {
		_, csr, err := newRequest()
		bodies[i] = &api.RenewRequest{CSR: csr}
		return err
	}); err != nil {
		return load.Result{}, err
	}
	clients, err := b.clients(func(w int) *tls.Certificate { return pairs[w] })
	if err != nil {
		return load.Result{}, err
	}
	defer closeAll(clients)
	return b.measure(ctx, "renewing", func(ctx context.Context, w, i int) error {
		_, err := clients[w].Renew(ctx, bodies[i], rand.Text())
		return err
	})
}

// enrolment has a token made, and a request that uses it.
func (b *bench) enrolment(ctx context.Context) (*api.EnrollRequest, crypto.Signer, error) {
	token, err := b.session.API.CreateToken(ctx, &api.TokenRequest{Service: b.service})
	if err != nil {
		return nil, nil, err
	}
	key, csr, err := newRequest()
	return &api.EnrollRequest{Token: token.Token, CSR: csr}, key, err
}

func (b *bench) enrol(ctx context.Context) (*tls.Certificate, error) {
	request, key, err := b.enrolment(ctx)
	if err != nil {
		return nil, err
	}
	client, err := b.client(nil)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	issued, err := client.Enroll(ctx, request, rand.Text())
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(issued.Chain[0])
	return &tls.Certificate{Certificate: issued.Chain, PrivateKey: key, Leaf: leaf}, err
}

func newRequest() (key crypto.Signer, csr []byte, err error) {
	if key, err = keys.Generate(keys.Default); err != nil {
		return nil, nil, err
	}
	csr, err = keys.Request(key)
	return key, csr, err
}

// client has a connection of its own.
func (b *bench) client(pair *tls.Certificate) (*api.Client, error) {
	c := b.session.Context
	return connect.Client(c.CA, c.TrustDomain, c.Roots, pair, b.timeout, b.app.now)
}

func (b *bench) clients(pair func(w int) *tls.Certificate) (all []*api.Client, err error) {
	for w := range b.options.concurrency {
		client, err := b.client(pair(w))
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, client)
	}
	return all, nil
}

func closeAll(clients []*api.Client) {
	for _, client := range clients {
		client.Close()
	}
}

// measure runs what is to be measured.
func (b *bench) measure(ctx context.Context, what string, do load.Do) (load.Result, error) {
	var done atomic.Int64
	defer b.app.progress(what, &done, b.options.requests)()
	return load.Run(ctx, b.options.concurrency, b.options.requests, &done, do)
}

// each does what comes before the measurement, n times.
func (b *bench) each(ctx context.Context, what string, n int, do load.Do) error {
	var done atomic.Int64
	defer b.app.progress(what, &done, n)()
	_, err := load.Run(ctx, min(b.options.concurrency, n), n, &done, do)
	return err
}
