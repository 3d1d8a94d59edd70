package main

import (
	"context"
	"crypto/tls"
)

// renew compares renewals: ours with a fresh key and a CSR, step-ca's with the same key.
func (s *session) renew(ctx context.Context) error {
	ours, err := s.startCA(ctx)
	if err != nil {
		return err
	}
	peer, err := s.startStepCA(ctx)
	if err != nil {
		return err
	}
	base, err := s.startBase(ctx)
	if err != nil {
		return err
	}
	own, err := ours.enrol(ctx, service, s.clients)
	if err != nil {
		return err
	}
	theirs, err := peer.enrol(ctx, s.clients)
	if err != nil {
		return err
	}
	kept := []contestant{ours.renewal(own, false), peer.renewal(theirs, false)}
	anew := []contestant{ours.renewal(own, true), peer.renewal(theirs, true)}
	if base != nil {
		before, err := base.enrol(ctx, service, s.clients)
		if err != nil {
			return err
		}
		kept, anew = append(kept, base.renewal(before, false)), append(anew, base.renewal(before, true))
	}
	if err := s.hold(ctx, contest{name: "renew", unit: "cert", units: s.units(2000), memory: true, rates: true}, kept...); err != nil {
		return err
	}
	if err := s.renewHTTP2(ctx, ours, peer, base); err != nil {
		return err
	}
	floor, err := s.signFloor(ctx, ours, own)
	if err != nil {
		return err
	}
	return s.hold(ctx, contest{name: "renew-anew", unit: "cert", units: s.units(600), rates: true}, append(anew, floor)...)
}

// signFloor is a bare Go server that does a mutual handshake and signs one certificate.
func (s *session) signFloor(ctx context.Context, ours *authority, credentials []tls.Certificate) (contestant, error) {
	dir := s.path("bare")
	if err := writeTLS(dir, credentials[0], ours.root); err != nil {
		return contestant{}, err
	}
	process, address, err := s.bare(ctx, "sign", "", dir)
	if err != nil {
		return contestant{}, err
	}
	configs := make([]*tls.Config, len(credentials))
	for i := range configs {
		configs[i] = ours.clientTLS(credentials[i])
		configs[i].ServerName = serviceDNS
	}
	return contestant{name: "bare-go", pid: process.PID(), do: func(ctx context.Context, client, _ int) error {
		return readAll(ctx, address, configs[client])
	}}, nil
}
