package agent

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/agent/pace"
)

// Config is what an agent needs. Only Token is usually set, and StateDir.
type Config struct {
	// Token yields the enrolment token. Nil is none: then the state must hold an identity
	// that can still be renewed.
	Token TokenSource
	// StateDir is where key, certificate, roots and policy survive a restart: mode 0700,
	// made when missing, one process at a time. "" keeps everything in memory.
	StateDir string
	// CA is the CA's address, "https://host:port". "" takes the token's or the state's.
	CA string
	// Fingerprint is the SHA-256 of the root, in hexadecimal, for tokens that do not
	// carry it (JWK, OIDC, X5C). A one-time token that carries another one is refused.
	Fingerprint string
	// KeyAlgorithm is ecdsa-p256 (the default), ecdsa-p384 or ed25519. The profile must allow it.
	KeyAlgorithm string
	// FullCRLs keeps the full CRL of every issuer, for programs that read it from files. The agent itself, and who
	// follows it over its socket, go by the feed.
	FullCRLs bool

	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Jitter returns a number in [0,1) each time; nil is random.
	Jitter func() float64
	// Logger takes the agent's log; nil discards it.
	Logger *slog.Logger
	// Registerer takes the agent's metrics; nil registers none.
	Registerer prometheus.Registerer
	// FetchStaple asks for the OCSP response that is stapled to the own certificate; nil is plain HTTP.
	FetchStaple StapleFetcher
	// Connect reaches the CA; nil is the HTTPS client of ca/api.
	Connect Connector
}

// Check refuses what cannot work, without touching state or network.
func (c Config) Check() error {
	c.fill()
	if _, ok := keyMakers[c.KeyAlgorithm]; !ok {
		return fmt.Errorf("key algorithm %q: use ecdsa-p256, ecdsa-p384 or ed25519", c.KeyAlgorithm)
	}
	if err := checkAddress(c.CA); err != nil {
		return err
	}
	return checkFingerprint(c.Fingerprint)
}

// fill puts the defaults in.
func (c *Config) fill() {
	if c.Token == nil {
		c.Token = TokenString("")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Jitter == nil {
		c.Jitter = pace.Jitter
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Connect == nil {
		c.Connect = connectHTTPS
	}
	if c.FetchStaple == nil {
		c.FetchStaple = fetchStapleHTTP()
	}
	if c.KeyAlgorithm == "" {
		c.KeyAlgorithm = "ecdsa-p256"
	}
}

func checkAddress(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New("the CA's address must have the form https://HOST:PORT")
	}
	return nil
}

func checkFingerprint(fingerprint string) error {
	if fingerprint == "" {
		return nil
	}
	if digest, err := hex.DecodeString(fingerprint); err != nil || len(digest) != 32 {
		return errors.New("the root's fingerprint must be a SHA-256 in hexadecimal (64 digits)")
	}
	return nil
}

var keyMakers = map[string]func() (crypto.Signer, error){
	"ecdsa-p256": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
	"ecdsa-p384": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
	"ed25519": func() (crypto.Signer, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	},
}
