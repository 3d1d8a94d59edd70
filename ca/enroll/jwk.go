package enroll

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/smallstep/certificates/authority/provisioner"
	"go.step.sm/crypto/jose"

	"github.com/handfast/handfast/ca"
)

// JWK trusts whoever holds the private half of one key to vouch for services, as
// `step ca token` does offline.
type JWK struct {
	Name      string   // the tokens' iss
	Key       []byte   // a public JWK (RFC 7517) as JSON, with a kid
	Audiences []string // what aud must hold one of; none is the API's address and /v1/enroll
	Rules     []Rule
}

type jwkProvider struct {
	step      *provisioner.JWK
	audiences []string
	rules     rules
}

func newJWK(c JWK, environment env) (*jwkProvider, error) {
	if c.Name == "" {
		return nil, errors.New("name is missing: it is the tokens' issuer (iss)")
	}
	key, err := parsePublicJWK(c.Key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	compiled, err := compileRules(environment.trustDomain, c.Rules, false)
	if err != nil {
		return nil, err
	}
	p := &jwkProvider{
		step:      &provisioner.JWK{Type: "JWK", Name: c.Name, Key: key},
		audiences: orDefault(c.Audiences, environment.audience),
		rules:     compiled,
	}
	if err := p.step.Init(provisionerConfig(p.audiences, nil)); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *jwkProvider) method() ca.Method { return ca.MethodJWK }
func (p *jwkProvider) id() string        { return "jwk/" + p.step.Name + "/" + p.step.Key.KeyID }
func (p *jwkProvider) ruleSet() rules    { return p.rules }
func (p *jwkProvider) label() string {
	return fmt.Sprintf("enrolment.jwk %q (key %q)", p.step.Name, p.step.Key.KeyID)
}

func (p *jwkProvider) matches(t *platformToken) bool {
	return t.x5c == nil && t.claims.Issuer == p.step.Name && t.keyID == p.step.Key.KeyID
}

func (p *jwkProvider) verify(ctx context.Context, t *platformToken) (facts, error) {
	options, err := p.step.AuthorizeSign(ctx, t.raw)
	if err != nil {
		return facts{}, invalid("%s does not accept its signature, audience or times", p.label())
	}
	if !t.hasAudience(p.audiences) {
		return facts{}, invalid("%s wants the audience %q", p.label(), p.audiences)
	}
	if err := checkSignOptions(p.step, options); err != nil {
		return facts{}, invalid("%s: %v", p.label(), err)
	}
	return facts{who: t.claims.Subject, subject: t.claims.Subject, claims: t.all}, nil
}

// maxJWK is the largest key file that is read, in bytes.
const maxJWK = 64 << 10

// parsePublicJWK reads one public signing key. A private key has no business on the
// CA's host, and a symmetric one would let everybody who can verify also mint.
func parsePublicJWK(data []byte) (*jose.JSONWebKey, error) {
	if len(data) > maxJWK {
		return nil, fmt.Errorf("over %d bytes", maxJWK)
	}
	var key jose.JSONWebKey
	if err := json.Unmarshal(data, &key); err != nil {
		return nil, errors.New("not a JWK in JSON (RFC 7517)")
	}
	if key.KeyID == "" {
		return nil, errors.New("the JWK has no kid")
	}
	if key.Use != "" && key.Use != "sig" {
		return nil, fmt.Errorf("the JWK is for use %q, not for signatures", key.Use)
	}
	switch public := key.Key.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
	case *rsa.PublicKey:
		if err := checkRSA(public); err != nil {
			return nil, err
		}
	case []byte:
		return nil, errors.New("a symmetric JWK cannot be used: whoever verifies could mint")
	default:
		return nil, errors.New("the JWK is private or of an unknown type; keep the private key with its owner and put the public one here")
	}
	if !key.Valid() {
		return nil, errors.New("the JWK is not a valid key")
	}
	return &key, nil
}

// checkRSA bounds the work that a signature by the key can cause.
func checkRSA(key *rsa.PublicKey) error {
	if bits := key.N.BitLen(); bits < 2048 || bits > 8192 {
		return fmt.Errorf("RSA keys must have 2048 to 8192 bits; this one has %d", bits)
	}
	return nil
}

func orDefault(list []string, fallback string) []string {
	if len(list) > 0 {
		return list
	}
	return []string{fallback}
}
