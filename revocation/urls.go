package revocation

import (
	"strconv"
	"strings"

	"github.com/handfast/handfast/certs"
)

// URLs are the public addresses that an issuer's certificates name. All methods are
// pure: what a certificate says today is what the Publisher serves years later.
type URLs struct {
	Base   string // scheme and public address, such as http://ca.example:8080
	Issuer string // the issuer's subject key identifier, lower-case hexadecimal
	Shards int    // how many partitions the issuer's CRL has; 0 for none
}

// OCSP is the responder's URL, for POST as it is and for GET with a slash and the request appended.
func (u URLs) OCSP() string { return u.base() + ocspPath }

// CAIssuers is where the issuer's own certificate is served (RFC 5280, section 4.2.2.1).
func (u URLs) CAIssuers() string { return u.base() + "/ca/" + u.Issuer + ".crt" }

// Full is the URL of the CRL that lists everything the issuer revoked.
func (u URLs) Full() string { return u.base() + fullPath(u.Issuer) }

// Shard is the CRL that a certificate with this serial number names as its distribution
// point: its partition, or the full CRL where there are no partitions.
func (u URLs) Shard(serial certs.Serial) string {
	if u.Shards <= 0 {
		return u.Full()
	}
	return u.base() + shardPath(u.Issuer, u.Shards, ShardOf(serial, u.Shards))
}

// Delta is the delta CRL that belongs to Shard (RFC 5280, section 4.2.1.15: freshestCRL).
func (u URLs) Delta(serial certs.Serial) string { return deltaOf(u.Shard(serial)) }

func (u URLs) base() string { return strings.TrimRight(u.Base, "/") }

// ShardOf returns the partition of a serial number: its last two octets modulo shards.
// It never changes, because certificates in circulation depend on it.
func ShardOf(serial certs.Serial, shards int) int {
	octets := serial.Bytes()
	low := 0
	for _, octet := range octets[max(0, len(octets)-2):] {
		low = low<<8 | int(octet)
	}
	return low % shards
}

const (
	ocspPath  = "/ocsp"
	crlPrefix = "/crl/"
	crlSuffix = ".crl"
)

func fullPath(issuer string) string { return crlPrefix + issuer + crlSuffix }

func shardPath(issuer string, shards, n int) string {
	return crlPrefix + issuer + "/" + strconv.Itoa(shards) + "/" + strconv.Itoa(n) + crlSuffix
}

func deltaOf(path string) string { return strings.TrimSuffix(path, crlSuffix) + "-delta" + crlSuffix }
