package holder

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/handfast/handfast/certs/feed"
)

// Causes are why something was refused: the values of the metric's label.
var Causes = []string{
	CauseSignature, CauseSigner, CauseGap, CauseReplayed, CauseRollback, CauseDomain, CauseFuture, CauseStale, CauseTruncated, CauseMalformed,
}

// The causes.
const (
	CauseSignature = "signature" // the statement was changed or invented
	CauseSigner    = "signer"    // who signed it may not
	CauseGap       = "gap"       // statements before it are missing
	CauseReplayed  = "replayed"  // a later one is known
	CauseRollback  = "rollback"  // the CA itself stands before what it once said
	CauseDomain    = "domain"    // it is another trust domain's
	CauseFuture    = "future"    // it is dated in the future
	CauseStale     = "stale"     // it was out of date when it came
	CauseTruncated = "truncated" // the stream ended in the middle of a message
	CauseMalformed = "malformed"
)

// advice is what a person can do about it.
var advice = map[string]string{
	CauseSignature: "something between this agent and the CA changes the feed: find it; nothing of it was used",
	CauseSigner:    "compare the roots that this agent trusts with the CA's, and what stands between them",
	CauseGap:       "something between this agent and the CA drops statements; it is asked again from this agent's position",
	CauseReplayed:  "something between this agent and the CA repeats old statements: find it; nothing of them was used",
	CauseRollback:  "the CA runs on an older ledger than the one this agent has followed; bring copies back with: handfast-ca restore, which moves the numbers above what was in use",
	CauseDomain:    "compare the CA's address here with the trust domain",
	CauseFuture:    "compare this host's clock with the CA's",
	CauseStale:     "compare this host's clock with the CA's; else something between them holds statements back",
	CauseTruncated: "something between this agent and the CA cuts the stream short; it is followed again from this agent's position",
	CauseMalformed: "are agent and CA of versions that belong together? Else something between them changes the feed",
}

// sayAgain is how long the same refusal is not logged again.
const sayAgain = time.Hour

// refusedError is a statement or stream that was refused. It was logged and counted.
type refusedError struct {
	cause string
	err   error
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("the feed was refused (%s): %v", e.cause, e.err)
}
func (e *refusedError) Unwrap() error { return e.err }

// Refused returns the cause when err is about a feed that was refused, and so has been logged; "" otherwise.
func Refused(err error) string {
	var refused *refusedError
	if errors.As(err, &refused) {
		return refused.cause
	}
	return ""
}

// refuse counts what was refused and says it, once for each cause and hour.
func (h *Holder) refuse(cause string, err error) error {
	h.cfg.Refused(cause)
	now := h.cfg.Now()
	if last, said := h.said[cause]; !said || now.Sub(last) >= sayAgain || now.Before(last) {
		h.said[cause] = now
		h.cfg.Logger.Error("what came as the CA's feed is refused; the last good state stays in force until it is too old",
			"why", cause, "cause", err, "position", h.position(), "advice", advice[cause])
	}
	return &refusedError{cause, err}
}

// broken tells a stream that ended in the middle of a message from one that just ended.
func (h *Holder) broken(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return h.refuse(CauseTruncated, err)
	}
	return err
}

// take takes a message. It reports whether it was a statement that is younger than what was known.
func (h *Holder) take(kind byte, payload []byte) (fresh bool, err error) {
	switch kind {
	case feed.SignerMessage:
		if err := h.signers.learn(payload); err != nil {
			return false, h.refuse(CauseMalformed, err)
		}
		return false, nil
	case feed.StatementMessage:
		return h.takeStatement(payload)
	default:
		return false, nil // a later version's; what matters is signed, and numbered without gaps
	}
}

func (h *Holder) takeStatement(signed []byte) (fresh bool, err error) {
	statement, err := feed.Open(signed, func(signer [32]byte) (*x509.Certificate, error) {
		return h.signers.find(signer, h.cfg.Signer)
	})
	if err != nil {
		return false, h.refuse(causeOf(err), err)
	}
	if statement.TrustDomain != h.cfg.TrustDomain {
		return false, h.refuse(CauseDomain, fmt.Errorf("%w: it is of %q, this agent of %q", feed.ErrDomain, statement.TrustDomain, h.cfg.TrustDomain))
	}
	h.applying.Lock()
	defer h.applying.Unlock()
	before := h.view.Load()
	view, err := before.Apply(statement, h.cfg.Now())
	if err != nil {
		return false, h.refuse(h.causeOfApply(before, statement, err), err)
	}
	fresh = before == nil || view.SignedAt().After(before.SignedAt())
	h.view.Store(view)
	h.cfg.Publish(Update{
		View: view, Snapshot: statement.Snapshot != nil, Entries: statement.Entries,
		News: before == nil || statement.Snapshot != nil || view.Sequence() != before.Sequence(),
	})
	return fresh, nil
}

// causeOfApply tells a CA that went back from a relay that repeats: the former has just signed what it says.
func (h *Holder) causeOfApply(before *feed.View, statement *feed.Statement, err error) string {
	if errors.Is(err, feed.ErrReplayed) && before != nil &&
		statement.To < before.Sequence() && statement.SignedAt.After(before.SignedAt()) {
		return CauseRollback
	}
	return causeOf(err)
}

func causeOf(err error) string {
	switch {
	case errors.Is(err, errSigner):
		return CauseSigner
	case errors.Is(err, feed.ErrSignature):
		return CauseSignature
	case errors.Is(err, feed.ErrGap):
		return CauseGap
	case errors.Is(err, feed.ErrReplayed):
		return CauseReplayed
	case errors.Is(err, feed.ErrDomain):
		return CauseDomain
	case errors.Is(err, feed.ErrFuture):
		return CauseFuture
	case errors.Is(err, feed.ErrStale):
		return CauseStale
	default:
		return CauseMalformed
	}
}

// errSigner: the signer is not known, or may not sign.
var errSigner = errors.New("its signer is not accepted")

// Limits of what is kept of signers: a CA replaces its own now and then, and may have a successor.
const (
	maxSigners = 4
	maxChain   = 8
)

// signers are the chains that came, by the digest of their leaf. Run's goroutine uses it alone.
type signers struct {
	chains map[[32]byte][]*x509.Certificate
}

// learn keeps a chain (concatenated DER, leaf first). Whether it may sign is asked at each statement.
func (s *signers) learn(payload []byte) error {
	chain, err := x509.ParseCertificates(payload)
	if err != nil {
		return fmt.Errorf("the signer's chain: %w", err)
	}
	if len(chain) == 0 || len(chain) > maxChain {
		return fmt.Errorf("the signer's chain has %d certificates; 1 to %d are allowed", len(chain), maxChain)
	}
	if s.chains == nil || len(s.chains) >= maxSigners {
		s.chains = make(map[[32]byte][]*x509.Certificate)
	}
	s.chains[sha256.Sum256(chain[0].Raw)] = chain
	return nil
}

func (s *signers) find(digest [32]byte, accept func([]*x509.Certificate) (*x509.Certificate, error)) (*x509.Certificate, error) {
	chain, known := s.chains[digest]
	if !known {
		return nil, fmt.Errorf("%w: its certificate has not come", errSigner)
	}
	cert, err := accept(chain)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSigner, err)
	}
	return cert, nil
}
