package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/cmd/handfast/internal/connect"
	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
)

// worthMentioning is how far the clocks may differ before it is said.
const worthMentioning = 5 * time.Second

func newStatusCommand(a *app) *cobra.Command {
	var flags connect.Flags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the CA is",
		Long: `Show the CA's own view of itself: whether it can issue and what is wrong if not, its
issuers and CRLs, which agents lag or are silent, what it counts, and who you are to it. The exit code is 1 when
the CA is not ready.`,
		Example: "  handfast status\n  handfast status -o json | jq .ready",
		Args:    cobra.NoArgs,
	}
	format := outputFlag(cmd, output.Text, output.JSON, output.YAML)
	flags.Add(cmd.Flags())
	cmd.RunE = a.withCA(&flags, func(ctx context.Context, s *connect.Session, _ []string) error {
		status, err := s.API.Status(ctx)
		if err != nil {
			return connect.Explain("ask for the status", err)
		}
		if err := a.show(format.Format, status, func() error { return a.writeStatus(s.Context.CA, status) }); err != nil {
			return err
		}
		if !status.Ready {
			return fault.New(fault.Failure, "see the CA's log", "the CA is not ready")
		}
		return nil
	})
	return cmd
}

func (a *app) writeStatus(address string, s *api.Status) error {
	now := a.now()
	var f output.Fields
	f.Add("CA", output.Clean(fmt.Sprintf("%s at %s, version %s", s.Name, address, s.Version)))
	f.Add("trust domain", output.Clean(s.TrustDomain))
	if s.Ready {
		f.Add("state", a.outStyle.Paint(output.Green, "ready"))
	} else {
		f.Add("state", a.outStyle.Paint(output.Red, "not ready"))
	}
	for _, problem := range s.Problems {
		f.Add("problem", output.Clean(problem))
	}
	f.Add("up since", output.Moment(s.StartedAt, now))
	f.Add("clock", clockWords(s.ServerTime, now))
	f.Add("root SHA-256", output.Clean(s.Fingerprint))
	addAuthorities(&f, "root", s.Roots, now)
	addAuthorities(&f, "issuer", s.Issuers, now)
	for _, crl := range s.CRLs {
		f.Add("CRL", fmt.Sprintf("number %s of %s: %s, made %s, next %s", output.Clean(crl.Number), output.Clean(crl.Issuer),
			plural(crl.Entries, "entry"), output.Ago(crl.ThisUpdate, now), output.Ago(crl.NextUpdate, now)))
	}
	f.Add("agents", agentCountWords(s.Agents))
	for i := range s.Agents.Behind[:min(len(s.Agents.Behind), maxNamedAgents)] {
		f.Add(s.Agents.Behind[i].State, output.Clean(behindWords(&s.Agents.Behind[i], s.Sequence, now)))
	}
	if rest := s.Agents.Lagging + s.Agents.Silent - maxNamedAgents; rest > 0 {
		f.Add("", fmt.Sprintf("and %d more: handfast agents --state silent, --state lagging", rest))
	}
	f.Add("services", fmt.Sprint(s.Services))
	f.Add("certificates", fmt.Sprintf("%d live, %d revoked", s.Live, s.Revoked))
	f.Add("you", output.Clean(fmt.Sprintf("%s, %s", s.You, s.Role)))
	return f.Write(a.stdout, "")
}

func agentCountWords(c api.AgentCounts) string {
	text := fmt.Sprintf("%d known, %d connected", c.Known, c.Connected)
	if c.Lagging > 0 {
		text += fmt.Sprintf(", %d lagging", c.Lagging)
	}
	if c.Silent > 0 {
		text += fmt.Sprintf(", %d silent", c.Silent)
	}
	return text
}

// behindWords names an agent that lags or is silent, since when, and what it misses.
func behindWords(agent *api.Agent, sequence uint64, now time.Time) string {
	ref := api.AgentRef{Service: agent.Service, Agent: agent.ID, Address: agent.Address}
	how := "silent"
	if agent.State == api.AgentLagging {
		how = "connected"
	}
	text := fmt.Sprintf("%s, %s since %s", agentWords(ref), how, output.Moment(agent.Since, now))
	if agent.Sequence < sequence {
		text += fmt.Sprintf(", enforces %d of %d", agent.Sequence, sequence)
	}
	return text
}

func addAuthorities(f *output.Fields, name string, list []api.Authority, now time.Time) {
	var lines []string
	for _, authority := range list {
		lines = append(lines, output.Clean(fmt.Sprintf("%s, key %s, expires %s", authority.Subject, authority.KeyID, output.Ago(authority.NotAfter, now))))
	}
	f.Add(name, strings.Join(lines, "\n"))
}

func clockWords(server, now time.Time) string {
	switch ahead := server.Sub(now); {
	case ahead.Abs() < worthMentioning:
		return "agrees with this host's"
	case ahead > 0:
		return output.Span(ahead) + " ahead of this host's"
	default:
		return output.Span(-ahead) + " behind this host's"
	}
}
