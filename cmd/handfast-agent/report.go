package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/handfast/handfast/agent"
	"github.com/handfast/handfast/agent/proxy"
	"github.com/handfast/handfast/agent/statusapi"
)

// lastEvents is how many of the proxy's last refusals and failures are shown.
const lastEvents = 3

// sheet is a page of labelled lines.
type sheet struct {
	strings.Builder
	now time.Time // the agent's clock
}

// line writes one line, under its label when it is the first one of that.
func (s *sheet) line(label, format string, args ...any) {
	fmt.Fprintf(s, "%-12s %s\n", label, printable(fmt.Sprintf(format, args...))) //nolint:errcheck // a builder takes everything
}

// report is page for a person.
func report(page *statusapi.Page, address string) string {
	s := &sheet{now: page.OwnClock}
	state := "READY"
	if !page.Ready {
		state = "NOT READY"
	}
	s.line("agent", "%s (%s, version %s, up for %s)", state, address, page.Version, brief(s.now.Sub(page.StartedAt)))
	s.identity(page)
	s.policy(page)
	s.feed(page.Feed)
	s.staple(page.Staple)
	s.proxy(page.Proxy)
	s.followers(page)
	s.troubles(page)
	return s.String()
}

func (s *sheet) identity(page *statusapi.Page) {
	if page.ID.IsZero() {
		s.line("identity", "none yet: not enrolled")
		return
	}
	s.line("identity", "%s", page.ID)
	s.line("", "CA %s", page.CA)
	s.line("certificate", "%s, renewal %s", s.end("valid", "EXPIRED", page.NotAfter), s.moment(page.NextRenewal))
	s.line("", "serial %s", page.Serial)
}

func (s *sheet) policy(page *statusapi.Page) {
	if !page.PolicyKnown {
		s.line("policy", "unknown: every caller is refused")
		return
	}
	s.line("policy", "version %d, %d callers, confirmed by the CA %s", page.PolicyEpoch, len(page.Callers), s.moment(page.ConfirmedAt))
}

func (s *sheet) feed(f *agent.FeedStatus) {
	if f == nil {
		s.line("feed", "nothing has come yet")
		return
	}
	how := map[string]string{"stream": "streamed", "poll": "polled", "none": "NOT FOLLOWED at present"}[f.Mode]
	s.line("feed", "position %d, enforced and acknowledged %d; %s; %d certificates revoked", f.Sequence, f.Enforced, how, f.Revoked)
	s.line("", "the newest statement was signed %s; %s", s.moment(f.SignedAt), s.end("relied on", "SILENT FOR TOO LONG: every peer is refused", f.Until))
}

func (s *sheet) staple(staple *agent.StapleStatus) {
	switch {
	case staple == nil:
	case staple.Stapled:
		s.line("staple", "%s, next fetch %s", s.end("good", "ENDED", staple.NextUpdate), s.moment(staple.NextFetch))
	case staple.Demanded:
		s.line("staple", "NONE, and the certificate demands one")
	default:
		s.line("staple", "none")
	}
}

func (s *sheet) proxy(p *proxy.Status) {
	if p == nil {
		return
	}
	label := "listeners"
	for _, l := range p.Listeners {
		to := l.Target
		if l.Direction == "outbound" {
			to = l.Service + " at " + strings.Join(l.Addresses, ", ")
		}
		s.line(label, "%s %s to %s (%s): %d open, %d accepted", l.Direction, l.Address, to, l.Mode, l.Open, l.Accepted)
		label = ""
	}
	label = "last events"
	for _, e := range p.Events[max(0, len(p.Events)-lastEvents):] {
		s.line(label, "%s, on %s: %s (%s): %s", s.moment(e.At), e.Listener, e.What, e.Cause, e.Error)
		label = ""
	}
}

func (s *sheet) followers(page *statusapi.Page) {
	label := "followers"
	for _, f := range page.Followers {
		state := fmt.Sprintf("enforces %d", f.Enforced)
		switch {
		case f.Refusing:
			state = "lets nobody in yet"
		case f.Lagging:
			state = fmt.Sprintf("LAGS at %d, for %s", f.Enforced, brief(time.Duration(f.LagSeconds*float64(time.Second))))
		}
		if f.Old {
			state += ", an older library"
		}
		if !f.Connected {
			state += ", not connected"
		}
		s.line(label, "%s (pid %d): %s", orElse(f.Program, f.ID), f.PID, state)
		label = ""
	}
}

func (s *sheet) troubles(page *statusapi.Page) {
	found := troubles(page)
	if len(found) == 0 {
		s.line("wrong", "nothing")
	}
	for _, t := range found {
		s.line("WRONG", "%s", t.what)
		s.line("  do", "%s", t.do)
	}
}

// end says for how long something holds, or that it is over.
func (s *sheet) end(holds, over string, at time.Time) string {
	if left := at.Sub(s.now); left > 0 {
		return fmt.Sprintf("%s for %s more (until %s)", holds, brief(left), stamp(at))
	}
	return fmt.Sprintf("%s (%s ago, at %s)", over, brief(s.now.Sub(at)), stamp(at))
}

// moment says how far at is from now.
func (s *sheet) moment(at time.Time) string {
	if left := at.Sub(s.now); left > 0 {
		return "in " + brief(left)
	}
	return brief(s.now.Sub(at)) + " ago"
}

// brief is a duration of two units at most.
func brief(d time.Duration) string {
	switch d = d.Abs(); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// printable takes out what could steer a terminal: errors quote what came over the network.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsPrint(r):
			return r
		default:
			return -1
		}
	}, text)
}
