package revocation

import (
	"math/big"
	"time"
)

// CRL is a published list. Treat it as read-only.
type CRL struct {
	Issuer     string // the authority key identifier, lower-case hexadecimal
	DER        []byte
	Number     *big.Int
	ThisUpdate time.Time
	NextUpdate time.Time
	ETag       string // as in the HTTP header, with its quotes
	Entries    int
}
