package agent

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// adoptFrom takes over what the CA issued to follow old. The identity must not change:
// a renewal is about the same service.
func (a *Agent) adoptFrom(old *credential, why purpose, issued *api.Issued, key []byte) error {
	raw := newIdentity(issued, key)
	raw.CA, raw.Fingerprint, raw.TokenDigest = a.address(old), old.raw.Fingerprint, old.raw.TokenDigest
	cred, err := raw.parse()
	if err != nil {
		return fmt.Errorf("the CA's answer cannot be used: %w", err)
	}
	if cred.id != old.id {
		return fmt.Errorf("the CA's answer cannot be used: it is for %s, this is %s", cred.id, old.id)
	}
	return a.take(why, cred)
}

// adopt takes over a first certificate. The root that the token pinned must be among the roots.
func (a *Agent) adopt(why purpose, raw identity) error {
	cred, err := raw.parse()
	if err != nil {
		return fmt.Errorf("the CA's answer cannot be used: %w", err)
	}
	pinned := slices.ContainsFunc(cred.bundle.Roots(), func(root *x509.Certificate) bool {
		return certs.Fingerprint(root) == raw.Fingerprint
	})
	if !pinned {
		return errors.New("the CA's answer cannot be used: the pinned root is not among its roots")
	}
	return a.take(why, cred)
}

// take publishes cred and makes it durable, in this order: a full disk must not keep a
// good certificate from being used. What could not be saved is tried again.
func (a *Agent) take(why purpose, cred *credential) error {
	a.saving.Lock()
	defer a.saving.Unlock()
	a.mu.Lock()
	old := a.cred
	a.setCredential(cred)
	a.unsaved = true
	a.verdict = verdict{}
	a.lastPlea = ""
	session := a.session // shows the old certificate: what is made from here on shows the new one
	a.session = nil
	a.refresh(true)
	renewAt, endRound := a.renewAt, a.endRound
	a.mu.Unlock()
	endRound()
	if session != nil {
		session.Close()
	}
	attrs := []any{"how", string(why), "self", cred.id, "serial", cred.serial,
		"not_before", cred.notBefore(), "not_after", cred.notAfter(), "renewal_at", renewAt}
	if old != nil {
		attrs = append(attrs, "replaces", old.serial)
	}
	a.logger.Info("certificate is in use", append(attrs, a.clocks()...)...)
	if now := a.now(); now.Before(cred.notBefore()) || now.After(cred.notAfter()) {
		a.logger.Error("this host's clock is wrong, or the CA's: the certificate that was just issued is not valid now; correct the clock",
			append([]any{"not_before", cred.notBefore(), "not_after", cred.notAfter()}, a.clocks()...)...)
	}
	if err := a.persist(cred); err != nil {
		a.logger.Error("the certificate is in use but could not be saved; saving is tried again", "cause", err)
	}
	return nil
}

// persist makes cred durable and ends the request that led to it. saving is held.
func (a *Agent) persist(cred *credential) error {
	if err := a.store.saveIdentity(cred.raw); err != nil {
		a.metrics.saveFailures.Inc()
		return err
	}
	a.mu.Lock()
	a.unsaved = a.cred != cred
	a.mu.Unlock()
	a.request = nil
	return a.store.savePending(nil)
}

// saveUnsaved saves what an earlier attempt could not.
func (a *Agent) saveUnsaved() error {
	a.saving.Lock()
	defer a.saving.Unlock()
	a.mu.Lock()
	cred, unsaved := a.cred, a.unsaved
	a.mu.Unlock()
	if !unsaved {
		return nil
	}
	if err := a.persist(cred); err != nil {
		return err
	}
	a.logger.Info("the certificate is saved now", "serial", cred.serial)
	return nil
}

// caSession returns the connection that shows cred's certificate. It is shared by renewal
// and watch, because a new handshake costs more than a renewal.
func (a *Agent) caSession(cred *credential) (CA, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.session != nil && a.sessionOf == cred.serial {
		return a.session, nil
	}
	client, err := a.door(cred, true)
	if err != nil {
		return nil, err
	}
	if a.session != nil { // a round with the old certificate made it after the rotation
		a.session.Close()
	}
	a.session, a.sessionOf = client, cred.serial
	return client, nil
}

// endSession closes the connection when the agent stops.
func (a *Agent) endSession() {
	a.mu.Lock()
	client := a.session
	a.session = nil
	a.mu.Unlock()
	if client != nil {
		client.Close()
	}
}
