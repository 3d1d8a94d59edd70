package home

import (
	"net/netip"
	"time"

	"github.com/handfast/handfast/ca/enroll"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/issuer/keystore"
)

// Config is a validated configuration. Only Load and Init make one; it is never changed
// afterwards. Paths in it are independent of the working directory if the Dir is.
type Config struct {
	Dir            Dir
	Name           string
	TrustDomain    certs.TrustDomain
	Address        string       // where the HTTPS API listens
	PublicAddress  string       // where CRLs, OCSP and roots are served over plain HTTP
	MetricsAddress string       // a plain HTTP listener for metrics; "" is none
	APIURL         string       // https://host:port: what tokens and operator contexts carry
	PublicURL      string       // http://host:port: what certificates carry
	DNSNames       []string     // of the API's certificate
	IPs            []netip.Addr // of the API's certificate
	Passphrase     keystore.PassphraseSource
	IssuingKey     string          // a URI for keystore.Open
	RefusedKeys    *issuer.KeyList // the operator's own list of known-bad keys; nil is none

	Profiles       []issuer.ProfileConfig // of services, by name
	DefaultProfile string
	CRL            CRL
	Retention      time.Duration
	Log            Log
	TokenTTL       time.Duration
	Platforms      enroll.Platforms
	Limits         Limits
}

// CRL says how revocations are published.
type CRL struct {
	Shards       int   // partitions; 0 is none
	FormerShards []int // earlier numbers of them
	Validity     time.Duration
	Interval     time.Duration
}

// Log says what is logged and how; see package logging.
type Log struct {
	Level  string
	Format string
}

// Limits bounds what clients can take; see ca/server. Zero is the server's default.
type Limits struct {
	Slots        int
	FailureRate  float64
	FailureBurst int
	Shutdown     time.Duration
}

// Defaults of what the file leaves open.
const (
	defaultRetention   = 30 * 24 * time.Hour
	minRetention       = time.Hour
	maxRetention       = 10 * 365 * 24 * time.Hour
	defaultCRLValidity = 24 * time.Hour
	defaultCRLInterval = time.Hour
	defaultLogLevel    = "info"
	defaultLogFormat   = "text"
)
