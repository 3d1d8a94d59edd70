package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/policy"
)

const (
	serviceColumns = "SELECT name, dns, ips, callers, profile, ttl, max_silence, version, created, updated FROM services "
	selectService  = serviceColumns + "WHERE name = ?"
	selectEpoch    = "SELECT value FROM counters WHERE name = 'epoch'"
)

func scanService(from scanner) (policy.Service, error) {
	var service policy.Service
	var dns, ips, callers string
	var ttl, silence, version, created, updated int64
	err := from.Scan(&service.Name, &dns, &ips, &callers, &service.Profile, &ttl, &silence, &version, &created, &updated)
	if errors.Is(err, sql.ErrNoRows) {
		return policy.Service{}, ca.ErrNotFound
	}
	if err != nil {
		return policy.Service{}, err
	}
	err = errors.Join(parseList(dns, &service.DNSNames), parseList(ips, &service.IPs), parseList(callers, &service.Callers))
	if err != nil {
		return policy.Service{}, fmt.Errorf("service %s is damaged: %w", service.Name, err)
	}
	service.TTL, service.MaxSilence, service.Version = time.Duration(ttl), time.Duration(silence), uint64(version)
	service.Created, service.Updated = fromUnix(created), fromUnix(updated)
	return service, nil
}

// Service implements ca.Registry.
func (s *Store) Service(ctx context.Context, name string) (policy.Service, error) {
	if err := s.readers.usable(ctx); err != nil {
		return policy.Service{}, err
	}
	return recall(s.memory, s.memory.services, maxServices, name, func() (policy.Service, error) {
		return scanService(reader{ctx, s}.queryRow(selectService, name))
	})
}

// Services implements ca.Registry. The cursor is the last name.
func (s *Store) Services(ctx context.Context, search, cursor string, limit int) ([]policy.Service, string, error) {
	rows, err := reader{ctx, s}.query(serviceColumns+"WHERE name > ? AND instr(name, ?) > 0 ORDER BY name LIMIT ?", cursor, search, limit+1)
	if err != nil {
		return nil, "", err
	}
	page, err := scanServices(rows)
	if err != nil {
		return nil, "", err
	}
	if len(page) > limit {
		return page[:limit], page[limit-1].Name, nil
	}
	return page, "", nil
}

func scanServices(rows *rows) ([]policy.Service, error) {
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	services := []policy.Service{}
	for rows.Next() {
		service, err := scanService(rows)
		if err != nil {
			return nil, err
		}
		services = append(services, service)
	}
	return services, rows.Err()
}

// PutService implements ca.Registry. What changes nothing leaves the version as it is.
func (s *Store) PutService(ctx context.Context, service policy.Service, version uint64) (policy.Service, error) {
	return write(ctx, s, onServices, func(t *tx) (policy.Service, error) {
		known, err := scanService(t.queryRow(selectService, service.Name))
		if err != nil && !errors.Is(err, ca.ErrNotFound) {
			return policy.Service{}, err
		}
		if version != ca.AnyVersion && version != known.Version {
			return policy.Service{}, ca.ErrConflict
		}
		stored, _, err := putService(t, known, service)
		return stored, err
	})
}

// putService replaces known, whose Version is 0 when there is none, and says whether anything changed.
func putService(t *tx, known, service policy.Service) (policy.Service, bool, error) {
	if known.Version != 0 {
		service.Created = known.Created
		if sameService(known, service) {
			return known, false, nil
		}
	}
	epoch, err := nextEpoch(t)
	if err != nil {
		return policy.Service{}, false, err
	}
	service.Version = epoch
	err = t.exec(`INSERT INTO services (name, dns, ips, callers, profile, ttl, max_silence, version, created, updated) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
		ON CONFLICT (name) DO UPDATE SET dns = ?2, ips = ?3, callers = ?4, profile = ?5, ttl = ?6, max_silence = ?7, version = ?8, updated = ?10`,
		service.Name, formatList(service.DNSNames), formatList(service.IPs), formatList(service.Callers), service.Profile,
		int64(service.TTL), int64(service.MaxSilence), int64(service.Version), service.Created.Unix(), service.Updated.Unix())
	return service, true, err
}

func sameService(a, b policy.Service) bool {
	return slices.Equal(a.DNSNames, b.DNSNames) && slices.Equal(a.IPs, b.IPs) && slices.Equal(a.Callers, b.Callers) &&
		a.Profile == b.Profile && a.TTL == b.TTL && a.MaxSilence == b.MaxSilence
}

func nextEpoch(t *tx) (uint64, error) {
	var epoch int64
	err := t.queryRow("UPDATE counters SET value = value + 1 WHERE name = 'epoch' RETURNING value").Scan(&epoch)
	return uint64(epoch), err
}

// DeleteService implements ca.Registry.
func (s *Store) DeleteService(ctx context.Context, name string, version uint64) error {
	_, err := write(ctx, s, onServices, func(t *tx) (struct{}, error) {
		known, err := scanService(t.queryRow(selectService, name))
		if err != nil {
			return struct{}{}, err
		}
		if version != ca.AnyVersion && version != known.Version {
			return struct{}{}, ca.ErrConflict
		}
		return struct{}{}, deleteService(t, name)
	})
	return err
}

func deleteService(t *tx, name string) error {
	if _, err := nextEpoch(t); err != nil {
		return err
	}
	return t.exec("DELETE FROM services WHERE name = ?", name)
}

// ApplyServices implements ca.Registry.
func (s *Store) ApplyServices(ctx context.Context, services []policy.Service, prune, dryRun bool, at time.Time) (ca.Applied, error) {
	return write(ctx, s, onServices, func(t *tx) (ca.Applied, error) {
		applied, err := applyServices(t, services, prune, at)
		if err == nil && dryRun {
			err = errRollBack
		}
		return applied, err
	})
}

func applyServices(t *tx, services []policy.Service, prune bool, at time.Time) (ca.Applied, error) {
	rows, err := t.query(serviceColumns + "ORDER BY name")
	if err != nil {
		return ca.Applied{}, err
	}
	list, err := scanServices(rows)
	if err != nil {
		return ca.Applied{}, err
	}
	known := make(map[string]policy.Service, len(list))
	for _, service := range list {
		known[service.Name] = service
	}
	var applied ca.Applied
	for _, service := range services {
		service.Created, service.Updated = at, at
		_, changed, err := putService(t, known[service.Name], service)
		switch {
		case err != nil:
			return ca.Applied{}, err
		case !changed:
			applied.Unchanged = append(applied.Unchanged, service.Name)
		case known[service.Name].Version == 0:
			applied.Created = append(applied.Created, service.Name)
		default:
			applied.Updated = append(applied.Updated, service.Name)
		}
		delete(known, service.Name)
	}
	if !prune {
		return applied, nil
	}
	for _, service := range list {
		if _, unnamed := known[service.Name]; !unnamed {
			continue
		}
		if err := deleteService(t, service.Name); err != nil {
			return ca.Applied{}, err
		}
		applied.Removed = append(applied.Removed, service.Name)
	}
	return applied, nil
}

// PolicyEpoch implements ca.Registry.
func (s *Store) PolicyEpoch(ctx context.Context) (uint64, error) {
	var epoch int64
	err := reader{ctx, s}.queryRow(selectEpoch).Scan(&epoch)
	return uint64(epoch), err
}

// formatList cannot fail: the lists are of strings and of addresses.
func formatList[T string | netip.Addr](list []T) string {
	if len(list) == 0 {
		return "[]"
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func parseList[T string | netip.Addr](text string, list *[]T) error {
	if text == "[]" {
		return nil
	}
	return json.Unmarshal([]byte(text), list)
}
