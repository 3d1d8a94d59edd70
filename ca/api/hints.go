package api

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/handfast/handfast/certs"
)

// What marks a token as one of Handfast's own; see package ca/enroll, which mints them.
const (
	TokenType   = "handfast-enrol+jwt"
	TokenAlg    = "HS256"
	TokenIssuer = "handfast"
)

// ErrForeignToken says that a token is not one of Handfast's own one-time tokens, so
// that it does not name the CA: the agent's configuration must.
var ErrForeignToken = errors.New("not a Handfast one-time token: name the CA's address and its root's fingerprint in the configuration")

// Hints is what a one-time token says about where to bring it. Nothing in it is
// verified: it is as trustworthy as the way on which the token came.
type Hints struct {
	CA          string // https://host:port
	Fingerprint string // SHA-256 of the root, lower-case hexadecimal
	TrustDomain string
	Service     string
	ExpiresAt   time.Time
}

// TokenHints reads a one-time token without verifying it (only the CA can). It fails
// with ErrForeignToken for other JWTs. Errors never hold a part of the token.
func TokenHints(token string) (Hints, error) {
	if len(token) > MaxToken {
		return Hints{}, fmt.Errorf("enrolment token has %d bytes; at most %d are allowed", len(token), MaxToken)
	}
	if strings.ContainsAny(token, "\r\n") { // which encoding/base64 would ignore
		return Hints{}, errors.New("enrolment token holds a line break: trim what comes from a file or a terminal")
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return Hints{}, errors.New("enrolment token is not a signed JWT (three parts with dots between): copy it whole, without line breaks")
	}
	if _, err := base64.RawURLEncoding.Strict().DecodeString(parts[2]); err != nil {
		return Hints{}, errors.New("enrolment token: the signature is not base64url: copy it whole, without line breaks")
	}
	var header struct {
		Alg  string `json:"alg"`
		Type string `json:"typ"`
	}
	if err := decodePart(parts[0], anyKey, &header); err != nil {
		return Hints{}, fmt.Errorf("enrolment token: header: %w", err)
	}
	if header.Type != TokenType || header.Alg != TokenAlg {
		return Hints{}, ErrForeignToken
	}
	var claims tokenClaims
	if err := decodePart(parts[1], lowerKey, &claims); err != nil {
		return Hints{}, fmt.Errorf("enrolment token: claims: %w", err)
	}
	hints, err := claims.hints()
	if err != nil {
		return Hints{}, fmt.Errorf("enrolment token: %w", err)
	}
	return hints, nil
}

type tokenClaims struct {
	Issuer      string `json:"iss"`
	Audience    string `json:"aud"`
	Subject     string `json:"sub"`
	Expiry      int64  `json:"exp"`
	CA          string `json:"ca"`
	Fingerprint string `json:"fpr"`
}

func (claims *tokenClaims) hints() (Hints, error) {
	if claims.Issuer != TokenIssuer {
		return Hints{}, errors.New("iss is not " + TokenIssuer)
	}
	td, err := certs.ParseTrustDomain(claims.Audience)
	if err != nil {
		return Hints{}, fmt.Errorf("aud: %w", err)
	}
	if _, err := td.ID(claims.Subject); err != nil {
		return Hints{}, fmt.Errorf("sub: %w", err)
	}
	base, err := parseBase(claims.CA)
	if err != nil || base != claims.CA {
		return Hints{}, errors.New("ca is not of the form https://HOST:PORT")
	}
	digest, err := hex.DecodeString(claims.Fingerprint)
	if err != nil || len(digest) != 32 || strings.ToLower(claims.Fingerprint) != claims.Fingerprint {
		return Hints{}, errors.New("fpr is not a SHA-256 in lower-case hexadecimal")
	}
	const year9999 = 253402300799
	if claims.Expiry <= 0 || claims.Expiry > year9999 {
		return Hints{}, errors.New("exp is missing or not a time")
	}
	return Hints{
		CA: base, Fingerprint: claims.Fingerprint, TrustDomain: td.String(),
		Service: claims.Subject, ExpiresAt: time.Unix(claims.Expiry, 0).UTC(),
	}, nil
}

// decodePart ignores fields that it does not know, for newer CAs, but takes none twice.
func decodePart(part string, allowed func(key string) bool, into any) error {
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return errors.New("not base64url")
	}
	if err := checkObject(data, allowed); err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return errors.New("a value of the wrong type")
	}
	return nil
}
