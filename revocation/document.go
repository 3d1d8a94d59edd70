package revocation

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/certs"
)

// CRL is a published list. Treat it as read-only.
type CRL struct {
	Issuer     string   // the authority key identifier, lower-case hexadecimal
	Pieces     [][]byte // the DER, in pieces: those of a long list are shared with the ones before and after it
	Number     *big.Int
	ThisUpdate time.Time
	NextUpdate time.Time
	ETag       string // as in the HTTP header, with its quotes
	Entries    int
}

// DER returns the list in one piece, which for a long one is a copy.
func (c CRL) DER() []byte {
	if len(c.Pieces) == 1 {
		return c.Pieces[0]
	}
	return bytes.Join(c.Pieces, nil)
}

// Size is the length of the DER in octets.
func (c CRL) Size() int {
	size := 0
	for _, piece := range c.Pieces {
		size += len(piece)
	}
	return size
}

// WriteTo writes the DER without putting it together.
func (c CRL) WriteTo(w io.Writer) (int64, error) {
	pieces := net.Buffers(slices.Clone(c.Pieces)) // writing uses it up
	return pieces.WriteTo(w)
}

// document is a CRL as it is served. It never changes.
type document struct {
	pieces     [][]byte // of the DER
	size       int
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
// another hash over megabytes. end is the last octets of the list.
func etagOf(number uint64, end []byte) string {
	return fmt.Sprintf("\"%x-%s\"", number, hex.EncodeToString(end[max(0, len(end)-12):]))
}

func (d *document) export() CRL {
	return CRL{
		Issuer: d.issuer, Pieces: d.pieces, Number: new(big.Int).SetUint64(d.number),
		ThisUpdate: d.thisUpdate, NextUpdate: d.nextUpdate, ETag: d.etag, Entries: d.entries,
	}
}
