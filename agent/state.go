package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/handfast/handfast/agent/pace"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs/feed"
)

const (
	// spreadChanges is over how long agents spread their questions after a change of policy or roots.
	spreadChanges = 300 * time.Millisecond
	// askAnyway is how often the CA is asked when no feed says whether something has changed.
	askAnyway = time.Minute
)

// errIncomplete says that CRLs are missing from what was applied; the rest is in force.
var errIncomplete = errors.New("CRLs are missing")

// errNotSaved says that what was applied is in force but not durable.
var errNotSaved = errors.New("it could not be saved")

// followState fetches what the CA says about this service, at once and then whenever the feed names other
// versions than were fetched, until round ends.
func (a *Agent) followState(round context.Context, client CA, cred *credential) {
	retry := pace.Backoff{Jitter: a.jitter}
	var etag string
	for {
		// A feed that names new versions again and again must not keep this host busy.
		if a.polls.Wait(round) != nil {
			return
		}
		wait := askAnyway
		next, err := a.fetchState(round, client, cred, etag)
		switch {
		case round.Err() != nil:
			return
		case err == nil:
			etag = next
			retry.Reset()
		default:
			etag = "" // so that what could not be applied is asked for again
			wait = retry.Next(err, 0)
			a.fail("watch", err, wait)
		}
		if !a.waitForVersions(round, wait, err != nil) {
			return
		}
	}
}

// waitForVersions waits until there is something to fetch, and after a failure not for longer than wait. It
// reports false when round has ended.
func (a *Agent) waitForVersions(round context.Context, wait time.Duration, failed bool) bool {
	for {
		timer := time.NewTimer(wait)
		select {
		case <-a.newVersions:
			timer.Stop()
			due, urgent := a.stateDue()
			if due && (urgent || failed || sleep(round, time.Duration(a.jitter()*float64(spreadChanges)))) {
				return true
			}
		case <-timer.C:
			if failed || a.feedIsOld() {
				return true
			}
		case <-round.Done():
			timer.Stop()
			return false
		}
		if round.Err() != nil {
			return false
		}
	}
}

// stateDue reports whether the feed names other versions than were fetched, and whether that is urgent: what is
// revoked is, while changes of policy and roots are spread over a moment.
func (a *Agent) stateDue() (due, urgent bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rules == nil || a.view == nil {
		return true, true
	}
	versions := versionsOf(a.view)
	if a.keptOld {
		return true, false
	}
	if slices.Equal(versions, a.rules.raw.Versions) || slices.Equal(versions, a.askedFor) {
		return false, false
	}
	known := a.rules.raw.Versions
	return true, slices.ContainsFunc(versions, func(v api.Version) bool {
		return v.Name != "policy" && v.Name != "bundle" && !slices.Contains(known, v)
	})
}

// versionsOf is what the feed names, as the CA's state names it.
func versionsOf(view *feed.View) []api.Version {
	var versions []api.Version
	for _, version := range view.Versions() {
		versions = append(versions, api.Version(version))
	}
	return versions
}

// feedIsOld reports that no feed tells what has changed.
func (a *Agent) feedIsOld() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.view == nil || a.now().Sub(a.view.SignedAt()) > askAnyway
}

// fetchState asks once, and applies the answer. It returns the answer's tag.
func (a *Agent) fetchState(ctx context.Context, client CA, cred *credential, etag string) (string, error) {
	a.mu.Lock()
	versions := versionsOf(a.view)
	if a.keptOld && a.view != nil {
		etag = "" // so that there is something to apply
	}
	a.mu.Unlock()
	state, next, err := client.AgentState(ctx, etag)
	if err != nil {
		return "", err
	}
	if state != nil {
		a.recordClock(state.ServerTime)
		if err = a.apply(ctx, client, cred, state); err != nil && !errors.Is(err, errNotSaved) {
			err = fmt.Errorf("the CA's state cannot be applied: %w", err)
		}
	} else {
		a.confirm()
		next = etag
	}
	if err == nil {
		// The answer is at least as new as what the feed had named before the question.
		a.mu.Lock()
		a.askedFor = versions
		a.mu.Unlock()
	}
	return next, err
}

// apply makes state the rule. A CRL that cannot be had leaves the one that is held: it
// goes stale by itself, and certs refuses then.
func (a *Agent) apply(ctx context.Context, client CA, cred *credential, state *api.AgentState) error {
	if state.ID != cred.id {
		return fmt.Errorf("it is for %s, this is %s", state.ID, cred.id)
	}
	if state.MaxSilence < 0 {
		return fmt.Errorf("its max_silence is %v", time.Duration(state.MaxSilence))
	}
	crls, incomplete := a.fetchCRLs(ctx, client, state.CRLs)
	if incomplete != nil {
		incomplete = fmt.Errorf("%w: %w", errIncomplete, incomplete)
	}
	raw := enforcement{
		ID: state.ID, Callers: state.Callers, PolicyEpoch: state.PolicyEpoch, MaxSilence: state.MaxSilence,
		Versions: state.Versions, CRLs: crls, ConfirmedAt: a.now().UTC(),
	}
	parsed, err := a.parseRules(raw)
	if err != nil {
		return err
	}
	if err := a.enforce(cred, parsed, state.Roots); err != nil {
		return err
	}
	return incomplete
}

// parseRules parses raw, unless it says what is in force already.
func (a *Agent) parseRules(raw enforcement) (*rules, error) {
	a.mu.Lock()
	held := a.rules
	a.mu.Unlock()
	if held != nil && held.raw.equal(raw) {
		return held, nil
	}
	return raw.parse(held)
}

// enforce publishes parsed and the roots, then makes them durable.
func (a *Agent) enforce(cred *credential, parsed *rules, roots [][]byte) error {
	a.saving.Lock()
	defer a.saving.Unlock()
	a.mu.Lock()
	if a.cred != cred && a.cred.id != cred.id {
		a.mu.Unlock()
		return nil // enrolled as another service meanwhile
	}
	renewed, rootsErr := a.cred.withRoots(roots)
	if renewed != nil {
		a.cred = renewed
		a.unsaved = true
	}
	before, current := a.rules, a.cred
	a.rules = parsed
	a.report.confirmedAt = a.now().UTC()
	if before != parsed || renewed != nil {
		a.refresh(true)
	}
	a.mu.Unlock()
	a.acknowledge()
	var err error
	if before != parsed {
		a.logRules(before, parsed)
	}
	if a.savedRules != parsed {
		if err = a.store.saveEnforcement(parsed.raw); err == nil {
			a.savedRules = parsed
		}
	}
	if renewed != nil {
		a.logger.Info("the trust domain's roots have changed", "self", current.id, "roots", len(current.raw.Roots))
		err = errors.Join(err, a.persistRoots(current))
	}
	if err != nil {
		a.metrics.saveFailures.Inc()
		err = fmt.Errorf("%w: %w", errNotSaved, err)
	}
	return errors.Join(rootsErr, err)
}

// persistRoots saves an identity whose roots changed. A request that is under way stays. saving is held.
func (a *Agent) persistRoots(cred *credential) error {
	if err := a.store.saveIdentity(cred.raw); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unsaved = a.cred != cred
	return nil
}

// withRoots returns c under other roots, nil when they are the same. Roots under which the
// own certificate does not verify are refused: they would cut this service off.
func (c *credential) withRoots(roots [][]byte) (*credential, error) {
	if len(roots) == 0 {
		return nil, errors.New("the CA names no roots; the known ones are kept")
	}
	if slices.EqualFunc(roots, c.raw.Roots, slices.Equal) {
		return nil, nil
	}
	raw := c.raw
	raw.Roots = roots
	renewed, err := raw.parse()
	if err != nil {
		return nil, fmt.Errorf("the CA's roots cannot be used; the known ones are kept: %w", err)
	}
	return renewed, nil
}
