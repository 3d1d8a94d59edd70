package home

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/handfast/handfast/ca/enroll"
)

// maxPlatformFile is the largest key or root file of a platform that is read, in bytes.
const maxPlatformFile = 1 << 20

func (v *validator) enrolment() {
	e := v.raw.Enrolment
	v.out.TokenTTL = v.duration(path{"enrolment", "token_ttl"}, e.TokenTTL, enroll.DefaultTokenTTL, enroll.MinTokenTTL, enroll.MaxTokenTTL)
	before := len(v.found)
	for i, c := range e.JWK {
		v.out.Platforms.JWK = append(v.out.Platforms.JWK, enroll.JWK{
			Name: c.Name, Audiences: c.Audiences, Rules: tokenRules(c.Rules),
			Key: v.file(path{"enrolment", "jwk", i, "key_file"}, c.KeyFile, true),
		})
	}
	for i, c := range e.X5C {
		v.out.Platforms.X5C = append(v.out.Platforms.X5C, enroll.X5C{
			Name: c.Name, Audiences: c.Audiences, Rules: certificateRules(c.Rules),
			Roots: v.file(path{"enrolment", "x5c", i, "roots_file"}, c.RootsFile, true),
		})
	}
	for i, c := range e.OIDC {
		v.out.Platforms.OIDC = append(v.out.Platforms.OIDC, enroll.OIDC{
			Name: c.Name, Issuer: c.Issuer, ClientID: c.ClientID, Hosts: c.Hosts, Rules: tokenRules(c.Rules),
			Roots: v.file(path{"enrolment", "oidc", i, "roots_file"}, c.RootsFile, false),
		})
	}
	if len(v.found) > before || v.out.TrustDomain.IsZero() {
		return // what follows would only repeat it
	}
	var wrong *enroll.Error
	if err := v.out.Platforms.Check(v.out.TrustDomain); errors.As(err, &wrong) {
		v.add(append(path{"enrolment", wrong.Kind, wrong.Index}, wrong.Path...), "%v", wrong.Err)
	} else if err != nil {
		v.add(path{"enrolment"}, "%v", err)
	}
}

// file reads a file that the configuration names, relative to the directory.
func (v *validator) file(where path, name string, required bool) []byte {
	if name == "" {
		if required {
			v.add(where, "missing; name the file")
		}
		return nil
	}
	content, err := readLimited(v.out.Dir.abs(name), maxPlatformFile)
	if err != nil {
		v.add(where, "%v", err)
	}
	return content
}

func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%s has over %d bytes", name, limit)
	}
	return content, nil
}

func tokenRules(raw []rawTokenRule) []enroll.Rule {
	out := make([]enroll.Rule, 0, len(raw))
	for _, r := range raw {
		out = append(out, enroll.Rule{Service: r.Service, Subject: r.Subject, Email: r.Email, Claims: r.Claims})
	}
	return out
}

func certificateRules(raw []rawCertificateRule) []enroll.Rule {
	out := make([]enroll.Rule, 0, len(raw))
	for _, r := range raw {
		out = append(out, enroll.Rule{Service: r.Service, DNS: r.DNS, URI: r.URI, CommonName: r.CommonName})
	}
	return out
}
