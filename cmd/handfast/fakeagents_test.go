package main

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/handfast/handfast/ca/api"
)

// agents are three services' agents: what is revoked for another reason than superseded (number
// 9) never reaches vault's.
func (f *fakeCA) agents() []api.Agent {
	ago := func(d time.Duration) time.Time { return f.now.Add(-d - 30*time.Second) }
	agent := func(service, id, state, address string, since time.Duration, sequence uint64) api.Agent {
		return api.Agent{
			ID: strings.Repeat(id, 32), Service: service, State: state, Address: address, Since: ago(since), Sequence: sequence,
			NotAfter: f.now.Add(time.Hour), Version: "handfast-agent/1", EnforcedAt: ago(since),
		}
	}
	return []api.Agent{
		agent("gateway", "a", api.AgentCurrent, "10.0.0.7", 3*time.Hour, 9),
		agent("shop", "b", api.AgentLagging, "10.0.0.8", time.Hour, 8),
		agent("vault", "c", api.AgentSilent, "10.0.0.9", 20*time.Minute, 4),
	}
}

// listAgents answers one a page.
func (f *fakeCA) listAgents(r *http.Request) (any, error) {
	var matching []api.Agent
	for _, a := range f.agents() {
		if contains(a.State, r.FormValue("state")) && contains(a.Service, r.FormValue("service")) && strings.Contains(a.Service, r.FormValue("q")) {
			matching = append(matching, a)
		}
	}
	at, _ := strconv.Atoi(r.FormValue("cursor"))
	list := api.AgentList{Sequence: 9, Agents: matching[min(at, len(matching)):min(at+1, len(matching))]}
	if at+1 < len(matching) {
		list.Next = strconv.Itoa(at + 1)
	}
	return list, nil
}

// progress is better each time it is asked for.
func (f *fakeCA) progress(r *http.Request) (any, error) {
	f.progressed++
	refs := make([]api.AgentRef, 0, 3)
	for _, a := range f.agents() {
		refs = append(refs, api.AgentRef{Service: a.Service, Agent: a.ID, Address: a.Address, Since: a.Since, Sequence: a.Sequence})
	}
	p := api.Progress{Sequence: 9, Known: true, Agents: 3, Connected: 2, Enforcing: 2, Measured: 2, MedianMS: 12.4, SlowestMS: 140.2, Slowest: &refs[1]}
	switch {
	case f.progressed == 1:
		p.Enforcing, p.Measured, p.Pending, p.PendingTotal = 1, 1, refs[1:2], 1
		p.Silent, p.SilentTotal = refs[2:], 1
	case r.FormValue("sequence") == "10":
		p.Enforcing, p.Connected, p.Measured = 3, 3, 3
	default:
		p.Silent, p.SilentTotal = refs[2:], 1
	}
	return p, nil
}
