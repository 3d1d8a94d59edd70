package issuer

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/handfast/handfast/certs"
)

// A serial number has 20 octets: a clear sign bit, a bit that is set so that the length never
// varies, 38 bits of when it was made, and 120 random ones (RFC 5280 and the CA/Browser Forum
// ask for 64). Serials that are made one after the other so share their beginning: where
// they are sorted, as in the ledger's index, they share pages, and an issuance need not write one of
// its own. The time tells nothing that notBefore does not; no serial depends on it to be unique.
const (
	serialBits     = 120
	serialTimeBits = 8*certs.MaxSerialOctets - 2 - serialBits
	serialTick     = time.Second / 64 // serialTimeBits of them last until 2106, and then begin anew
)

// newSerial returns a serial number's content octets: positive and exactly 20 of them.
func newSerial(now time.Time) ([]byte, error) {
	ticks := uint64(now.Unix())*uint64(time.Second/serialTick) + uint64(time.Duration(now.Nanosecond())/serialTick)
	octets := binary.BigEndian.AppendUint64(make([]byte, 0, certs.MaxSerialOctets+3), 1<<serialTimeBits|ticks&(1<<serialTimeBits-1))
	octets = octets[8-(serialTimeBits+2)/8:][:certs.MaxSerialOctets]
	if _, err := rand.Read(octets[certs.MaxSerialOctets-serialBits/8:]); err != nil {
		return nil, err
	}
	return octets, nil
}
