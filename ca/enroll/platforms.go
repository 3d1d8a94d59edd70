package enroll

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/handfast/handfast/certs"
)

// Platforms lists the providers whose tokens enrol besides the native ones.
type Platforms struct {
	JWK  []JWK
	X5C  []X5C
	OIDC []OIDC
}

// env is what every provider needs of its surroundings.
type env struct {
	trustDomain certs.TrustDomain
	audience    string // the default one: the API's enrolment address
	now         func() time.Time
	logger      *slog.Logger
}

// Error says which provider's configuration is wrong; Kind, Index and Path lead to its
// place in the file.
type Error struct {
	Kind  string // jwk, x5c or oidc
	Index int
	Path  []any // keys and positions below the provider; empty is the provider itself
	Err   error
}

// Error returns the place and the cause.
func (e *Error) Error() string {
	place := fmt.Sprintf("enrolment.%s[%d]", e.Kind, e.Index)
	for _, step := range e.Path {
		if n, ok := step.(int); ok {
			place += fmt.Sprintf("[%d]", n)
			continue
		}
		place += fmt.Sprintf(".%v", step)
	}
	return fmt.Sprintf("%s: %v", place, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Check says what New would refuse in p, as an *Error, without the network.
func (p Platforms) Check(td certs.TrustDomain) error {
	_, err := p.providers(env{trustDomain: td, audience: "https://check.invalid", now: time.Now, logger: slog.New(slog.DiscardHandler)})
	return err
}

func (p Platforms) providers(environment env) ([]provider, error) {
	var list providerList
	for i, c := range p.JWK {
		made, err := newJWK(c, environment)
		if err := list.add("jwk", i, made, err); err != nil {
			return nil, err
		}
	}
	for i, c := range p.X5C {
		made, err := newX5C(c, environment)
		if err := list.add("x5c", i, made, err); err != nil {
			return nil, err
		}
	}
	for i, c := range p.OIDC {
		made, err := newOIDC(c, environment)
		if err := list.add("oidc", i, made, err); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// providerList refuses what is wrong or there twice.
type providerList []provider

func (l *providerList) add(kind string, index int, made provider, err error) error {
	if err != nil {
		place := &Error{Kind: kind, Index: index, Err: err}
		var rule *ruleError
		if errors.As(err, &rule) {
			place.Path, place.Err = []any{"rules", rule.index}, rule.err
		}
		return place
	}
	for _, other := range *l {
		if other.id() == made.id() {
			return &Error{Kind: kind, Index: index, Err: fmt.Errorf("%s is there twice", made.label())}
		}
	}
	*l = append(*l, made)
	return nil
}
