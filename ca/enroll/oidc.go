package enroll

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/smallstep/certificates/authority/provisioner"

	"github.com/handfast/handfast/ca"
)

// OIDC trusts an OpenID Connect issuer: a CI system, a cloud, a Kubernetes cluster's
// service accounts. Its keys are fetched when its first token comes, and again when
// they expire or an unknown one shows up. While they cannot be had, tokens are refused.
type OIDC struct {
	Name     string // for logs and errors
	Issuer   string // the tokens' iss, and where /.well-known/openid-configuration is
	ClientID string // what aud must hold
	// Hosts are where the keys may be fetched from besides the issuer's own host.
	Hosts []string
	// Roots are PEM certificates to trust for the issuer's TLS; none is the system's.
	Roots []byte
	Rules []Rule
}

type oidcProvider struct {
	cfg   OIDC
	rules rules
	idp   *issuerSession
}

func newOIDC(c OIDC, environment env) (*oidcProvider, error) {
	switch {
	case c.Name == "":
		return nil, errors.New("name is missing")
	case c.ClientID == "":
		return nil, errors.New("client_id is missing: it is the audience (aud) that tokens must have")
	}
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("issuer %q is not an https address without user, query and fragment", c.Issuer)
	}
	compiled, err := compileRules(environment.trustDomain, c.Rules, false)
	if err != nil {
		return nil, err
	}
	client, err := newFetcher(append([]string{u.Host}, c.Hosts...), c.Roots, environment.now)
	if err != nil {
		return nil, err
	}
	connect := func() (*provisioner.OIDC, error) {
		step := &provisioner.OIDC{
			Type: "OIDC", Name: c.Name, ClientID: c.ClientID,
			ConfigurationEndpoint: strings.TrimSuffix(c.Issuer, "/") + "/.well-known/openid-configuration",
		}
		return step, step.Init(provisionerConfig(nil, client))
	}
	return &oidcProvider{
		cfg:   c,
		rules: compiled,
		idp:   newIssuerSession(c.Name, connect, environment),
	}, nil
}

func (p *oidcProvider) method() ca.Method { return ca.MethodOIDC }
func (p *oidcProvider) id() string        { return "oidc/" + p.cfg.Issuer + " " + p.cfg.ClientID }
func (p *oidcProvider) ruleSet() rules    { return p.rules }
func (p *oidcProvider) label() string     { return fmt.Sprintf("enrolment.oidc %q", p.cfg.Name) }

func (p *oidcProvider) matches(t *platformToken) bool {
	return t.claims.Issuer == p.cfg.Issuer && t.claims.Audience.Contains(p.cfg.ClientID)
}

func (p *oidcProvider) verify(ctx context.Context, t *platformToken) (facts, error) {
	step, options, err := p.authorize(ctx, t)
	if err != nil {
		return facts{}, err
	}
	// The provisioner takes the issuer's name from the discovery document; route has
	// matched the configured one already, so a document of another issuer fails there.
	if err := checkSignOptions(step, options); err != nil {
		return facts{}, invalid("%s: %v", p.label(), err)
	}
	f := facts{who: t.claims.Subject, subject: t.claims.Subject, claims: t.all}
	f.email, _ = t.all["email"].(string)
	f.emailVerified, _ = t.all["email_verified"].(bool)
	return f, nil
}

// authorize asks the provisioner, and once more with fresh keys when it says no: the
// issuer may have changed its keys since they were fetched.
func (p *oidcProvider) authorize(ctx context.Context, t *platformToken) (*provisioner.OIDC, []provisioner.SignOption, error) {
	step, fetched, err := p.idp.current(ctx)
	if err != nil {
		return nil, nil, err
	}
	options, err := step.AuthorizeSign(ctx, t.raw)
	if err == nil {
		return step, options, nil
	}
	step, refreshed := p.idp.refresh(ctx, fetched)
	if refreshed {
		options, err = step.AuthorizeSign(ctx, t.raw)
	}
	if err != nil {
		return nil, nil, invalid("%s does not accept its signature, audience or times", p.label())
	}
	return step, options, nil
}
