package issuer

import (
	"crypto/rand"

	"github.com/handfast/handfast/certs"
)

// serialBits is how much of a serial number is random: all of its 20 octets but the
// sign bit, and the bit below it, which is set so that the length never varies.
const serialBits = 8*certs.MaxSerialOctets - 2

// newSerial returns a serial number's content octets: positive and exactly 20 of them.
func newSerial() ([]byte, error) {
	octets := make([]byte, certs.MaxSerialOctets)
	if _, err := rand.Read(octets); err != nil {
		return nil, err
	}
	octets[0] = octets[0]&0x7f | 0x40
	return octets, nil
}
