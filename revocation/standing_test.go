package revocation

import (
	"context"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"

	reference "golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/certs"
)

// fell revokes the bench's issuer in the log, as its root would.
func (b *bench) fell(t testing.TB, reason certs.Reason) Entry {
	t.Helper()
	serial, err := certs.SerialFromInt(b.ca.cert.SerialNumber)
	if err != nil {
		t.Fatal(err)
	}
	b.log.revoke(t, b.ca.top.ID(), serial, reason, b.clock.Now(), b.ca.cert.NotAfter)
	if err := b.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	entry, revoked := b.Revoked(b.ca.top.ID(), serial)
	if !revoked {
		t.Fatal("the publisher does not know what was revoked")
	}
	return entry
}

// RFC 6960, section 2.7: once its issuer is revoked OCSP calls every certificate revoked, past
// the cache, also those that the ledger has never seen. What was revoked itself keeps its reason.
func TestOCSPOfARevokedIssuer(t *testing.T) {
	b := newBench(t, nil)
	good, revoked, foreign := serialOfInt(t, 1), serialOfInt(t, 2), serialOfInt(t, 3)
	b.log.issue(b.ca.ID(), good)
	b.revoke(t, revoked, certs.Superseded)
	if b.askStatus(t, good) != "good" || b.askStatus(t, foreign) != "unknown" {
		t.Fatal("refused before the issuer was")
	}
	b.fell(t, certs.KeyCompromise)
	for serial, want := range map[certs.Serial]string{
		good: "revoked cACompromise", foreign: "revoked cACompromise", revoked: "revoked superseded",
	} {
		for range 2 { // signed, then kept
			if got := b.askStatus(t, serial); got != want {
				t.Errorf("serial %s: %s, want %s", serial, got, want)
			}
		}
	}
}

// So it is when the root's CRL says so and not the log.
func TestOCSPOfAnIssuerThatTheRootsCRLLists(t *testing.T) {
	b := newBench(t, nil)
	good := serialOfInt(t, 1)
	b.log.issue(b.ca.ID(), good)
	if got := b.askStatus(t, good); got != "good" {
		t.Fatal(got)
	}
	b.rootCRL(t, 1, x509.RevocationListEntry{SerialNumber: b.ca.cert.SerialNumber, RevocationTime: testStart, ReasonCode: int(certs.Superseded)})
	if got := b.askStatus(t, good); got != "revoked superseded" {
		t.Errorf("%s", got)
	}
}

// Until the root's CRL lists what the log revokes, the publisher is not healthy.
func TestHealthyMissesWhatTheRootsCRLDoesNotList(t *testing.T) {
	b := newBench(t, nil)
	b.rootCRL(t, 1)
	if err := b.Healthy(b.clock.Now()); err != nil {
		t.Fatal(err)
	}
	b.fell(t, certs.CACompromise)
	if err := b.Healthy(b.clock.Now()); err == nil || !strings.Contains(err.Error(), "root-crl") {
		t.Errorf("%v", err)
	}
	b.rootCRL(t, 2, x509.RevocationListEntry{SerialNumber: b.ca.cert.SerialNumber, RevocationTime: testStart})
	if err := b.Healthy(b.clock.Now()); err != nil {
		t.Error(err)
	}
}

// rootCRL installs a CRL of the root.
func (b *bench) rootCRL(t testing.TB, number int64, entries ...x509.RevocationListEntry) {
	t.Helper()
	der := makeCRL(t, &x509.RevocationList{
		Number: big.NewInt(number), ThisUpdate: testStart, NextUpdate: testStart.Add(24 * time.Hour), RevokedCertificateEntries: entries,
	}, b.ca.top)
	if err := b.AddStaticCRL(der); err != nil {
		t.Fatal(err)
	}
}

// askStatus is an answer in words.
func (b *bench) askStatus(t testing.TB, serial certs.Serial) string {
	t.Helper()
	switch response := b.status(t, serial); response.Status {
	case reference.Good:
		return "good"
	case reference.Unknown:
		return "unknown"
	default:
		return "revoked " + certs.Reason(response.RevocationReason).String()
	}
}
