package revocation

import (
	"encoding/hex"
	"fmt"
	"math/big"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/certs"
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

// document is a CRL as it is served. It never changes.
type document struct {
	der        []byte
	issuer     string
	number     uint64
	thisUpdate time.Time
	nextUpdate time.Time
	times      *httpTimes
	etag       string
	entries    int
	revoked    map[certs.Serial]Entry // of a static CRL; those that are published from the log stand in their history
}

// slot holds the newest document at a path. Readers take the pointer and never wait.
type slot struct{ newest atomic.Pointer[document] }

// etagOf tells CRLs apart by their number and the end of their signature, which spares
// another hash over megabytes.
func etagOf(number uint64, der []byte) string {
	return fmt.Sprintf("\"%x-%s\"", number, hex.EncodeToString(der[max(0, len(der)-12):]))
}

func (d *document) export() CRL {
	return CRL{
		Issuer: d.issuer, DER: d.der, Number: new(big.Int).SetUint64(d.number),
		ThisUpdate: d.thisUpdate, NextUpdate: d.nextUpdate, ETag: d.etag, Entries: d.entries,
	}
}
