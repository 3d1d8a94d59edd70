package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/cmd/handfast/internal/connect"
	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
)

const (
	// progressStep is how often the CA is asked. It answers earlier when every connected agent is there.
	progressStep = time.Second
	// maxNamedAgents is how many agents the words name; -o json names more.
	maxNamedAgents = 10
)

// receipt is what `revoke --wait` ends with, as data.
type receipt struct {
	*api.RevokeResult
	// Complete says that every agent that the CA knows enforces it.
	Complete bool          `json:"complete"`
	Progress *api.Progress `json:"progress,omitempty"` // absent when nothing was revoked
}

// revokedAndWait says what was revoked, at once, and then what the agents made of it.
func (a *app) revokedAndWait(ctx context.Context, client *api.Client, result *api.RevokeResult, words deed, format output.Format, timeout time.Duration) error {
	if !format.IsData() {
		if err := a.writeRevoked(result, words, format); err != nil {
			return err
		}
	}
	if result.Sequence == 0 { // nothing was ever revoked of what was named
		return a.show(format, receipt{RevokeResult: result, Complete: true}, func() error { return nil })
	}
	p, err := a.awaitAgents(ctx, client, result.Sequence, timeout)
	if err != nil {
		return err
	}
	missing := incomplete(p, timeout)
	r := receipt{RevokeResult: result, Complete: missing == nil, Progress: p}
	if err := a.show(format, r, func() error { return a.writeReceipt(p) }); err != nil {
		return err
	}
	return missing
}

// awaitAgents watches until every known agent enforces sequence, or the time is over. Silent
// agents may come back, so they are waited for, too.
func (a *app) awaitAgents(ctx context.Context, client *api.Client, sequence uint64, timeout time.Duration) (*api.Progress, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	line := a.newProgressLine()
	defer line.end()
	var last *api.Progress
	for wait := time.Duration(0); ; wait = progressStep { // the first answer is there at once
		p, err := client.Progress(ctx, sequence, wait)
		switch {
		case err == nil:
			last = p
		case last != nil && errors.Is(err, context.DeadlineExceeded):
			return last, nil
		default:
			return nil, connect.Explain("ask how far the revocation has come", err)
		}
		line.show(progressWords(p))
		if p.Enforcing == p.Agents {
			return p, nil
		}
		if err := pauseFor(ctx, p); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				return last, nil
			}
			return nil, fault.New(fault.Failure, "", "interrupted; the revocation itself is done")
		}
	}
}

// pauseFor waits where the CA does not: when only silent agents are missing it answers at once.
func pauseFor(ctx context.Context, p *api.Progress) error {
	if p.PendingTotal > 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(progressStep)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func progressWords(p *api.Progress) string {
	text := fmt.Sprintf("%d of %s enforce it", p.Enforcing, plural(p.Agents, "agent"))
	if p.PendingTotal > 0 {
		text += fmt.Sprintf(", %d to go", p.PendingTotal)
	}
	if p.SilentTotal > 0 {
		text += fmt.Sprintf(", %d silent", p.SilentTotal)
	}
	return text
}

// progressLine shows how it goes on standard error: on a terminal one line that is written
// over, elsewhere a line for each change.
type progressLine struct {
	app   *app
	over  bool
	shown string
}

func (a *app) newProgressLine() *progressLine {
	return &progressLine{app: a, over: output.IsTerminal(a.stderr)}
}

func (l *progressLine) show(text string) {
	if text == l.shown {
		return
	}
	before := len(l.shown)
	l.shown = text
	if !l.over {
		l.app.note(text)
		return
	}
	_, _ = fmt.Fprint(l.app.stderr, "\r"+text+strings.Repeat(" ", max(before-len(text), 0)))
}

// end leaves the terminal's line to what comes next.
func (l *progressLine) end() {
	if l.over && l.shown != "" {
		_, _ = fmt.Fprint(l.app.stderr, "\r"+strings.Repeat(" ", len(l.shown))+"\r")
	}
}

// writeReceipt says who enforces it, how long that took, and who is missing since when.
func (a *app) writeReceipt(p *api.Progress) error {
	if p.Agents == 0 {
		return a.say("no agent follows the feed, so there is nobody to enforce it but by CRL and OCSP")
	}
	verb := "enforce"
	if p.Enforcing == 1 {
		verb = "enforces"
	}
	text := fmt.Sprintf("%d of %s %s it", p.Enforcing, plural(p.Agents, "agent"), verb)
	switch {
	case p.Measured > 0:
		text += fmt.Sprintf("; median %s, slowest %s", milliseconds(p.MedianMS), milliseconds(p.SlowestMS))
		if p.Slowest != nil {
			text += fmt.Sprintf(" (%s)", agentWords(*p.Slowest))
		}
	case p.Enforcing > 0:
		text += "; how long they took is not known"
	}
	if err := a.say("%s", text); err != nil {
		return err
	}
	if err := a.writeMissing(api.AgentLagging, "connected", p.Pending, p.PendingTotal); err != nil {
		return err
	}
	return a.writeMissing(api.AgentSilent, "silent", p.Silent, p.SilentTotal)
}

func (a *app) writeMissing(state, how string, list []api.AgentRef, total int) error {
	shown := list[:min(len(list), maxNamedAgents)]
	for _, ref := range shown {
		line := a.outStyle.Paint(output.Yellow, fmt.Sprintf("%-7s", state)) + "  " +
			output.Clean(fmt.Sprintf("%s, %s since %s", agentWords(ref), how, output.Moment(ref.Since, a.now())))
		if _, err := fmt.Fprintln(a.stdout, line); err != nil {
			return err
		}
	}
	if rest := total - len(shown); rest > 0 {
		return a.say("and %d more: handfast agents --state %s", rest, state)
	}
	return nil
}

// agentWords names an agent: its service, where it came from, and enough of its ID to tell
// it from others there.
func agentWords(ref api.AgentRef) string {
	short := ref.Agent
	if len(short) > 8 {
		short = short[:8]
	}
	if ref.Address == "" {
		return fmt.Sprintf("%s, agent %s", ref.Service, short)
	}
	return fmt.Sprintf("%s on %s, agent %s", ref.Service, ref.Address, short)
}

// milliseconds writes what people compare: whole ones, unless there are few.
func milliseconds(ms float64) string {
	switch {
	case ms >= 10_000:
		return fmt.Sprintf("%.1f s", ms/1000)
	case ms >= 10:
		return fmt.Sprintf("%.0f ms", ms)
	default:
		return fmt.Sprintf("%.1f ms", ms)
	}
}

// incomplete is the failure for agents that do not enforce it yet, nil when all do.
func incomplete(p *api.Progress, timeout time.Duration) error {
	if p.Enforcing >= p.Agents {
		return nil
	}
	return fault.New(fault.Incomplete, "it is revoked all the same: see handfast agents, and stop or reconnect those",
		"%d of %s did not say within %s that they enforce it", p.Agents-p.Enforcing, plural(p.Agents, "agent"), output.Span(timeout))
}
