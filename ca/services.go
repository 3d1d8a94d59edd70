package ca

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
)

// maxApplied is how many services one ApplyServices takes.
const maxApplied = 20_000

// Service returns a registered service.
func (c *CA) Service(ctx context.Context, actor policy.Operator, name string) (policy.Service, error) {
	if err := allow(actor, policy.ActionRead, name); err != nil {
		return policy.Service{}, err
	}
	service, err := c.ledger.Service(ctx, name)
	return service, ledgerError(err)
}

// Services returns a page by name and the next page's cursor, "" at the end.
func (c *CA) Services(ctx context.Context, actor policy.Operator, search, cursor string, limit int) ([]policy.Service, string, error) {
	if err := allow(actor, policy.ActionRead, ""); err != nil {
		return nil, "", err
	}
	services, next, err := c.ledger.Services(ctx, search, cursor, pageSize(limit))
	return services, next, ledgerError(err)
}

// PutService creates or replaces a service; version is as for Registry.PutService. Names
// that change show in the next certificate, callers at once.
func (c *CA) PutService(ctx context.Context, actor policy.Operator, service policy.Service, version uint64) (policy.Service, error) {
	if err := allow(actor, policy.ActionChangeServices, service.Name); err != nil {
		return policy.Service{}, err
	}
	service, err := c.normalize(service)
	if err != nil {
		return policy.Service{}, err
	}
	stored, err := c.ledger.PutService(ctx, service, version)
	if err != nil {
		return policy.Service{}, ledgerError(err)
	}
	c.change(ctx, "service_put", actor.Name, stored.Name, slog.Uint64("version", stored.Version))
	c.announce()
	return stored, nil
}

// DeleteService removes a service. From its return on nothing is issued for it and no
// other service's callers resolve to it. Its certificates stay valid until they expire or
// are revoked.
func (c *CA) DeleteService(ctx context.Context, actor policy.Operator, name string, version uint64) error {
	if err := allow(actor, policy.ActionChangeServices, name); err != nil {
		return err
	}
	if err := c.ledger.DeleteService(ctx, name, version); err != nil {
		return ledgerError(err)
	}
	c.change(ctx, "service_deleted", actor.Name, name)
	c.announce()
	return nil
}

// ApplyServices creates or replaces all of services in one transaction and, with prune,
// removes the others. In a dry run nothing changes.
func (c *CA) ApplyServices(ctx context.Context, actor policy.Operator, services []policy.Service, prune, dryRun bool) (Applied, error) {
	if err := allow(actor, policy.ActionChangeServices, ""); err != nil {
		return Applied{}, err
	}
	if len(services) > maxApplied {
		return Applied{}, refuse(api.CodeTooLarge, "apply them in parts, without prune", "%d services; at most %d are allowed", len(services), maxApplied)
	}
	seen := make(map[string]bool, len(services))
	normal := make([]policy.Service, len(services))
	for i, service := range services {
		var err error
		if normal[i], err = c.normalize(service); err != nil {
			return Applied{}, err
		}
		if seen[service.Name] {
			return Applied{}, refuse(api.CodeBadRequest, "", "service %s is named twice", service.Name)
		}
		seen[service.Name] = true
	}
	applied, err := c.ledger.ApplyServices(ctx, normal, prune, dryRun, c.now().UTC().Truncate(time.Second))
	if err != nil || dryRun {
		return applied, ledgerError(err)
	}
	c.change(ctx, "services_applied", actor.Name, fmt.Sprintf("%d services", len(services)), slog.Int("created", len(applied.Created)),
		slog.Int("updated", len(applied.Updated)), slog.Int("removed", len(applied.Removed)))
	c.announce()
	return applied, nil
}

func (c *CA) normalize(service policy.Service) (policy.Service, error) {
	normal, err := policy.Normalize(service, c.authorities.Load().lifetimes)
	if err != nil {
		return policy.Service{}, refuse(api.CodeRefused, "", "%v", err)
	}
	if _, err := c.serviceID(normal.Name); err != nil {
		return policy.Service{}, refuse(api.CodeRefused, "", "%v", err)
	}
	now := c.now().UTC().Truncate(time.Second)
	normal.Created, normal.Updated = now, now
	return normal, nil
}

// Certificate returns one row of the ledger.
func (c *CA) Certificate(ctx context.Context, actor policy.Operator, serial certs.Serial) (Certificate, error) {
	if err := allow(actor, policy.ActionRead, ""); err != nil {
		return Certificate{}, err
	}
	certificate, err := c.ledger.Certificate(ctx, serial)
	return certificate, ledgerError(err)
}

// Certificates returns a page, newest first, and the next page's cursor, "" at the end. A zero
// Now is the CA's.
func (c *CA) Certificates(ctx context.Context, actor policy.Operator, query CertificateQuery) ([]Certificate, string, error) {
	if err := allow(actor, policy.ActionRead, ""); err != nil {
		return nil, "", err
	}
	switch query.Status {
	case "", StatusValid, StatusExpired, StatusRevoked, StatusHeld:
	default:
		return nil, "", refuse(api.CodeBadRequest, "use valid, expired, revoked or held", "status %q is unknown", query.Status)
	}
	if query.Now.IsZero() {
		query.Now = c.now()
	}
	query.Limit = pageSize(query.Limit)
	page, next, err := c.ledger.Certificates(ctx, query)
	return page, next, ledgerError(err)
}

// pageSize keeps limit within what one answer may hold; 0 is a hundred.
func pageSize(limit int) int {
	if limit <= 0 {
		return 100
	}
	return min(limit, api.MaxPageSize)
}
