package issuer

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	// zlint is the linter of public CAs. Only the lints taken from RFCs are linked: those of the
	// CA/Browser Forum, browsers and national bodies speak of public web PKI, and
	// the community's e_cert_issued_by_compromised_emudhra_ca of one public CA.
	"github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3/lint"
	_ "github.com/zmap/zlint/v3/lints/rfc"

	"github.com/handfast/handfast/certs"
)

// notApplicable are lints of RFCs that do not fit this PKI, each with its reason.
func notApplicable() map[string]string {
	return map[string]string{
		"e_ext_san_uri_host_not_fqdn_or_ip": "a SPIFFE ID's host is a trust domain, which need not be a DNS name (SPIFFE ID, section 2.1)",
		"w_rfc_dnsname_underscore_in_trd":   "names inside of clusters hold underscores",
		"e_rfc_dnsname_underscore_in_sld":   "names inside of clusters hold underscores",
		"e_rfc_dnsname_hyphen_in_sld":       "it looks for a public suffix; names inside of clusters have none",
	}
}

// linter is a fixed set of lints. It is immutable and safe for concurrent use.
type linter struct{ registry lint.Registry }

func newLinter() (linter, error) {
	var names []string
	for name := range notApplicable() {
		names = append(names, name)
	}
	registry, err := lint.GlobalRegistry().Filter(lint.FilterOptions{
		// Named, because another package of the same program may have registered others.
		IncludeSources: lint.SourceList{lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC6960, lint.RFC6962, lint.RFC8813},
		ExcludeNames:   names,
	})
	if err != nil {
		return linter{}, fmt.Errorf("choose lints: %w", err)
	}
	if len(registry.CertificateLints().Lints()) == 0 {
		return linter{}, errors.New("choose lints: there are none")
	}
	return linter{registry: registry}, nil
}

// run lints a whole certificate. Warnings count: they are RFC 5280's SHOULDs, and what this
// program writes has no excuse.
func (l linter) run(der []byte) error {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("zlint cannot read it: %w", err)
	}
	var findings []string
	for _, one := range l.registry.CertificateLints().Lints() {
		if result := one.Execute(cert, l.registry.GetConfiguration()); result.Status >= lint.Warn {
			findings = append(findings, strings.TrimSpace(one.Name+" "+result.Details))
		}
	}
	if len(findings) > 0 {
		slices.Sort(findings)
		return fmt.Errorf("zlint: %s", strings.Join(findings, "; "))
	}
	return nil
}

// lint runs the linter over the draft. zlint reads whole certificates, so a signature
// of zeros stands in for the one that is not made yet; no lint verifies it.
func (d *Draft) lint() error {
	der, err := assemble(d.tbs, d.profile.issuer.signer.algorithm, make([]byte, 64))
	if err != nil {
		return err
	}
	return d.profile.linter.run(der)
}

// lintProbes drafts, checks and lints one certificate of each shape.
func (p *Profile) lintProbes() error {
	issuer := p.issuer.cert
	// Somewhere inside the issuer's validity: whether it is valid now is asked when a certificate is drafted.
	now := issuer.NotBefore.Add(issuer.NotAfter.Sub(issuer.NotBefore) / 2)
	subjects, err := p.probes()
	if err != nil {
		return err
	}
	return firstFailure(subjects, func(s Subject) error {
		if err := p.lintProbe(s, now); err != nil {
			return fmt.Errorf("%s key, %d DNS names, %d addresses, path of %d characters: %w",
				s.Key.algorithm, len(s.DNSNames), len(s.IPs), len(s.ID.Path()), err)
		}
		return nil
	})
}

// firstFailure calls do for all subjects, on all cores because a start waits for it, and returns
// the error of the first of them that has one.
func firstFailure(subjects []Subject, do func(Subject) error) error {
	errs := make([]error, len(subjects))
	workers := runtime.GOMAXPROCS(0)
	var working sync.WaitGroup
	for w := range workers {
		working.Go(func() {
			for i := w; i < len(subjects); i += workers {
				errs[i] = do(subjects[i])
			}
		})
	}
	working.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Profile) lintProbe(s Subject, now time.Time) error {
	draft, err := p.Draft(s, now)
	if err != nil {
		return err
	}
	if _, err := draft.Check(); err != nil {
		return err
	}
	if p.config.LintEach {
		return nil // Check has linted it
	}
	return draft.lint()
}

func (p *Profile) probes() ([]Subject, error) {
	ids, err := p.probeIDs()
	if err != nil {
		return nil, err
	}
	dns := [][]string{nil, {"probe.example.org", "probe-2.svc.cluster.local"}}
	if p.config.NoDNSNames {
		dns = dns[:1]
	}
	ips := [][]netip.Addr{nil, {netip.AddrFrom4([4]byte{192, 0, 2, 1}), netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1})}}
	if p.config.NoIPs {
		ips = ips[:1]
	}
	var subjects []Subject
	for _, a := range p.config.KeyAlgorithms {
		key, err := probeKey(a)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			for _, names := range dns {
				for _, addresses := range ips {
					subjects = append(subjects, Subject{ID: id, DNSNames: names, IPs: addresses, Key: key})
					if p.config.NoRevAvailBelow > MinLifetime { // a service's ttl may give the other form
						subjects = append(subjects, Subject{ID: id, DNSNames: names, IPs: addresses, Key: key, TTL: MinLifetime})
					}
				}
			}
		}
	}
	return subjects, nil
}

// probeIDs returns identities with each form of subject: PrintableString, UTF8String, none.
func (p *Profile) probeIDs() ([]certs.ID, error) {
	prefix := ""
	if p.config.Reserved {
		prefix = certs.ReservedPrefix + "/"
	}
	var ids []certs.ID
	for _, path := range []string{"probe", "probe_2", strings.Repeat("probe/", 12) + "end"} {
		id, err := p.config.TrustDomain.ID(prefix + path)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// probeKey returns a key that is good for linting only: nobody has its private half.
// Real RSA keys would take seconds to make, and no lint factors a modulus.
func probeKey(a Algorithm) (PublicKey, error) {
	bits := map[Algorithm]int{RSA2048: 2048, RSA3072: 3072, RSA4096: 4096}[a]
	if bits == 0 {
		key, err := GenerateKey(a)
		if err != nil {
			return PublicKey{}, err
		}
		return encodeKey(key.Public(), a)
	}
	octets := make([]byte, bits/8)
	if _, err := rand.Read(octets); err != nil {
		return PublicKey{}, err
	}
	octets[0] |= 0x80
	octets[len(octets)-1] |= 1
	return encodeKey(&rsa.PublicKey{N: new(big.Int).SetBytes(octets), E: rsaExponent}, a)
}
