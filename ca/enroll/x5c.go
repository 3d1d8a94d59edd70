package enroll

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/smallstep/certificates/authority/provisioner"

	"github.com/handfast/handfast/ca"
)

// X5C trusts certificates of another PKI, such as the machines' own, to vouch for
// their holder: the token is signed by the certificate's key (RFC 7515, section 4.1.6).
// The certificate's revocation is not checked; keep that PKI's certificates short-lived.
type X5C struct {
	Name      string   // the tokens' iss
	Roots     []byte   // PEM: the roots that the certificate must chain to, for client authentication
	Audiences []string // what aud must hold one of, followed by "#x5c/NAME"; none is the API's address and /v1/enroll
	Rules     []Rule
}

// maxX5CChain is the longest chain that a token may bring.
const maxX5CChain = 6

type x5cProvider struct {
	step      *provisioner.X5C
	roots     *x509.CertPool
	audiences []string // with the fragment
	rules     rules
	now       func() time.Time
}

func newX5C(c X5C, environment env) (*x5cProvider, error) {
	if c.Name == "" {
		return nil, errors.New("name is missing: it is the tokens' issuer (iss)")
	}
	roots, err := parseRoots(c.Roots)
	if err != nil {
		return nil, fmt.Errorf("roots: %w", err)
	}
	compiled, err := compileRules(environment.trustDomain, c.Rules, true)
	if err != nil {
		return nil, err
	}
	audiences := provisioner.Audiences{Sign: orDefault(c.Audiences, environment.audience)}
	p := &x5cProvider{
		step:  &provisioner.X5C{Type: "X5C", Name: c.Name, Roots: c.Roots},
		roots: roots,
		rules: compiled,
		now:   environment.now,
	}
	p.audiences = audiences.WithFragment(p.step.GetIDForToken()).Sign
	if err := p.step.Init(provisionerConfig(audiences.Sign, nil)); err != nil {
		return nil, err
	}
	return p, nil
}

// parseRoots wants certificates only, each of them a CA's: a leaf among the roots
// would be trusted for what its own key signs.
func parseRoots(data []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	count := 0
	for rest := data; ; count++ {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a %s is no certificate", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", count+1, err)
		}
		if !cert.BasicConstraintsValid || !cert.IsCA {
			return nil, fmt.Errorf("certificate %d (%s) is not a CA's", count+1, cert.Subject)
		}
		pool.AddCert(cert)
	}
	if count == 0 {
		return nil, errors.New("no certificate in PEM found")
	}
	return pool, nil
}

func (p *x5cProvider) method() ca.Method { return ca.MethodX5C }
func (p *x5cProvider) id() string        { return "x5c/" + p.step.Name }
func (p *x5cProvider) ruleSet() rules    { return p.rules }
func (p *x5cProvider) label() string     { return fmt.Sprintf("enrolment.x5c %q", p.step.Name) }

func (p *x5cProvider) matches(t *platformToken) bool {
	return t.x5c != nil && t.claims.Issuer == p.step.Name
}

func (p *x5cProvider) verify(ctx context.Context, t *platformToken) (facts, error) {
	options, err := p.step.AuthorizeSign(ctx, t.raw)
	if err != nil {
		return facts{}, invalid("%s does not accept its certificate, signature, audience or times", p.label())
	}
	if !t.hasAudience(p.audiences) {
		return facts{}, invalid("%s wants the audience %q", p.label(), p.audiences)
	}
	if err := checkSignOptions(p.step, options); err != nil {
		return facts{}, invalid("%s: %v", p.label(), err)
	}
	// The provisioner keeps the certificate to itself, so it is verified once more, by
	// the same options and this CA's clock.
	chains, err := t.parsed.Headers[0].Certificates(x509.VerifyOptions{
		Roots:       p.roots,
		CurrentTime: p.now(),
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return facts{}, invalid("%s does not accept its certificate", p.label())
	}
	return certificateFacts(chains[0][0]), nil
}

func certificateFacts(leaf *x509.Certificate) facts {
	f := facts{
		who:        "serial " + leaf.SerialNumber.Text(16),
		dns:        leaf.DNSNames,
		commonName: leaf.Subject.CommonName,
	}
	for _, uri := range leaf.URIs {
		f.uris = append(f.uris, uri.String())
	}
	return f
}

// checkX5CKeys refuses keys whose only purpose could be to burn CPU, before anything
// is verified with them.
func checkX5CKeys(chain []string) error {
	if len(chain) > maxX5CChain {
		return invalid("its x5c header has %d certificates; at most %d are read", len(chain), maxX5CChain)
	}
	for _, encoded := range chain {
		der, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return invalid("its x5c header is not base64")
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return invalid("its x5c header holds a malformed certificate")
		}
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok {
			if err := checkRSA(key); err != nil {
				return invalid("its x5c header: %v", err)
			}
		}
	}
	return nil
}
