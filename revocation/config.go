package revocation

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus" // metrics are Prometheus throughout the project
)

// MaxShards is the largest number of partitions: each costs two signatures an Interval.
const MaxShards = 4096

// CRLSigner signs CRLs for one issuer. Implementations are safe for concurrent use.
type CRLSigner interface {
	// ID is the subject key identifier, lower-case hexadecimal.
	ID() string
	Certificate() *x509.Certificate
	// SignatureAlgorithm is the DER AlgorithmIdentifier of every signature.
	SignatureAlgorithm() []byte
	// SignCRL signs the DER of a TBSCertList (RFC 5280, section 5.1.2) and refuses anything
	// else. It comes in pieces: everything before the entries, entries, everything behind them.
	SignCRL(tbs ...[]byte) (signature []byte, err error)
}

// ResponseSigner signs OCSP responses with a delegated key (RFC 6960, section 4.2.2.2).
// Implementations are safe for concurrent use.
type ResponseSigner interface {
	// Certificate is the responder's, signed by the issuer it answers for.
	Certificate() *x509.Certificate
	// SignatureAlgorithm is the DER AlgorithmIdentifier of every signature.
	SignatureAlgorithm() []byte
	// SignResponse signs the DER of a ResponseData and refuses anything else.
	SignResponse(tbs []byte) (signature []byte, err error)
}

// Config says what a Publisher publishes. Log, Issuers and BaseURL have no default.
type Config struct {
	Log     Log
	Issuers []CRLSigner // every issuer with certificates in circulation, also retired ones
	BaseURL string      // http://PUBLIC-ADDRESS, as certificates name it

	Shards       int   // partitions of each issuer's CRL; 0 is none, at most MaxShards
	FormerShards []int // earlier values of Shards: certificates in circulation name their partitions

	Validity     time.Duration // from thisUpdate to nextUpdate of every CRL; default 24 h
	Interval     time.Duration // between publications without a revocation; default 1 h
	DeltaWindow  time.Duration // how old the base of a delta CRL may be; default 2 Intervals
	OCSPValidity time.Duration // from thisUpdate to nextUpdate of every OCSP response; default 1 h

	// Retention is how long after its expiry a revoked certificate is still answered
	// "revoked"; it must not be shorter than the ledger's own. Default 30 days.
	Retention time.Duration
	// OCSPCache is how many signed responses are kept; each takes about 0.6 KB.
	// Default 100,000; negative keeps none.
	OCSPCache int
	// OCSPSigning is how many responses are made at a time, from the question to the
	// ledger to the signature; who asks for one more is told to try later. Default 256.
	OCSPSigning int

	Now        func() time.Time      // nil is time.Now
	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil leaves the metrics unregistered
}

// withDefaults returns the configuration with every default filled in, or says what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	if c.Log == nil {
		return c, errors.New("revocation: Config.Log is missing")
	}
	base, err := url.Parse(c.BaseURL)
	if err != nil || base.Scheme != "http" || base.Host == "" || (base.Path != "" && base.Path != "/") || base.RawQuery != "" {
		return c, fmt.Errorf("revocation: base URL %q: give http://HOST:PORT, because certificates name it and checking an https one would need another certificate", c.BaseURL)
	}
	setDefault(&c.Validity, 24*time.Hour)
	setDefault(&c.Interval, time.Hour)
	setDefault(&c.DeltaWindow, 2*c.Interval)
	setDefault(&c.OCSPValidity, time.Hour)
	setDefault(&c.Retention, 30*24*time.Hour)
	if c.OCSPCache == 0 {
		c.OCSPCache = 100_000
	}
	if c.OCSPSigning == 0 {
		c.OCSPSigning = 256
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, errors.Join(c.checkTimes(), c.checkShards(), c.checkIssuers())
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

func (c Config) checkTimes() error {
	switch {
	case c.Interval < time.Second:
		return fmt.Errorf("revocation: interval %v is shorter than one second, the resolution of a CRL's times", c.Interval)
	case c.Validity < 2*c.Interval:
		return fmt.Errorf("revocation: validity %v is less than twice the interval %v: one late publication would leave an expired CRL", c.Validity, c.Interval)
	case c.DeltaWindow < c.Interval:
		return fmt.Errorf("revocation: delta window %v is shorter than the interval %v: no base would lie in it", c.DeltaWindow, c.Interval)
	case c.OCSPValidity < time.Minute:
		return fmt.Errorf("revocation: OCSP validity %v is shorter than one minute, less than clocks differ", c.OCSPValidity)
	case c.OCSPSigning < 0:
		return fmt.Errorf("revocation: %d OCSP responses at a time: give a positive number", c.OCSPSigning)
	case c.Retention < 0:
		return fmt.Errorf("revocation: retention %v is negative", c.Retention)
	}
	return nil
}

func (c Config) checkShards() error {
	for i, shards := range c.partitions() {
		if shards < 0 || shards > MaxShards || (shards == 0 && i > 0) {
			return fmt.Errorf("revocation: %d partitions: give 0 to %d", shards, MaxShards)
		}
		if slices.Index(c.partitions(), shards) != i {
			return fmt.Errorf("revocation: %d partitions are named twice in Shards and FormerShards", shards)
		}
	}
	return nil
}

// partitions lists every number of partitions that is published.
func (c Config) partitions() []int { return append([]int{c.Shards}, c.FormerShards...) }

func (c Config) checkIssuers() error {
	if len(c.Issuers) == 0 {
		return errors.New("revocation: Config.Issuers is empty")
	}
	seen := make(map[string]bool, len(c.Issuers))
	for _, signer := range c.Issuers {
		id := signer.ID()
		if got := hex.EncodeToString(signer.Certificate().SubjectKeyId); got != id || id == "" {
			return fmt.Errorf("revocation: issuer %q has subject key identifier %q in its certificate", id, got)
		}
		if seen[id] {
			return fmt.Errorf("revocation: issuer %q is there twice", id)
		}
		seen[id] = true
	}
	return nil
}
