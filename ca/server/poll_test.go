package server

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/fleet"
	"github.com/handfast/handfast/certs"
)

func TestPolling(t *testing.T) {
	f := startFeed(t, nil)
	client := f.client("web")
	poll := func(since uint64, wait time.Duration) []uint64 {
		t.Helper()
		list, err := client.FeedPoll(t.Context(), since, agentA, wait)
		if err != nil {
			t.Fatal(err)
		}
		var sequences []uint64
		for _, message := range list {
			sequences = append(sequences, binary.BigEndian.Uint64(message.Payload))
		}
		return sequences
	}
	if got := poll(0, 30*time.Second); len(got) != 1 || got[0] != 7 {
		t.Errorf("news did not come at once: %v", got)
	}
	if a := f.agent(agentA); a.Sequence != 0 || a.State != fleet.Lagging {
		t.Errorf("agent after the first poll: %+v", a)
	}
	if got := poll(7, 0); len(got) != 1 || got[0] != 7 {
		t.Errorf("without a wait: %v, want one statement that nothing is new", got)
	}
	if a := f.agent(agentA); a.Sequence != 7 || a.State != fleet.Current {
		t.Errorf("agent after the second poll: %+v; naming 7 acknowledges it", a)
	}
	go func() {
		for f.metric("requests_in_flight") == 0 {
			time.Sleep(time.Millisecond)
		}
		f.feed.beat(8)
	}()
	if got := poll(7, 30*time.Second); len(got) == 0 || got[len(got)-1] != 8 {
		t.Errorf("a poll that waits brought %v", got)
	}
	f.feed.fail(errNoFeed)
	_, err := client.FeedPoll(t.Context(), 8, agentA, 0)
	var told *api.Error
	if !errors.As(err, &told) || told.Code != api.CodeUnavailable || strings.Contains(err.Error(), errNoFeed.Error()) {
		t.Errorf("a feed that is silent: %v, want unavailable without the cause", err)
	}
}

func TestRevocationOfIsExact(t *testing.T) {
	f := startFeed(t, nil)
	serial, err := certs.ParseSerial("0a01")
	if err != nil {
		t.Fatal(err)
	}
	client := f.client("web")
	state, err := client.RevocationOf(t.Context(), "aabb", serial.String())
	if err != nil || !state.Revoked || state.Reason != certs.KeyCompromise || state.Sequence != 5 {
		t.Errorf("revoked: %+v, %v", state, err)
	}
	state, err = client.RevocationOf(t.Context(), "aabb", "0b")
	if err != nil || state.Revoked || state.Sequence != 7 {
		t.Errorf("not revoked: %+v, %v; want the feed's position", state, err)
	}
	_, err = client.RevocationOf(t.Context(), "cc", "0b")
	var told *api.Error
	if !errors.As(err, &told) || told.Code != api.CodeNotFound {
		t.Errorf("unknown: %v", err)
	}
}

func TestProgressAndAgents(t *testing.T) {
	f := startFeed(t, nil)
	web, shop, admin := f.open(f.client("web"), agentA), f.open(f.client("shop"), agentB), f.client("handfast/operator/rene")
	f.expect(web, 7)
	f.expect(shop, 7)
	f.fleet.Note(8, time.Now())
	f.feed.beat(8)
	f.expect(web, 8)
	web.Ack(8)
	p, err := admin.Progress(t.Context(), 8, 0)
	if err != nil || !p.Known || p.Agents != 2 || len(p.Pending) == 0 || p.Pending[len(p.Pending)-1].Service != "web" && p.PendingTotal == 0 {
		t.Fatalf("progress = %+v, %v", p, err)
	}
	done := make(chan *api.Progress)
	go func() {
		p, err := admin.Progress(context.WithoutCancel(t.Context()), 8, 30*time.Second)
		if err != nil {
			t.Error(err)
		}
		done <- p
	}()
	f.expect(shop, 8)
	shop.Ack(8)
	if p = <-done; p == nil || p.Enforcing != 2 || p.PendingTotal != 0 || p.Slowest == nil || p.SlowestMS < p.MedianMS {
		t.Errorf("progress = %+v", p)
	}
	shop.Close()
	eventually(t, "shop is silent", func() bool { return f.agent(agentB).State == fleet.Silent })
	var names []string
	for query := (api.AgentQuery{Limit: 1}); ; {
		page, err := admin.Agents(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page.Agents {
			names = append(names, a.Service+" "+a.State)
		}
		if query.Cursor = page.Next; page.Next == "" {
			break
		}
	}
	if got := strings.Join(names, ", "); got != "shop silent, web current" {
		t.Errorf("agents: %s", got)
	}
	page, err := admin.Agents(t.Context(), api.AgentQuery{State: "silent", Search: agentB[:5]})
	if err != nil || len(page.Agents) != 1 || page.Sequence != 8 {
		t.Errorf("silent: %+v, %v", page, err)
	}
	if _, err := admin.Agents(t.Context(), api.AgentQuery{State: "asleep"}); err == nil {
		t.Error("an unknown state is taken")
	}
}
