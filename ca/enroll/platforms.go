package enroll

import (
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

// Error says which provider's configuration is wrong; Kind and Index lead to its
// place in the file.
type Error struct {
	Kind  string // jwk, x5c or oidc
	Index int
	Err   error
}

// Error returns the place and the cause.
func (e *Error) Error() string { return fmt.Sprintf("enrolment.%s[%d]: %v", e.Kind, e.Index, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func (p Platforms) providers(environment env) ([]provider, error) {
	var out []provider
	add := func(kind string, index int, made provider, err error) error {
		if err != nil {
			return &Error{Kind: kind, Index: index, Err: err}
		}
		for _, other := range out {
			if other.id() == made.id() {
				return &Error{Kind: kind, Index: index, Err: fmt.Errorf("%s is there twice", made.label())}
			}
		}
		out = append(out, made)
		return nil
	}
	for i, c := range p.JWK {
		made, err := newJWK(c, environment)
		if err := add("jwk", i, made, err); err != nil {
			return nil, err
		}
	}
	for i, c := range p.X5C {
		made, err := newX5C(c, environment)
		if err := add("x5c", i, made, err); err != nil {
			return nil, err
		}
	}
	for i, c := range p.OIDC {
		made, err := newOIDC(c, environment)
		if err := add("oidc", i, made, err); err != nil {
			return nil, err
		}
	}
	return out, nil
}
