package storetest

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/policy"
)

var compareAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func (s *suite) services() {
	want := policy.Service{
		Name: "shop/cart", DNSNames: []string{"cart", "cart.shop.svc"},
		IPs:     []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")},
		Callers: []string{"*", "shop/web"}, Profile: "long", TTL: 90 * time.Minute, MaxSilence: 5 * time.Minute, Created: start, Updated: start,
	}
	stored, err := s.ledger.PutService(s.ctx, want, 0)
	s.must(err)
	want.Version = stored.Version
	if want.Version == 0 {
		s.Error("the stored version is 0")
	}
	if diff := cmp.Diff(want, stored, compareAddr); diff != "" {
		s.Errorf("stored (-want +got):\n%s", diff)
	}
	got, err := s.ledger.Service(s.ctx, "shop/cart")
	s.must(err)
	if diff := cmp.Diff(want, got, compareAddr); diff != "" {
		s.Errorf("read (-want +got):\n%s", diff)
	}
	if _, err := s.ledger.Service(s.ctx, "shop"); !errors.Is(err, ca.ErrNotFound) {
		s.Errorf("unknown service: %v, want ErrNotFound", err)
	}
	s.must(s.ledger.DeleteService(s.ctx, "shop/cart", ca.AnyVersion))
	if _, err := s.ledger.Service(s.ctx, "shop/cart"); !errors.Is(err, ca.ErrNotFound) {
		s.Errorf("removed service: %v, want ErrNotFound", err)
	}
	if err := s.ledger.DeleteService(s.ctx, "shop/cart", ca.AnyVersion); !errors.Is(err, ca.ErrNotFound) {
		s.Errorf("removed twice: %v, want ErrNotFound", err)
	}
}

func (s *suite) epoch() uint64 {
	s.Helper()
	epoch, err := s.ledger.PolicyEpoch(s.ctx)
	s.must(err)
	return epoch
}

func (s *suite) serviceVersions() {
	epoch := s.epoch()
	rises := func(what string) {
		s.Helper()
		if now := s.epoch(); now <= epoch {
			s.Errorf("%s: the epoch stays at %d", what, now)
		} else {
			epoch = now
		}
	}
	first, err := s.ledger.PutService(s.ctx, service("a"), 0)
	s.must(err)
	rises("create")
	if _, err := s.ledger.PutService(s.ctx, service("a", "b"), 0); !errors.Is(err, ca.ErrConflict) {
		s.Errorf("create twice: %v, want ErrConflict", err)
	}
	if _, err := s.ledger.PutService(s.ctx, service("new"), 7); !errors.Is(err, ca.ErrConflict) {
		s.Errorf("replace what is not there: %v, want ErrConflict", err)
	}
	changed := service("a", "b")
	changed.Created, changed.Updated = end, end
	second, err := s.ledger.PutService(s.ctx, changed, first.Version)
	s.must(err)
	rises("replace")
	if second.Version <= first.Version || !second.Created.Equal(start) || !second.Updated.Equal(end) {
		s.Errorf("replaced = %+v, want a higher version, created then, updated now", second)
	}
	changed.MaxSilence = time.Minute
	if second, err = s.ledger.PutService(s.ctx, changed, second.Version); err != nil || second.MaxSilence != time.Minute {
		s.Errorf("a change of max_silence alone: %+v, %v", second, err)
	}
	rises("change max_silence")
	if _, err := s.ledger.PutService(s.ctx, service("a"), first.Version); !errors.Is(err, ca.ErrConflict) {
		s.Errorf("replace an old version: %v, want ErrConflict", err)
	}
	if err := s.ledger.DeleteService(s.ctx, "a", first.Version); !errors.Is(err, ca.ErrConflict) {
		s.Errorf("remove an old version: %v, want ErrConflict", err)
	}
	s.must(s.ledger.DeleteService(s.ctx, "a", second.Version))
	rises("remove")
	third, err := s.ledger.PutService(s.ctx, service("a"), 0)
	s.must(err)
	if third.Version <= second.Version {
		s.Errorf("version %d after a removal at %d: an old If-Match would fit again", third.Version, second.Version)
	}
}

func (s *suite) serviceRace() {
	seen := s.put("a")
	won := 0
	for _, err := range race(20, func(i int) error {
		_, err := s.ledger.PutService(s.ctx, service("a", fmt.Sprintf("caller-%d", i)), seen.Version)
		return err
	}) {
		if err == nil {
			won++
		} else if !errors.Is(err, ca.ErrConflict) {
			s.Errorf("loser: %v, want ErrConflict", err)
		}
	}
	if won != 1 {
		s.Errorf("%d updates of one version were accepted, want 1", won)
	}
}

func (s *suite) servicePaging() {
	want := []string{"a", "a/b", "b-1", "b-2", "c"}
	for _, name := range []string{"c", "b-2", "a", "b-1", "a/b"} {
		s.put(name)
	}
	var got []string
	cursor := ""
	for {
		page, next, err := s.ledger.Services(s.ctx, "", cursor, 2)
		s.must(err)
		got = append(got, names(page)...)
		if next == "" {
			break
		}
		cursor = next
	}
	if !slices.Equal(got, want) {
		s.Errorf("pages = %v, want %v", got, want)
	}
	page, _, err := s.ledger.Services(s.ctx, "b-", "", 10)
	s.must(err)
	if got := names(page); !slices.Equal(got, []string{"b-1", "b-2"}) {
		s.Errorf("search = %v, want b-1 and b-2", got)
	}
	if page, _, err := s.ledger.Services(s.ctx, "%", "", 10); err != nil || len(page) != 0 {
		s.Errorf("search for %%: %v, %v; want none", page, err)
	}
}

func names(services []policy.Service) []string {
	list := []string{}
	for _, service := range services {
		list = append(list, service.Name)
	}
	return list
}

func (s *suite) apply() {
	for _, name := range []string{"stays", "changes", "goes"} {
		s.put(name)
	}
	list := []policy.Service{service("stays"), service("changes", "new"), service("new")}
	epoch := s.epoch()
	got, err := s.ledger.ApplyServices(s.ctx, list, true, false, end)
	s.must(err)
	want := ca.Applied{Created: []string{"new"}, Updated: []string{"changes"}, Unchanged: []string{"stays"}, Removed: []string{"goes"}}
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("applied (-want +got):\n%s", diff)
	}
	page, _, err := s.ledger.Services(s.ctx, "", "", 10)
	s.must(err)
	if got := names(page); !slices.Equal(got, []string{"changes", "new", "stays"}) {
		s.Errorf("services = %v", got)
	}
	if s.epoch() <= epoch {
		s.Error("the epoch stays after a change")
	}
	if !page[0].Updated.Equal(end) || !page[0].Created.Equal(start) || !page[2].Updated.Equal(start) {
		s.Errorf("times: %+v", page)
	}
	epoch = s.epoch()
	got, err = s.ledger.ApplyServices(s.ctx, list, true, false, end)
	s.must(err)
	if len(got.Unchanged) != 3 || s.epoch() != epoch {
		s.Errorf("the same again: %+v, epoch %d; want nothing changed", got, s.epoch())
	}
	got, err = s.ledger.ApplyServices(s.ctx, list[:1], false, false, end)
	s.must(err)
	if len(got.Removed) != 0 {
		s.Errorf("without prune %v were removed", got.Removed)
	}
	s.applyIsAtomic()
}

// applyIsAtomic reads while two lists take turns: a reader sees one of them, never a mix.
func (s *suite) applyIsAtomic() {
	lists := [][]policy.Service{{service("x-1"), service("x-2")}, {service("y-1"), service("y-2")}}
	_, err := s.ledger.ApplyServices(s.ctx, lists[0], true, false, end)
	s.must(err)
	errs := race(8, func(i int) error {
		if i < 2 {
			for range 10 {
				if _, err := s.ledger.ApplyServices(s.ctx, lists[i], true, false, end); err != nil {
					return err
				}
			}
			return nil
		}
		for range 20 {
			page, _, err := s.ledger.Services(s.ctx, "", "", 10)
			if err != nil {
				return err
			}
			if got := names(page); !slices.Equal(got, names(lists[0])) && !slices.Equal(got, names(lists[1])) {
				return fmt.Errorf("a reader saw %v", got)
			}
		}
		return nil
	})
	s.must(errors.Join(errs...))
}

func (s *suite) applyDryRun() {
	s.put("goes")
	epoch := s.epoch()
	got, err := s.ledger.ApplyServices(s.ctx, []policy.Service{service("new")}, true, true, end)
	s.must(err)
	if diff := cmp.Diff(ca.Applied{Created: []string{"new"}, Removed: []string{"goes"}}, got); diff != "" {
		s.Errorf("applied (-want +got):\n%s", diff)
	}
	page, _, err := s.ledger.Services(s.ctx, "", "", 10)
	s.must(err)
	if got := names(page); !slices.Equal(got, []string{"goes"}) || s.epoch() != epoch {
		s.Errorf("a dry run left %v at epoch %d", got, s.epoch())
	}
}

func operator(name string, role policy.Role, services ...string) policy.Operator {
	return policy.Operator{Name: name, Role: role, Services: services, Created: start}
}

func (s *suite) operators() {
	list := []policy.Operator{operator("alice", policy.RoleAdmin), operator("bob", policy.RoleIssuer, "shop/cart", "shop/web"), operator("carol", policy.RoleReader)}
	for _, o := range []int{1, 2, 0} {
		s.must(s.ledger.AddOperator(s.ctx, list[o]))
	}
	got, err := s.ledger.Operators(s.ctx)
	s.must(err)
	if diff := cmp.Diff(list, got); diff != "" {
		s.Errorf("operators (-want +got):\n%s", diff)
	}
	bob, err := s.ledger.Operator(s.ctx, "bob")
	s.must(err)
	if diff := cmp.Diff(list[1], bob); diff != "" {
		s.Errorf("bob (-want +got):\n%s", diff)
	}
	if _, err := s.ledger.Operator(s.ctx, "dave"); !errors.Is(err, ca.ErrNotFound) {
		s.Errorf("unknown operator: %v, want ErrNotFound", err)
	}
	if err := s.ledger.AddOperator(s.ctx, operator("bob", policy.RoleAdmin)); !errors.Is(err, ca.ErrConflict) {
		s.Errorf("taken name: %v, want ErrConflict", err)
	}
	if bob, err = s.ledger.Operator(s.ctx, "bob"); err != nil || bob.Role != policy.RoleIssuer {
		s.Errorf("bob is %s now, %v: the name was taken over", bob.Role, err)
	}
	s.must(s.ledger.DeleteOperator(s.ctx, "bob"))
	if err := s.ledger.DeleteOperator(s.ctx, "bob"); !errors.Is(err, ca.ErrNotFound) {
		s.Errorf("removed twice: %v, want ErrNotFound", err)
	}
}

func (s *suite) lastAdmin() {
	s.must(s.ledger.AddOperator(s.ctx, operator("reader", policy.RoleReader)))
	s.must(s.ledger.AddOperator(s.ctx, operator("a", policy.RoleAdmin)))
	if err := s.ledger.DeleteOperator(s.ctx, "a"); !errors.Is(err, ca.ErrConflict) {
		s.Errorf("the last admin: %v, want ErrConflict", err)
	}
	s.must(s.ledger.AddOperator(s.ctx, operator("b", policy.RoleAdmin)))
	// Two admins who remove each other at once: one of them stays.
	removed := 0
	for _, err := range race(2, func(i int) error { return s.ledger.DeleteOperator(s.ctx, []string{"a", "b"}[i]) }) {
		if err == nil {
			removed++
		} else if !errors.Is(err, ca.ErrConflict) {
			s.Errorf("removal: %v, want ErrConflict", err)
		}
	}
	if removed != 1 {
		s.Errorf("%d admins were removed, want 1", removed)
	}
}
