package ca

import (
	"encoding/hex"
	"strings"

	"github.com/handfast/handfast/certs"
)

// placeDigits are hexadecimal, followed by a space.
const placeDigits = 8

// Placed puts a place, any number, before a one-time id or an idempotency key. A store may keep
// those with neighbouring places together, so that what is recorded at about the same time, and
// forgotten at about the same time, shares pages. The place is part of the id: whoever makes one must
// always give the same id the same place.
func Placed(place uint32, id string) string {
	octets := []byte{byte(place >> 24), byte(place >> 16), byte(place >> 8), byte(place)}
	return hex.EncodeToString(octets) + " " + id
}

// PlaceOf takes an id apart. An id without a place has 0.
func PlaceOf(id string) (place uint32, rest string) {
	digits, rest, found := strings.Cut(id, " ")
	if !found || len(digits) != placeDigits || strings.ToLower(digits) != digits {
		return 0, id
	}
	octets, err := hex.DecodeString(digits)
	if err != nil {
		return 0, id
	}
	return uint32(octets[0])<<24 | uint32(octets[1])<<16 | uint32(octets[2])<<8 | uint32(octets[3]), rest
}

// placeOfSerial is by its beginning, which is its time.
func placeOfSerial(serial certs.Serial) uint32 {
	place := uint32(0)
	for i, octet := range serial.Bytes() {
		if i < 4 {
			place = place<<8 | uint32(octet)
		}
	}
	return place
}
