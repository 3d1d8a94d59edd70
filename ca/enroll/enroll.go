// Package enroll decides who is asking for a first certificate. A one-time token
// that this CA minted, or a token of a platform that the operator has chosen to trust
// (a JWK, an X.509 certificate, an OpenID Connect issuer), becomes a [ca.Claim]: the
// one service it speaks for and the id that is used up with the issuance. What a
// token does not prove in so many words is refused; the package never reads the CSR.
package enroll

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus" // counts what was accepted and why not, for alerts
	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/authority/provisioner" // verifies platform identities as step-ca does

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// Config is what an Enroller is made from.
type Config struct {
	// TrustDomain is the audience of native tokens.
	TrustDomain certs.TrustDomain
	// NativeKey is the 32-byte key of the MAC on native tokens. It is a secret.
	NativeKey []byte
	// URL is where agents reach the API, "https://host:port". Native tokens carry it.
	URL string
	// Fingerprint is the root's SHA-256 in lower-case hexadecimal. Native tokens carry it.
	Fingerprint string
	// TokenTTL is the lifetime of a native token that asks for none; 0 is DefaultTokenTTL.
	TokenTTL time.Duration
	// Platforms are the identities that are accepted besides native tokens.
	Platforms Platforms

	Now        func() time.Time      // nil is time.Now
	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil counts nothing
}

// Enroller mints and verifies enrolment tokens. It is safe for concurrent use.
type Enroller struct {
	native    native
	providers []provider
	now       func() time.Time
	results   *prometheus.CounterVec
}

// Format keeps the key out of logs and errors, whatever the verb.
func (e Enroller) Format(w fmt.State, _ rune) {
	_, _ = fmt.Fprintf(w, "enroller of %s with %d platforms", e.native.trustDomain, len(e.providers)) // a fmt.State keeps its own error
}

// Format keeps the key out of logs and errors, whatever the verb.
func (cfg Config) Format(w fmt.State, _ rune) {
	_, _ = fmt.Fprintf(w, "enrolment of %s", cfg.TrustDomain) // a fmt.State keeps its own error
}

// provider verifies the tokens of one configured platform.
type provider interface {
	method() ca.Method
	// label names the provider in errors: its kind and configured name.
	label() string
	// matches reports whether the provider is the one to judge t. It looks at claims
	// that nobody has verified yet, so it grants nothing.
	matches(t *platformToken) bool
	// verify proves the signature and the claims, and returns the rules' input.
	verify(ctx context.Context, t *platformToken) (facts, error)
	ruleSet() rules
	id() string
}

var fingerprintPattern = regexp.MustCompile(`\A[0-9a-f]{64}\z`)

// New checks the configuration and makes an Enroller. It does no network I/O: an
// OpenID Connect issuer is asked when its first token comes.
func New(cfg Config) (*Enroller, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	now := cfg.Now
	if now == nil {
		now = time.Now
	}
	logger := cfg.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	e := &Enroller{
		native:  newNative(cfg, now),
		now:     now,
		results: newResults(cfg.Registerer),
	}
	providers, err := cfg.Platforms.providers(env{
		trustDomain: cfg.TrustDomain,
		audience:    cfg.URL + api.PathEnroll,
		now:         now,
		logger:      logger,
	})
	if err != nil {
		return nil, err
	}
	e.providers = providers
	return e, nil
}

func (cfg Config) check() error {
	switch {
	case cfg.TrustDomain.IsZero():
		return errors.New("enrolment: trust domain is missing")
	case len(cfg.NativeKey) != nativeKeySize:
		return fmt.Errorf("enrolment: the token key has %d bytes; it must have %d", len(cfg.NativeKey), nativeKeySize)
	case !fingerprintPattern.MatchString(cfg.Fingerprint):
		return errors.New("enrolment: the root's fingerprint is not 64 lower-case hexadecimal digits")
	case cfg.TokenTTL != 0 && (cfg.TokenTTL < MinTokenTTL || cfg.TokenTTL > MaxTokenTTL):
		return fmt.Errorf("enrolment: token_ttl %v is outside %v to %v", cfg.TokenTTL, MinTokenTTL, MaxTokenTTL)
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.User != nil {
		return fmt.Errorf("enrolment: API address %q is not of the form https://host:port", cfg.URL)
	}
	return nil
}

// Verify decides what token proves, as of now. It fails closed: every error is an
// *api.Error, and no claim comes with one. Verify uses nothing up; the claim's
// OneTime must be recorded in the same transaction as the certificate.
func (e *Enroller) Verify(ctx context.Context, token string) (ca.Claim, error) {
	claim, method, err := e.verify(ctx, token)
	e.count(method, err)
	if err != nil {
		return ca.Claim{}, err
	}
	return claim, nil
}

func (e *Enroller) verify(ctx context.Context, token string) (ca.Claim, ca.Method, error) {
	if len(token) > api.MaxToken {
		return ca.Claim{}, "", invalid("the token has %d bytes; at most %d are read", len(token), api.MaxToken)
	}
	compact, err := splitCompact(token)
	if err != nil {
		return ca.Claim{}, "", err
	}
	if compact.header == nativeHeader {
		claim, err := e.native.verify(compact)
		return claim, ca.MethodToken, err
	}
	t, err := parsePlatformToken(token, compact)
	if err != nil {
		return ca.Claim{}, "", err
	}
	p, err := e.route(t)
	if err != nil {
		return ca.Claim{}, "", err
	}
	claim, err := e.judge(ctx, p, t)
	return claim, p.method(), err
}

// route finds the one provider that is responsible for t.
func (e *Enroller) route(t *platformToken) (provider, error) {
	var found provider
	for _, p := range e.providers {
		if !p.matches(t) {
			continue
		}
		if found != nil {
			return nil, invalid("the token fits both %s and %s", found.label(), p.label())
		}
		found = p
	}
	if found == nil {
		return nil, invalid("the token's issuer is none that this CA trusts")
	}
	return found, nil
}

func (e *Enroller) judge(ctx context.Context, p provider, t *platformToken) (ca.Claim, error) {
	expires, err := t.checkTimes(e.now())
	if err != nil {
		return ca.Claim{}, err
	}
	known, err := p.verify(ctx, t)
	if err != nil {
		return ca.Claim{}, err
	}
	service, err := p.ruleSet().service(p.label(), known)
	if err != nil {
		return ca.Claim{}, err
	}
	return ca.Claim{
		Service: service,
		Method:  p.method(),
		OneTime: &ca.OneTime{ID: t.oneTimeID(p), ExpiresAt: expires.Add(skew)},
		By:      p.id() + " " + known.who,
	}, nil
}

// newResults makes the counter of verifications; label values are categories only.
func newResults(r prometheus.Registerer) *prometheus.CounterVec {
	results := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "handfast_enroll_verifications_total",
		Help: "Enrolment tokens that were judged, by method and result (an error code, or ok).",
	}, []string{"method", "result"})
	if r != nil {
		r.MustRegister(results)
	}
	return results
}

func (e *Enroller) count(method ca.Method, err error) {
	result := "ok"
	if err != nil {
		result = string(codeOf(err))
	}
	if method == "" {
		method = "unknown"
	}
	e.results.WithLabelValues(string(method), result).Inc()
}

// provisionerConfig is what smallstep's provisioners ask for. Claims bound
// certificates that this CA never makes from them; they only have to be present.
func provisionerConfig(audiences []string, client provisioner.HTTPClient) provisioner.Config {
	return provisioner.Config{
		Claims:     config.GlobalProvisionerClaims,
		Audiences:  provisioner.Audiences{Sign: audiences},
		HTTPClient: client,
	}
}

// digestID shortens parts to a fixed size and keeps them apart.
func digestID(parts ...string) string {
	h := newDigest()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part) //nolint:errcheck // a hash never fails
	}
	return hex.EncodeToString(h.Sum(nil))
}
