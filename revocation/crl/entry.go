// Package crl encodes certificate revocation lists (RFC 5280, section 5). It exists
// beside x509.CreateRevocationList because a list of a million certificates must be
// made anew within milliseconds after a revocation: what was encoded once is copied.
package crl

import (
	"time"

	"github.com/handfast/handfast/certs"
)

// Entry is one element of revokedCertificates.
type Entry struct {
	Serial []byte // big-endian magnitude without leading zeros, 1 to 20 octets
	At     int64  // revocationDate, Unix time
	Reason certs.Reason
}

const (
	tagInteger         = 0x02
	tagUTCTime         = 0x17
	tagGeneralizedTime = 0x18
	tagSequence        = 0x30
)

// reasonPrefix is everything of crlEntryExtensions with one reasonCode (section 5.3.1) but the code.
var reasonPrefix = [...]byte{
	tagSequence, 12, tagSequence, 10, 0x06, 3, 0x55, 0x1d, 0x15, 0x04, 3, 0x0a, 1,
}

// EntrySize returns how many octets AppendEntry appends.
func EntrySize(e Entry) int {
	size := 2 + 2 + integerSize(e.Serial) + timeSize(e.At)
	if e.Reason != certs.Unspecified {
		size += len(reasonPrefix) + 1
	}
	return size
}

// AppendEntry appends the DER of e. Reason 0 is left out, as section 5.3.1 asks.
func AppendEntry(dst []byte, e Entry) []byte {
	// Every length here is below 128, so one octet holds it.
	dst = append(dst, tagSequence, byte(EntrySize(e)-2), tagInteger, byte(integerSize(e.Serial)))
	if e.Serial[0]&0x80 != 0 {
		dst = append(dst, 0)
	}
	dst = append(dst, e.Serial...)
	dst = appendTime(dst, e.At)
	if e.Reason != certs.Unspecified {
		dst = append(dst, reasonPrefix[:]...)
		dst = append(dst, byte(e.Reason))
	}
	return dst
}

// CutEntry returns the first of the entries in der, which AppendEntry encoded, and those behind it.
func CutEntry(der []byte) (entry, rest []byte) {
	size := 2 + int(der[1])
	return der[:size], der[size:]
}

func integerSize(magnitude []byte) int {
	if magnitude[0]&0x80 != 0 {
		return len(magnitude) + 1
	}
	return len(magnitude)
}

// year2050 is where UTCTime gives way to GeneralizedTime (section 4.1.2.5).
var year2050 = time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC).Unix()

func timeSize(unix int64) int {
	if unix < year2050 {
		return 2 + 13
	}
	return 2 + 15
}

// appendTime writes the digits itself because time.AppendFormat would be most of the
// cost of an entry.
func appendTime(dst []byte, unix int64) []byte {
	t := time.Unix(unix, 0).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	if unix < year2050 {
		dst = append(dst, tagUTCTime, 13)
	} else {
		dst = append(dst, tagGeneralizedTime, 15)
		dst = appendTwoDigits(dst, year/100)
	}
	for _, field := range [...]int{year % 100, int(month), day, hour, minute, second} {
		dst = appendTwoDigits(dst, field)
	}
	return append(dst, 'Z')
}

func appendTwoDigits(dst []byte, n int) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }
