package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// Limits of full checks.
const (
	maxQuestions = 64   // that wait
	maxAsked     = 1024 // whose answer is remembered
	askTimeout   = 30 * time.Second
	askAgain     = 10 * time.Second // after a failure
)

// question is a certificate that stands in the feed's compact set, where about once in 10^12 times it
// stands by coincidence.
type question struct{ issuer, serial string }

// Refused is to be told of refusals. One that rests on the compact set alone leads to a question to the
// CA, one for each certificate: why and when it was revoked is logged then, or it is taken out of the set. It
// does not wait.
func (a *Agent) Refused(refusal *certs.Refusal) {
	if refusal == nil || !refusal.Unconfirmed {
		return
	}
	q := question{refusal.IssuerKeyID, refusal.Serial.String()}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if at, asked := a.asked[q]; asked && now.Before(at) {
		return
	}
	select {
	case a.questions <- q:
	default:
		return // the next refusal asks
	}
	if len(a.asked) >= maxAsked {
		clear(a.asked)
	}
	a.asked[q] = now.Add(askTimeout + askAgain)
}

// answerQuestions asks the CA, one question after the other, until round ends.
func (a *Agent) answerQuestions(round context.Context, client CA) {
	for {
		select {
		case q := <-a.questions:
			a.answer(round, client, q)
		case <-round.Done():
			return
		}
	}
}

func (a *Agent) answer(round context.Context, client CA, q question) {
	ctx, cancel := context.WithTimeout(round, askTimeout)
	defer cancel()
	state, err := client.RevocationOf(ctx, q.issuer, q.serial)
	if err != nil {
		a.askLater(q, err)
		return
	}
	a.mu.Lock()
	a.asked[q] = a.now().Add(time.Hour) // what is revoked stays so, mostly
	feed := a.feed
	a.mu.Unlock()
	fields := []any{"issuer", q.issuer, "serial", q.serial, "sequence", state.Sequence}
	if state.Revoked {
		a.logger.Info("the CA says why a certificate in the compact set is refused", append(fields, "reason", state.Reason.String(), "revoked_at", state.At)...)
		return
	}
	serial, err := certs.ParseSerial(q.serial)
	if err != nil || !feed.Except(q.issuer, serial.Bytes(), state.Sequence) {
		a.logger.Warn("the CA's answer about a certificate in the compact set is older than what is known here; it stays refused", fields...)
		a.askLater(q, nil)
		return
	}
	a.logger.Info("a certificate stood in the compact set by coincidence; it is not revoked and accepted from now on", fields...)
}

// askLater lets the next refusal ask again.
func (a *Agent) askLater(q question, err error) {
	a.mu.Lock()
	a.asked[q] = a.now().Add(askAgain)
	a.mu.Unlock()
	var refused *api.Error
	switch {
	case err == nil, errors.Is(err, context.Canceled):
	case errors.As(err, &refused) && refused.Code == api.CodeNotFound:
		a.logger.Warn("the CA does not know a certificate that stands in the compact set; it stays refused", "issuer", q.issuer, "serial", q.serial)
	default:
		a.logger.Warn("why a certificate is revoked could not be asked; it stays refused", "issuer", q.issuer, "serial", q.serial,
			"cause", fmt.Errorf("full check: %w", err))
	}
}
