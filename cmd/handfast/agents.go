package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/cmd/handfast/internal/connect"
	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
)

// agentStates are what --state takes.
var agentStates = []string{api.AgentCurrent, api.AgentLagging, api.AgentSilent, api.AgentStopped, api.AgentExpired, api.AgentRevoked}

func newAgentsCommand(a *app) *cobra.Command {
	var flags connect.Flags
	var query api.AgentQuery
	var limit int
	cmd := &cobra.Command{
		Use:   "agents",
		Short: "List the agents, and what each enforces",
		Long: `List the agents that follow the CA's feed of revocations.

  current  connected, and enforces all that is revoked
  lagging  connected, but has not said so yet of the newest
  silent   not connected, although its certificate is valid
  stopped  said that it stops, and has not come back
  expired  not connected, and its certificate has expired: nobody accepts it
  revoked  its certificate is revoked or on hold: the CA does not talk to it`,
		Example: `  handfast agents
  handfast agents --state silent -o wide
  handfast agents --service shop -o json | jq -r '.agents[].address'`,
		Args: cobra.NoArgs,
	}
	format := outputFlag(cmd, output.Table, output.Wide, output.JSON, output.YAML)
	flags.Add(cmd.Flags())
	cmd.Flags().StringVar(&query.Service, "service", "", "only those of the service `NAME`")
	cmd.Flags().StringVar(&query.State, "state", "", "only one state: "+strings.Join(agentStates, ", "))
	cmd.Flags().StringVar(&query.Search, "search", "", "only those with `TEXT` in their service's name, or at the beginning of their ID")
	cmd.Flags().IntVar(&limit, "limit", defaultLimit, "at most this many; 0 is all")
	cmd.Flags().StringVar(&query.Cursor, "cursor", "", "go on at the `PLACE` that an earlier answer named as next")
	complete(cmd, "state", agentStates)
	cmd.RunE = a.withCA(&flags, func(ctx context.Context, s *connect.Session, _ []string) error {
		if limit < 0 {
			return fault.Usagef("--limit %d: use 0 for all, or a positive number", limit)
		}
		list, err := agents(ctx, s.API, query, limit)
		if err != nil {
			return connect.Explain("list agents", err)
		}
		return a.show(format.Format, list, func() error { return a.writeAgents(list, format.Format) })
	})
	return cmd
}

// agents pages through what query selects, up to limit (0 is all). Next is set when there is more.
func agents(ctx context.Context, client *api.Client, query api.AgentQuery, limit int) (*api.AgentList, error) {
	var list api.AgentList
	var err error
	list.Agents, list.Next, err = collectPages(query.Cursor, limit, func(size int, cursor string) ([]api.Agent, string, error) {
		query.Limit, query.Cursor = size, cursor
		page, err := client.Agents(ctx, query)
		if err != nil {
			return nil, "", err
		}
		list.Sequence = page.Sequence
		return page.Agents, page.Next, nil
	})
	return &list, err
}

func (a *app) writeAgents(list *api.AgentList, format output.Format) error {
	if err := agentGrid(list.Agents, list.Sequence, format == output.Wide, a.now()).Write(a.stdout, a.outStyle); err != nil {
		return err
	}
	if list.Next != "" {
		a.note(fmt.Sprintf("there are more: --limit 0 lists all, --cursor '%s' goes on here", output.Clean(list.Next)))
	}
	return nil
}

func agentGrid(list []api.Agent, sequence uint64, wide bool, now time.Time) *output.Grid {
	g := &output.Grid{Header: []string{"SERVICE", "AGENT", "STATE", "SINCE", "ENFORCES", "ADDRESS"}}
	if wide {
		g.Header = append(g.Header, "ENFORCED", "VERSION", "EXPIRES", "SERIAL")
	}
	for i := range list {
		agent := &list[i]
		id := agent.ID
		if !wide && len(id) > 8 {
			id = id[:8]
		}
		row := []output.Cell{
			{Text: agent.Service}, {Text: id}, {Text: agent.State, Colour: agentColour(agent.State)},
			{Text: output.Short(agent.Since, now)}, enforcesCell(agent.Sequence, sequence), {Text: agent.Address},
		}
		if wide {
			row = append(row, output.Cell{Text: output.Short(agent.EnforcedAt, now)}, output.Cell{Text: agent.Version},
				output.Cell{Text: output.Short(agent.NotAfter, now)}, output.Cell{Text: agent.Serial.String()})
		}
		g.Add(row...)
	}
	return g
}

// enforcesCell says all, or up to which entry of the log.
func enforcesCell(enforced, sequence uint64) output.Cell {
	if enforced >= sequence {
		return output.Cell{Text: "all"}
	}
	return output.Cell{Text: strconv.FormatUint(enforced, 10) + " of " + strconv.FormatUint(sequence, 10), Colour: output.Yellow}
}

func agentColour(state string) output.Colour {
	switch state {
	case api.AgentCurrent:
		return output.Green
	case api.AgentLagging, api.AgentSilent:
		return output.Yellow
	case api.AgentRevoked:
		return output.Red
	default:
		return output.Faint
	}
}
