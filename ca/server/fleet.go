package server

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/fleet"
)

// progress says how far a revocation has come, at once or when every connected agent enforces it.
func (s *Server) progress(r *request) (*answer, error) {
	sequence, err := strconv.ParseUint(r.query.Get("sequence"), 10, 64)
	if err != nil {
		return nil, badRequest("sequence is the number that the revocation's answer has")
	}
	wait, err := preferredWait(r.http)
	if err != nil {
		return nil, err
	}
	if wait > 0 {
		s.allowTime(r, wait)
		ctx, cancel := context.WithTimeout(r.ctx(), wait)
		defer cancel()
		defer context.AfterFunc(r.ctx(), cancel)()
		s.cfg.Fleet.Await(ctx, sequence)
	}
	return &answer{json: wireProgress(s.cfg.Fleet.Progress(sequence))}, nil
}

func wireProgress(p fleet.Progress) api.Progress {
	wire := api.Progress{
		Sequence: p.Sequence, Known: p.Known, Agents: p.Agents, Enforcing: p.Enforcing, Connected: p.Connected, Measured: p.Measured,
		MedianMS: millis(p.Median), SlowestMS: millis(p.Slowest),
		Pending: wireRefs(p.Pending), PendingTotal: p.PendingTotal, Silent: wireRefs(p.Silent), SilentTotal: p.SilentTotal,
	}
	if p.SlowestBy != nil {
		slowest := wireRef(*p.SlowestBy)
		wire.Slowest = &slowest
	}
	return wire
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func wireRefs(list []fleet.Agent) []api.AgentRef {
	refs := make([]api.AgentRef, 0, min(len(list), api.MaxNamed))
	for _, a := range list[:min(len(list), api.MaxNamed)] {
		refs = append(refs, wireRef(a))
	}
	return refs
}

func wireRef(a fleet.Agent) api.AgentRef {
	return api.AgentRef{Service: a.Service, Agent: a.ID, Serial: a.Serial, Address: a.Address, Since: a.Since.UTC(), Sequence: a.Sequence}
}

func wireAgent(a fleet.Agent) api.Agent {
	wire := api.Agent{
		ID: a.ID, Service: a.Service, State: string(a.State), Serial: a.Serial, NotAfter: a.NotAfter.UTC(),
		Version: a.Version, Address: a.Address, Since: a.Since.UTC(), Sequence: a.Sequence,
	}
	if !a.EnforcedAt.IsZero() {
		wire.EnforcedAt = a.EnforcedAt.UTC()
	}
	return wire
}

var agentStates = []fleet.State{fleet.Current, fleet.Lagging, fleet.Silent, fleet.Stopped, fleet.Expired, fleet.Revoked}

// listAgents pages by service and ID; the cursor is the last one's.
func (s *Server) listAgents(r *request) (*answer, error) {
	search, cursor, limit, err := r.page()
	if err != nil {
		return nil, err
	}
	service, state := r.query.Get("service"), fleet.State(r.query.Get("state"))
	if state != "" && !slices.Contains(agentStates, state) {
		return nil, badRequest("state is one of current, lagging, silent, stopped, expired, revoked")
	}
	list := api.AgentList{Agents: []api.Agent{}, Sequence: s.cfg.Feed.Sequence()}
	for _, a := range s.cfg.Fleet.Agents() {
		if service != "" && a.Service != service || state != "" && a.State != state ||
			!strings.Contains(a.Service, search) && !strings.HasPrefix(a.ID, search) || place(a) <= cursor {
			continue
		}
		if len(list.Agents) == limit {
			last := list.Agents[limit-1]
			list.Next = last.Service + " " + last.ID
			break
		}
		list.Agents = append(list.Agents, wireAgent(a))
	}
	return &answer{json: list}, nil
}

// place sorts like service and ID: a blank comes before whatever a name may hold.
func place(a fleet.Agent) string { return a.Service + " " + a.ID }

// agentCounts is for status.
func (s *Server) agentCounts() api.AgentCounts {
	var counts api.AgentCounts
	for _, a := range s.cfg.Fleet.Agents() {
		switch a.State {
		case fleet.Current:
			counts.Connected++
		case fleet.Lagging:
			counts.Connected++
			counts.Lagging++
		case fleet.Silent:
			counts.Silent++
		default:
			continue
		}
		counts.Known++
		if a.State != fleet.Current && len(counts.Behind) < api.MaxNamed {
			counts.Behind = append(counts.Behind, wireAgent(a))
		}
	}
	return counts
}
