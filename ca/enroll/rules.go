package enroll

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/handfast/handfast/certs"
)

// Rule maps what a token proves to exactly one service. Every condition that is set
// must hold, and at least one must be set. Conditions compare exactly, but for the
// patterns, where '*' stands for one or more characters other than '.' and '/'.
type Rule struct {
	Service string // the registered service's name

	// For JWK and OIDC tokens.
	Subject string            // sub
	Email   string            // email, only when email_verified is true (OIDC)
	Claims  map[string]string // claim's name -> its value; a list must contain it

	// For X5C tokens: patterns over the signing certificate, which its holder cannot choose.
	DNS        string // one of its DNS names
	URI        string // one of its URIs
	CommonName string // its subject's common name
}

// facts are what a verified token proves.
type facts struct {
	who           string // for the ledger
	subject       string
	email         string
	emailVerified bool
	claims        map[string]any
	dns           []string
	uris          []string
	commonName    string
}

// rules are compiled. They only ever grow narrower: what no rule names is refused.
type rules []compiledRule

type compiledRule struct {
	Rule
	dns, uri, commonName *regexp.Regexp
}

// ruleError says which rule is wrong.
type ruleError struct {
	index int
	err   error
}

func (e *ruleError) Error() string { return fmt.Sprintf("rules[%d]: %v", e.index, e.err) }

// compileRules checks a provider's rules. certificate says which kind of condition
// the provider can prove.
func compileRules(td certs.TrustDomain, in []Rule, certificate bool) (rules, error) {
	if len(in) == 0 {
		return nil, errors.New("rules: at least one is needed, or every token is refused")
	}
	out := make(rules, 0, len(in))
	for i, rule := range in {
		compiled, err := rule.compile(td, certificate)
		if err != nil {
			return nil, &ruleError{index: i, err: err}
		}
		out = append(out, compiled)
	}
	return out, nil
}

func (r Rule) compile(td certs.TrustDomain, certificate bool) (compiledRule, error) {
	if err := checkService(td, r.Service); err != nil {
		return compiledRule{}, fmt.Errorf("service: %w", err)
	}
	byToken := r.Subject != "" || r.Email != "" || len(r.Claims) > 0
	byCertificate := r.DNS != "" || r.URI != "" || r.CommonName != ""
	switch {
	case certificate && byToken:
		return compiledRule{}, errors.New("subject, email and claims are the token signer's own choice here; use dns, uri or common_name of the certificate")
	case !certificate && byCertificate:
		return compiledRule{}, errors.New("dns, uri and common_name need x5c; use subject, email or claims")
	case !byToken && !byCertificate:
		return compiledRule{}, errors.New("no condition: the rule would give the service to every token")
	}
	for name, value := range r.Claims {
		if name == "" || value == "" {
			return compiledRule{}, errors.New("claims: names and values must not be empty")
		}
	}
	return compiledRule{Rule: r, dns: pattern(r.DNS), uri: pattern(r.URI), commonName: pattern(r.CommonName)}, nil
}

// pattern compiles the wildcard notation; "" is no condition.
func pattern(s string) *regexp.Regexp {
	if s == "" {
		return nil
	}
	return regexp.MustCompile(`\A` + strings.ReplaceAll(regexp.QuoteMeta(s), `\*`, `[^./]+`) + `\z`)
}

// service returns the one service that the rules give to f. No rule or several are a refusal.
func (rs rules) service(label string, f facts) (string, error) {
	found := ""
	for _, rule := range rs {
		if !rule.holds(f) {
			continue
		}
		if found != "" {
			return "", refused("the token is genuine, but more than one rule of %s fits it", label)
		}
		found = rule.Service
	}
	if found == "" {
		return "", refused("the token is genuine, but no rule of %s gives it a service", label)
	}
	return found, nil
}

func (r compiledRule) holds(f facts) bool {
	if r.Subject != "" && r.Subject != f.subject {
		return false
	}
	if r.Email != "" && (!f.emailVerified || r.Email != f.email) {
		return false
	}
	for name, value := range r.Claims {
		if !claimHas(f.claims[name], value) {
			return false
		}
	}
	return matchesAny(r.dns, f.dns) && matchesAny(r.uri, f.uris) && matchesAny(r.commonName, []string{f.commonName})
}

func matchesAny(p *regexp.Regexp, values []string) bool {
	return p == nil || slices.ContainsFunc(values, p.MatchString)
}

// claimHas reports whether a claim is the string, or a list with the string in it.
// Numbers, booleans and objects never match.
func claimHas(claim any, value string) bool {
	switch c := claim.(type) {
	case string:
		return c == value
	case []any:
		return slices.ContainsFunc(c, func(item any) bool { return item == any(value) })
	default:
		return false
	}
}
