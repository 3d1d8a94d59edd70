package main

import (
	"context"

	"github.com/handfast/handfast/ca/fleet"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/revocation/broadcast"
)

// openFeed makes what tells agents of revocations and what remembers how far they are. It
// comes before the CA, which tells it of changes, and asks the CA only when it runs.
func (d *daemon) openFeed(ctx context.Context) (err error) {
	d.broadcaster, err = broadcast.New(broadcast.Config{
		TrustDomain: d.cfg.TrustDomain.String(), Log: d.store, Listed: d.publisher.Listed,
		Issuers:  func() []string { return d.ca.Issuers() },
		Versions: func(ctx context.Context) ([]feed.Version, error) { return d.ca.Versions(ctx) },
		Validity: d.cfg.CRL.Validity,
		Now:      d.now, Logger: d.logger, Registerer: d.registry,
	})
	if err != nil {
		return err
	}
	d.fleet, err = fleet.New(ctx, fleet.Config{
		Ledger: d.store, Sequence: d.broadcaster.Sequence, Retention: d.cfg.Retention,
		Refused: func(issuer string, serial certs.Serial) bool {
			_, refused := d.publisher.Revoked(issuer, serial)
			return refused
		},
		Now: d.now, Logger: d.logger, Registerer: d.registry,
	})
	return err
}

// followLog tells the feed of what others have put into the log, too.
func (d *daemon) followLog(ctx context.Context) {
	for {
		folded := d.publisher.Folded()
		d.broadcaster.Notify()
		select {
		case <-ctx.Done():
			return
		case <-folded:
		}
	}
}
