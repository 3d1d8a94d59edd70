package certs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// MaxSerialOctets is the longest serial number that RFC 5280, section 4.1.2.2 allows.
const MaxSerialOctets = 20

// Serial is a certificate's serial number: positive, at most 20 octets (RFC 5280,
// section 4.1.2.2). It is comparable and can key a map. The zero value is no serial.
type Serial struct{ octets string } // big-endian, without leading zeros

// ParseSerial reads hexadecimal digits in either case, with or without colons, as
// openssl and this project print them.
func ParseSerial(s string) (Serial, error) {
	digits := strings.ReplaceAll(s, ":", "")
	if len(digits) > 2*(MaxSerialOctets+1) {
		return Serial{}, fmt.Errorf("serial has %d hexadecimal digits; at most %d are allowed", len(digits), 2*MaxSerialOctets)
	}
	if len(digits)%2 == 1 {
		digits = "0" + digits
	}
	octets, err := hex.DecodeString(digits)
	if err != nil {
		return Serial{}, fmt.Errorf("serial %q is not hexadecimal", s)
	}
	return SerialFromBytes(octets)
}

// SerialFromBytes takes the big-endian magnitude.
func SerialFromBytes(octets []byte) (Serial, error) {
	for len(octets) > 0 && octets[0] == 0 {
		octets = octets[1:]
	}
	if len(octets) == 0 {
		return Serial{}, errors.New("serial is zero")
	}
	if len(octets) > MaxSerialOctets {
		return Serial{}, fmt.Errorf("serial has %d octets; at most %d are allowed", len(octets), MaxSerialOctets)
	}
	return Serial{octets: string(octets)}, nil
}

// SerialFromInt takes a certificate's SerialNumber field.
func SerialFromInt(n *big.Int) (Serial, error) {
	if n == nil || n.Sign() <= 0 {
		return Serial{}, errors.New("serial is not positive")
	}
	return SerialFromBytes(n.Bytes())
}

// Bytes returns the big-endian magnitude without leading zeros.
func (s Serial) Bytes() []byte { return []byte(s.octets) }

// Int returns the number.
func (s Serial) Int() *big.Int { return new(big.Int).SetBytes([]byte(s.octets)) }

// IsZero reports whether s is no serial at all.
func (s Serial) IsZero() bool { return s.octets == "" }

// String returns lower-case hexadecimal digits, two an octet.
func (s Serial) String() string { return hex.EncodeToString([]byte(s.octets)) }

// MarshalText returns String.
func (s Serial) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseSerial; an empty text is the zero value.
func (s *Serial) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*s = Serial{}
		return nil
	}
	parsed, err := ParseSerial(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}
