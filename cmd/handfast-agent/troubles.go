package main

import (
	"fmt"
	"time"

	"github.com/handfast/handfast/agent/statusapi"
)

// When something counts as wrong.
const (
	overdue    = time.Minute      // a renewal
	feedSilent = time.Minute      // twelve heartbeats
	clocksFar  = time.Minute      // between this host and the CA
	laggard    = 5 * time.Second  // a follower
	stapleSoon = 5 * time.Minute  // before its end
	recently   = 10 * time.Minute // a failure that nothing good came after
)

// trouble is what is wrong, and what to do about it.
type trouble struct{ what, do string }

const (
	newToken  = "make a token (handfast token NAME) and put it into the agent's --token-file; it picks it up by itself"
	reachCA   = "look whether the CA is up (its /readyz) and whether this host reaches it"
	adviceLog = "the agent's log has the cause and more"
)

// troubles finds what is wrong with an agent, the worst first.
func troubles(page *statusapi.Page) []trouble {
	var found []trouble
	add := func(when bool, do, what string, args ...any) {
		if when {
			found = append(found, trouble{fmt.Sprintf(what, args...), do})
		}
	}
	now := page.OwnClock
	enrolled := !page.ID.IsZero()
	expired := enrolled && now.After(page.NotAfter)
	over := expired && now.After(page.GraceEnds)
	add(!enrolled, newToken, "not enrolled: there is no certificate")
	add(over, newToken, "the certificate has expired, and so has the time in which the agent recovers by itself")
	add(expired && !over, reachCA+"; the agent recovers by itself until "+stamp(page.GraceEnds), "the certificate has expired")
	add(enrolled && now.Before(page.NotBefore), "set this host's clock", "the certificate is not valid yet")
	add(enrolled && !expired && now.Sub(page.NextRenewal) > overdue, reachCA+"; docs/operations.md says what each code of the CA's means",
		"the renewal is overdue since %s%s", brief(now.Sub(page.NextRenewal)), attempted(page))
	add(enrolled && !page.Saved, "make room in the state directory, or look at its permissions", "the certificate is in use but not saved: a restart would lose it")
	add(enrolled && !page.PolicyKnown, reachCA, "policy and revocation are unknown: everybody is refused")
	found = append(found, feedTroubles(page)...)
	if s := page.Staple; s != nil {
		add(s.Problem != "" && (!s.Stapled || s.NextUpdate.Sub(now) < stapleSoon), "look whether this host reaches "+s.Responder, "no fresh OCSP response to staple: %s", s.Problem)
	}
	if page.CAClock != nil {
		ahead := page.CAClock.Sub(now)
		add(ahead.Abs() > clocksFar, "compare both clocks with a third one, and set the wrong one", "this host's clock and the CA's differ by %s", brief(ahead))
	}
	for _, f := range page.Followers {
		add(f.Lagging && f.LagSeconds > laggard.Seconds(), "look whether it hangs, in its OnLoad function for example; restart it",
			"%s (pid %d) has not confirmed what is revoked for %s: the CA counts this agent as lagging", orElse(f.Program, f.ID), f.PID, brief(time.Duration(f.LagSeconds*float64(time.Second))))
	}
	if e := page.LastError; e != nil {
		add(now.Sub(e.At) < recently || now.Before(e.RetryAt), adviceLog, "the last failure, %s ago (%s): %s", brief(now.Sub(e.At)), e.During, e.Error)
	}
	add(!page.Ready && len(found) == 0, adviceLog, "%s", page.Problem)
	return found
}

// attempted is why the last attempt failed, if it did.
func attempted(page *statusapi.Page) string {
	if page.LastAttempt == nil || page.LastAttempt.Error == "" {
		return ""
	}
	return ": " + page.LastAttempt.Error
}

func feedTroubles(page *statusapi.Page) []trouble {
	f, now := page.Feed, page.OwnClock
	const look = reachCA + ", also through what stands between them (docs/operations.md, When the feed is silent)"
	switch {
	case f == nil && page.PolicyKnown && !page.Ready:
		return []trouble{{"what is revoked is unknown until the CA's feed has come: every peer is refused", look}}
	case f == nil:
		return nil
	case now.After(f.Until):
		return []trouble{{fmt.Sprintf("the CA's feed has been silent for %s: every peer is refused", brief(now.Sub(f.SignedAt))), look}}
	case now.Sub(f.SignedAt) > feedSilent:
		return []trouble{{fmt.Sprintf("the CA's feed has been silent for %s: every peer is refused in %s", brief(now.Sub(f.SignedAt)), brief(f.Until.Sub(now))), look}}
	default:
		return nil
	}
}
