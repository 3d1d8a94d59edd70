package agent

import (
	"context"
	"errors"
	"time"

	"github.com/handfast/handfast/agent/pace"
	"github.com/handfast/handfast/ca/api"
)

// purpose is what the rotation does next.
type purpose string

const (
	purposeWait  purpose = "wait"
	purposeEnrol purpose = "enrol"
	purposeRenew purpose = "renew"
	purposeRekey purpose = "rekey"
)

// verdict is what the CA said last about the own certificate, when it said no.
type verdict struct {
	serial string
	code   api.Code
}

// rotate is the life of the certificate: enrol once, renew in time, rekey after a long
// power-off, enrol again when nothing else helps. It returns when ctx ends.
func (a *Agent) rotate(ctx context.Context) {
	retry, save := pace.Backoff{Jitter: a.jitter}, pace.Backoff{Jitter: a.jitter}
	for ctx.Err() == nil {
		next, at := a.plan(a.now())
		if next == purposeWait {
			a.waitForRenewal(ctx, at, &save)
			continue
		}
		err := a.act(ctx, next)
		switch {
		case err == nil:
			a.settle(ctx, &retry)
		case ctx.Err() != nil:
		case errors.Is(err, ErrNoToken):
			a.plead(err)
			sleep(ctx, tokenPoll)
		default:
			wait := retry.Next(err, a.remaining())
			a.fail(string(next), err, wait)
			a.sleepForToken(ctx, next, wait)
		}
	}
}

// errDueAtOnce is a success that would repeat without end.
var errDueAtOnce = errors.New("the certificate that was just issued is due for renewal already: this host's clock is ahead of the CA's, or the certificate's life is over before it begins")

// settle ends the backoff after a success, unless what was issued is due again at once: then
// each success would lead to the next request, as fast as the CA answers.
func (a *Agent) settle(ctx context.Context, retry *pace.Backoff) {
	next, _ := a.plan(a.now())
	if next == purposeWait {
		retry.Reset()
		return
	}
	wait := retry.Next(nil, 0)
	a.fail(string(next), errDueAtOnce, wait)
	sleep(ctx, wait)
}

// waitForRenewal sleeps until at. What could not be saved is tried again meanwhile.
func (a *Agent) waitForRenewal(ctx context.Context, at time.Time, save *pace.Backoff) {
	err := a.saveUnsaved()
	if err == nil {
		save.Reset()
		a.sleepUntil(ctx, at)
		return
	}
	wait := save.Next(err, 0)
	a.note("save", err, wait)
	a.logger.Error("state could not be saved: a restart would lose the certificate in use", "cause", err, "retry_in", wait)
	sleep(ctx, min(wait, max(at.Sub(a.now()), 0)))
}

// sleepForToken waits before the next attempt, and looks meanwhile whether a new token ends
// the waiting: a person who has just put one there does not want to wait for a backoff.
func (a *Agent) sleepForToken(ctx context.Context, next purpose, wait time.Duration) {
	end := a.now().Add(wait)
	for {
		left := end.Sub(a.now())
		if left <= 0 || !sleep(ctx, min(left, tokenPoll)) {
			return
		}
		if next != purposeRenew && a.tokenChanged(ctx) {
			return
		}
	}
}

// plan decides what is to be done now, or until when there is nothing to do.
func (a *Agent) plan(now time.Time) (purpose, time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	cred := a.cred
	if cred == nil {
		return purposeEnrol, now
	}
	expired := !now.Before(cred.notAfter())
	if a.verdict.serial == cred.serial.String() {
		switch a.verdict.code {
		case api.CodeRevoked:
			return purposeEnrol, now
		case api.CodeExpired:
			// Either the CA's clock is ahead of ours, or the grace is over.
			if expired && !now.Before(cred.graceEnds()) {
				return purposeEnrol, now
			}
			return purposeRekey, now
		}
	}
	switch {
	case expired && now.Before(cred.graceEnds()):
		return purposeRekey, now
	case expired:
		return purposeEnrol, now
	case now.Before(a.renewAt):
		return purposeWait, a.renewAt
	default:
		return purposeRenew, now
	}
}

// act does one attempt. When the CA does not take the certificate any more, a new token goes before it.
func (a *Agent) act(ctx context.Context, next purpose) error {
	cred := a.credential()
	if cred != nil && next != purposeEnrol && a.refused(cred) {
		if _, err := a.freshToken(ctx); err == nil {
			next = purposeEnrol
		}
	}
	var err error
	switch next {
	case purposeRenew:
		err = a.renew(ctx, cred)
	case purposeRekey:
		err = a.rekey(ctx, cred)
	default:
		err = a.enrol(ctx)
	}
	if !errors.Is(err, ErrNoToken) && ctx.Err() == nil {
		a.recordAttempt(next, err)
	}
	return err
}

// refused reports whether the CA's last word about cred was no.
func (a *Agent) refused(cred *credential) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.verdict.serial == cred.serial.String()
}

// judge remembers the CA's no to cred. A fault that passes is none.
func (a *Agent) judge(cred *credential, err error) error {
	var refusal *api.Error
	if errors.As(err, &refusal) && !refusal.Retryable() {
		a.mu.Lock()
		a.verdict = verdict{cred.serial.String(), refusal.Code}
		a.mu.Unlock()
	}
	return err
}

// remaining is the life that the own certificate has left, 0 when there is none.
func (a *Agent) remaining() time.Duration {
	cred := a.credential()
	if cred == nil {
		return 0
	}
	return max(cred.notAfter().Sub(a.now()), 0)
}

// freshToken returns a token that has not been used or refused yet.
func (a *Agent) freshToken(ctx context.Context) (string, error) {
	token, err := a.token.ask(ctx)
	if err != nil {
		return "", err
	}
	digest := tokenDigest(token)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cred != nil && a.cred.raw.TokenDigest == digest {
		return "", errTokenSpent
	}
	if a.tried == digest {
		return "", errTokenRefused
	}
	return token, nil
}

// tokenChanged reports whether there is another token than the one that failed last.
func (a *Agent) tokenChanged(ctx context.Context) bool {
	token, err := a.freshToken(ctx)
	if err != nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.report.lastToken != tokenDigest(token)
}
