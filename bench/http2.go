package main

import (
	"context"
	"crypto/tls"
	"net/http"
)

// callersOverHTTP2 makes n clients of which streamsEach share one HTTP/2 connection; config gives
// each connection its TLS configuration.
func callersOverHTTP2(n int, config func(connection int) *tls.Config) []*caller {
	all := make([]*caller, n)
	var shared *http.Client
	for i := range all {
		if i%streamsEach == 0 {
			shared = callersHTTP2(1, config(i/streamsEach))[0]
		}
		all[i] = &caller{http: shared}
	}
	return all
}

// issueHTTP2 is the contest about issuing over HTTP/2; base may be nil.
func (s *session) issueHTTP2(ctx context.Context, ours *authority, peer *stepCA, base *authority) error {
	who := []contestant{
		ours.enrolmentBy(callersOverHTTP2(s.clients, func(int) *tls.Config { return ours.clientTLS() })),
		peer.enrolmentBy(callersOverHTTP2(s.clients, func(int) *tls.Config { return clientTLS(peer.root) })),
	}
	if base != nil {
		who = append(who, base.enrolmentBy(callersOverHTTP2(s.clients, func(int) *tls.Config { return base.clientTLS() })))
	}
	return s.hold(ctx, contest{name: "issue-http2", unit: "cert", units: s.units(2000), rates: true}, who...)
}

// renewHTTP2 is the contest about renewing over kept HTTP/2 connections, each with a certificate
// of its own; base may be nil.
func (s *session) renewHTTP2(ctx context.Context, ours *authority, peer *stepCA, base *authority) error {
	connections := (s.clients + streamsEach - 1) / streamsEach
	own, err := ours.renewalHTTP2(ctx, s.clients, connections)
	if err != nil {
		return err
	}
	theirs, err := peer.enrol(ctx, connections)
	if err != nil {
		return err
	}
	who := []contestant{own, peer.renewalBy(callersOverHTTP2(s.clients, func(i int) *tls.Config { return clientTLS(peer.root, theirs[i]) }), false)}
	if base != nil {
		before, err := base.renewalHTTP2(ctx, s.clients, connections)
		if err != nil {
			return err
		}
		who = append(who, before)
	}
	return s.hold(ctx, contest{name: "renew-http2", unit: "cert", units: s.units(2000), rates: true}, who...)
}

func (a *authority) renewalHTTP2(ctx context.Context, clients, connections int) (contestant, error) {
	credentials, err := a.enrol(ctx, service, connections)
	if err != nil {
		return contestant{}, err
	}
	return a.renewalBy(callersOverHTTP2(clients, func(i int) *tls.Config { return a.clientTLS(credentials[i]) }), false), nil
}
