package revocation

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/handfast/handfast/certs"
)

// Publisher folds the log and publishes CRLs and OCSP responses. It is safe for concurrent use.
type Publisher struct {
	config Config
}

// Open folds the whole log and publishes the first CRLs.
func Open(ctx context.Context, config Config) (*Publisher, error) {
	config, err := config.withDefaults()
	return &Publisher{config: config}, err
}

// Run publishes until ctx is done.
func (p *Publisher) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Sync folds what is new in the log.
func (p *Publisher) Sync(ctx context.Context) error { return errors.ErrUnsupported }

// Revoked returns the entry that revoked a certificate.
func (p *Publisher) Revoked(issuer string, serial certs.Serial) (Entry, bool) { return Entry{}, false }

// SetResponder sets who signs OCSP responses for issuer's certificates.
func (p *Publisher) SetResponder(issuer string, responder ResponseSigner) {}

// AddStaticCRL serves a CRL that was made elsewhere.
func (p *Publisher) AddStaticCRL(der []byte) error { return errors.ErrUnsupported }

// CRL returns the newest full CRL of an issuer.
func (p *Publisher) CRL(issuer string) (CRL, bool) { return CRL{}, false }

// CRLs returns the newest full CRL of every issuer, and the static ones.
func (p *Publisher) CRLs() []CRL { return nil }

// Changed returns a channel that is closed at the next publication.
func (p *Publisher) Changed() <-chan struct{} { return nil }

// Healthy says what keeps CRLs or OCSP responses from being fresh.
func (p *Publisher) Healthy(now time.Time) error { return errors.ErrUnsupported }

// ServeHTTP serves the public paths.
func (p *Publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }
