package certs

import dervalue "github.com/handfast/handfast/certs/internal/der"

// Tags of the DER values that are read here.
const (
	tagBoolean         = 0x01
	tagInteger         = 0x02
	tagBitString       = 0x03
	tagOctetString     = 0x04
	tagNull            = 0x05
	tagObjectID        = 0x06
	tagEnumerated      = 0x0a
	tagUTCTime         = 0x17
	tagGeneralizedTime = 0x18
	tagSequence        = 0x30
	tagContext0        = 0xa0
	tagContext1        = 0xa1
	tagContext2        = 0xa2
	tagURI             = 0x86 // uniformResourceIdentifier in a GeneralName
)

// der is DER values one after the other. A list of a million entries needs a reader that does not
// allocate for each.
type der = dervalue.Value

var errDER = dervalue.ErrMalformed
