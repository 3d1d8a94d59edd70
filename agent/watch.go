package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// watch keeps policy, roots and revocation up to date until ctx ends. Each round belongs
// to one certificate: a rotation ends it, because a connection shows the certificate
// that it was made with.
func (a *Agent) watch(ctx context.Context) {
	for ctx.Err() == nil {
		changed := a.Changed()
		cred := a.credential()
		if cred == nil || !a.now().Before(cred.notAfter()) {
			waitChange(ctx, changed, clockCheck) // the clock may be corrected
			continue
		}
		round, end := context.WithDeadline(ctx, time.Now().Add(cred.notAfter().Sub(a.now())))
		go a.endOnRotation(round, cred, end)
		a.follow(round, cred)
		end()
	}
}

// endOnRotation ends a round when cred has been replaced.
func (a *Agent) endOnRotation(round context.Context, cred *credential, end context.CancelFunc) {
	for {
		changed := a.Changed()
		if now := a.credential(); now.serial != cred.serial {
			end()
			return
		}
		select {
		case <-changed:
		case <-round.Done():
			return
		}
	}
}

// errIncomplete says that CRLs are missing from what was applied; the rest is in force.
var errIncomplete = errors.New("CRLs are missing")

// errNotSaved says that what was applied is in force but not durable.
var errNotSaved = errors.New("it could not be saved")

// position is how far following the CA has come.
type position struct {
	etag    string          // of the state that was applied
	partial *api.AgentState // that state, when CRLs of it are missing
}

// follow long-polls the CA with cred's certificate until round ends.
func (a *Agent) follow(round context.Context, cred *credential) {
	retry := backoff{jitter: a.jitter}
	var at position
	wait := api.MaxWait
	for round.Err() == nil {
		// A CA that answers at once, again and again, must not keep this host busy.
		if a.polls.Wait(round) != nil {
			<-round.Done() // it ends before the next turn
			return
		}
		err := a.poll(round, cred, &at, wait)
		if err == nil {
			wait = api.MaxWait
			retry.reset()
			continue
		}
		if round.Err() != nil {
			return
		}
		delay := retry.next(err, 0)
		a.fail("watch", err, delay)
		if errors.Is(err, errIncomplete) {
			wait = delay // a CRL that cannot be had must not keep changes of policy away
			continue
		}
		at = position{} // so that what could not be applied is asked for again
		sleep(round, delay)
	}
}

// poll asks once, waiting for a change of what at holds, and applies the answer.
func (a *Agent) poll(ctx context.Context, cred *credential, at *position, wait time.Duration) error {
	client, err := a.caSession(cred)
	if err != nil {
		return err
	}
	if at.etag == "" {
		wait = 0
	}
	state, etag, err := client.AgentState(ctx, at.etag, wait)
	if err != nil {
		return err
	}
	switch {
	case state != nil:
		a.recordClock(state.ServerTime)
	case at.partial != nil:
		state, etag = at.partial, at.etag
	default:
		a.confirm()
		return nil
	}
	err = a.apply(ctx, client, cred, state)
	*at = position{etag: etag}
	if errors.Is(err, errIncomplete) {
		at.partial = state
	}
	if err != nil && !errors.Is(err, errNotSaved) {
		return fmt.Errorf("the CA's state cannot be applied: %w", err)
	}
	return err
}

// apply makes state the rule. A CRL that cannot be had leaves the one that is held: it
// goes stale by itself, and certs refuses then.
func (a *Agent) apply(ctx context.Context, client CA, cred *credential, state *api.AgentState) error {
	if state.ID != cred.id {
		return fmt.Errorf("it is for %s, this is %s", state.ID, cred.id)
	}
	crls, incomplete := a.fetchCRLs(ctx, client, state.CRLs)
	if incomplete != nil {
		incomplete = fmt.Errorf("%w: %w", errIncomplete, incomplete)
	}
	raw := enforcement{
		ID: state.ID, Callers: state.Callers, PolicyEpoch: state.PolicyEpoch,
		CRLs: crls, ConfirmedAt: a.now().UTC(),
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
	return raw.parse()
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
		a.publish()
	}
	a.mu.Unlock()
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

// fetchCRLs returns the CRLs to hold: of each issuer that the CA names, the one that is held
// or a newer one. The error names what could not be fetched; then the older one stands in.
func (a *Agent) fetchCRLs(ctx context.Context, client CA, refs []api.CRLRef) ([]storedCRL, error) {
	var held enforcement
	a.mu.Lock()
	if a.rules != nil {
		held = a.rules.raw
	}
	a.mu.Unlock()
	if len(refs) > maxIssuers {
		return held.CRLs, fmt.Errorf("the CA names CRLs of %d issuers; at most %d are allowed", len(refs), maxIssuers)
	}
	crls := make([]storedCRL, 0, len(refs))
	var failed error
	room := maxCRLBytes
	for _, ref := range refs {
		wanted, err := parseNumber(ref)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		crl, enough := held.held(ref.Issuer, wanted)
		if !enough {
			fetched, err := fetchCRL(ctx, client, ref)
			if err == nil {
				crl = fetched
			}
			failed = errors.Join(failed, err)
		}
		if room -= len(crl.DER); room < 0 {
			return crls, errors.Join(failed, fmt.Errorf("the CA's CRLs have over %d bytes together; the issuer %s and those after it are left out, and their peers refused", maxCRLBytes, ref.Issuer))
		}
		if crl.DER != nil {
			crls = append(crls, crl)
		}
	}
	return crls, failed
}

// fetchCRL takes a CRL only when it is of the issuer that was asked for, and not older than promised.
func fetchCRL(ctx context.Context, client CA, ref api.CRLRef) (storedCRL, error) {
	der, _, err := client.CRL(ctx, ref.Issuer, "")
	if err != nil {
		return storedCRL{}, fmt.Errorf("fetch the CRL of issuer %s: %w", ref.Issuer, err)
	}
	parsed, err := certs.NewRevocation([][]byte{der})
	if err != nil {
		return storedCRL{}, fmt.Errorf("the CRL of issuer %s cannot be used: %w", ref.Issuer, err)
	}
	wanted, err := parseNumber(ref)
	if err != nil {
		return storedCRL{}, err
	}
	number := parsed.Numbers()[ref.Issuer]
	if number == nil {
		return storedCRL{}, fmt.Errorf("the CRL that came for issuer %s is another issuer's", ref.Issuer)
	}
	if number.Cmp(wanted) < 0 {
		return storedCRL{}, fmt.Errorf("the CRL of issuer %s has number %v; the CA promised %v", ref.Issuer, number, wanted)
	}
	return storedCRL{Issuer: ref.Issuer, Number: number.String(), DER: der}, nil
}
