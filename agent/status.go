package agent

import (
	"errors"
	"time"

	"github.com/handfast/handfast/agent/followers"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// Status is the agent's view of itself, without anything secret.
type Status struct {
	Ready       bool          `json:"ready"`
	Problem     string        `json:"problem,omitempty"` // why it is not ready
	ID          certs.ID      `json:"id,omitzero"`
	Serial      string        `json:"serial,omitempty"`
	NotBefore   time.Time     `json:"not_before,omitzero"`
	NotAfter    time.Time     `json:"not_after,omitzero"`
	GraceEnds   time.Time     `json:"grace_ends,omitzero"` // until when it recovers by itself after expiry
	NextRenewal time.Time     `json:"next_renewal,omitzero"`
	CA          string        `json:"ca,omitempty"`
	Fingerprint string        `json:"fingerprint,omitempty"` // of the root that was pinned at enrolment
	Roots       int           `json:"roots"`
	Saved       bool          `json:"saved"` // the certificate would survive a restart
	LastAttempt *Attempt      `json:"last_attempt,omitempty"`
	LastError   *Failure      `json:"last_error,omitempty"`
	PolicyKnown bool          `json:"policy_known"`
	PolicyEpoch uint64        `json:"policy_epoch,omitempty"`
	Callers     []string      `json:"callers,omitempty"`
	ConfirmedAt time.Time     `json:"policy_confirmed_at,omitzero"` // when the CA said so last, by the own clock
	CRLs        []CRLStatus   `json:"crls,omitempty"`
	Feed        *FeedStatus   `json:"feed,omitempty"`   // nil until it has come once
	Staple      *StapleStatus `json:"staple,omitempty"` // nil when the certificate has nothing to do with OCSP
	// Followers are the programs that follow this agent over its socket, those that lag first.
	Followers []followers.Status `json:"followers,omitempty"`
	OwnClock  time.Time          `json:"own_clock"`
	CAClock   *time.Time         `json:"ca_clock,omitempty"`
}

// Attempt is the last enrolment, renewal or rekey.
type Attempt struct {
	Kind  string    `json:"kind"` // enrol, renew, rekey
	At    time.Time `json:"at"`
	Error string    `json:"error,omitempty"`
}

// Failure is what failed last, of whatever kind.
type Failure struct {
	During  string    `json:"during"` // enrol, renew, rekey, watch, feed, crl, save
	At      time.Time `json:"at"`
	Error   string    `json:"error"`
	RetryAt time.Time `json:"retry_at"`
}

// CRLStatus is a CRL that is held.
type CRLStatus struct {
	Issuer     string    `json:"issuer"` // the issuer's subject key identifier, hexadecimal
	Number     string    `json:"number"`
	ThisUpdate time.Time `json:"this_update"`
	NextUpdate time.Time `json:"next_update"`
	AgeSeconds int64     `json:"age_seconds"` // since ThisUpdate
}

// FeedStatus is how the agent stands to the CA's feed of revocations.
type FeedStatus struct {
	Mode       string    `json:"mode"`        // stream, poll, or none while the CA is out of reach
	Agent      string    `json:"agent"`       // this agent's ID, as the CA lists it
	Sequence   uint64    `json:"sequence"`    // up to where revocations are known
	Enforced   uint64    `json:"enforced"`    // up to where they are enforced, by the followers too, saved and acknowledged
	Revoked    int       `json:"revoked"`     // certificates that are revoked or on hold
	SignedAt   time.Time `json:"signed_at"`   // the newest statement
	AgeSeconds int64     `json:"age_seconds"` // since SignedAt
	MaxSilence string    `json:"max_silence"` // the service's policy
	Until      time.Time `json:"until"`       // when every peer is refused if nothing comes
}

// report is what happened last.
type report struct {
	attempt     *Attempt
	failure     *Failure
	lastToken   string // digest of the token of the last enrolment attempt
	confirmedAt time.Time
}

// Status returns the agent's view of itself as of now.
func (a *Agent) Status() Status {
	problem := a.Ready()
	now := a.now().UTC()
	s := Status{Ready: problem == nil, OwnClock: now}
	if problem != nil {
		s.Problem = problem.Error()
	}
	if ca, known := a.CATime(); known {
		s.CAClock = &ca
	}
	s.Staple = a.stapler.status()
	a.mu.Lock()
	defer a.mu.Unlock()
	s.LastAttempt, s.LastError = a.report.attempt, a.report.failure
	if a.cred != nil {
		s.fillIdentity(a.cred)
		s.NextRenewal, s.CA, s.Saved = a.renewAt.UTC(), a.address(a.cred), !a.unsaved
	}
	if a.rules != nil {
		s.fillRules(a.rules, now)
		s.ConfirmedAt = a.confirmedAt()
	}
	s.Feed = a.feedStatus(now)
	s.Followers = a.followers.List(a.feedOf, a.view.Sequence())
	return s
}

// feedStatus is nil until the feed has come once. mu is held.
func (a *Agent) feedStatus(now time.Time) *FeedStatus {
	if a.view == nil {
		return nil
	}
	limit := a.maxSilence()
	enforced, _ := a.feed.Acknowledged()
	return &FeedStatus{
		Mode: a.feed.Mode(), Agent: a.id, Sequence: a.view.Sequence(), Enforced: enforced, Revoked: a.view.Len(),
		SignedAt: a.view.SignedAt(), AgeSeconds: int64(now.Sub(a.view.SignedAt()) / time.Second),
		MaxSilence: limitText(limit), Until: a.view.Until(limit),
	}
}

func (s *Status) fillIdentity(cred *credential) {
	s.ID, s.Serial = cred.id, cred.serial.String()
	s.NotBefore, s.NotAfter, s.GraceEnds = cred.notBefore().UTC(), cred.notAfter().UTC(), cred.graceEnds().UTC()
	s.Fingerprint, s.Roots = cred.raw.Fingerprint, len(cred.raw.Roots)
}

func (s *Status) fillRules(r *rules, now time.Time) {
	s.PolicyKnown, s.PolicyEpoch, s.Callers = true, r.raw.PolicyEpoch, r.policy.Callers()
	for _, crl := range r.crls {
		crl.AgeSeconds = int64(now.Sub(crl.ThisUpdate) / time.Second)
		s.CRLs = append(s.CRLs, crl)
	}
}

// confirmedAt is when the CA said last what the rules are. mu is held.
func (a *Agent) confirmedAt() time.Time {
	if a.report.confirmedAt.After(a.rules.raw.ConfirmedAt) {
		return a.report.confirmedAt
	}
	return a.rules.raw.ConfirmedAt
}

// confirm notes that the CA has just said that nothing changed.
func (a *Agent) confirm() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.report.confirmedAt = a.now().UTC()
}

func (a *Agent) recordAttempt(kind purpose, err error) {
	attempt := &Attempt{Kind: string(kind), At: a.now().UTC()}
	if err != nil {
		attempt.Error = err.Error()
	}
	a.mu.Lock()
	a.report.attempt = attempt
	a.mu.Unlock()
	a.metrics.attempt(kind, err)
}

// note keeps a failure for Status.
func (a *Agent) note(during string, err error, wait time.Duration) {
	now := a.now().UTC()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.report.failure = &Failure{During: during, At: now, Error: err.Error(), RetryAt: now.Add(wait)}
}

// fail logs and notes that the CA could not be used; it is tried again after wait.
func (a *Agent) fail(during string, err error, wait time.Duration) {
	a.note(during, err, wait)
	fields := append([]any{"during", during, "cause", err, "retry_in", wait.Round(time.Millisecond)}, a.clocks()...)
	if cred := a.credential(); cred != nil {
		fields = append(fields, "self", cred.id, "serial", cred.serial, "not_before", cred.notBefore(), "not_after", cred.notAfter())
	}
	if advice := adviceFor(err); advice != "" {
		fields = append(fields, "advice", advice)
	}
	a.logger.Error(failureText(err), fields...)
}

func failureText(err error) string {
	switch {
	case errors.Is(err, errNotSaved):
		return "what the CA said is in force but not saved: a restart while the CA is away would not know it"
	case errors.Is(err, errDueAtOnce):
		return "the CA was asked and the certificate is of no lasting use; correct the clock"
	default:
		return "the CA could not be used; the last good certificate stays in use until it expires"
	}
}

// plead logs, once for each situation, that nothing but a new token helps.
func (a *Agent) plead(err error) {
	cred := a.credential()
	plea := err.Error()
	if cred != nil {
		plea += cred.serial.String()
	}
	a.mu.Lock()
	known := a.lastPlea == plea
	a.lastPlea = plea
	last := a.verdict
	a.mu.Unlock()
	if known {
		return
	}
	fields := append([]any{"cause", err, "advice", "make one with: handfast token NAME"}, a.clocks()...)
	if cred == nil {
		a.logger.Error("waiting for an enrolment token", fields...)
		return
	}
	fields = append(fields, "self", cred.id, "serial", cred.serial, "not_after", cred.notAfter(), "grace_ends", cred.graceEnds())
	if last.serial == cred.serial.String() {
		fields = append(fields, "ca_says", string(last.code))
	}
	a.logger.Error("the certificate cannot be renewed any more; waiting for a new enrolment token", fields...)
}

// adviceFor says what a person can do about a refusal of the CA, beside waiting.
func adviceFor(err error) string {
	var refusal *api.Error
	var peer *certs.Refusal
	switch {
	case errors.As(err, &refusal):
		switch refusal.Code {
		case api.CodeTokenUsed, api.CodeTokenExpired, api.CodeTokenInvalid, api.CodeRevoked:
			return "make a new token with: handfast token NAME"
		case api.CodeHeld:
			return "release it with: handfast revoke --unhold --service NAME; or revoke it for good and make a new token"
		case api.CodeReplayed:
			return "compare this host's clock with the CA's"
		case api.CodeServiceUnknown:
			return "register the service with: handfast service add NAME"
		}
	case errors.As(err, &peer) && (peer.Cause == certs.CauseExpired || peer.Cause == certs.CauseNotYetValid):
		return "compare this host's clock with the CA's"
	}
	return ""
}

// logRules logs what changed, in numbers: the callers stand in Status.
func (a *Agent) logRules(before, after *rules) {
	fields := []any{"self", after.raw.ID, "policy_epoch", after.raw.PolicyEpoch, "callers", len(after.raw.Callers)}
	for _, crl := range after.crls {
		fields = append(fields, "crl_"+crl.Issuer, crl.Number)
	}
	if before == nil {
		a.logger.Info("policy and revocation are known", append(fields, a.clocks()...)...)
		return
	}
	a.logger.Info("policy or revocation has changed", append(fields, a.clocks()...)...)
}
