package api

import (
	"encoding/base64"
	"time"
)

// Encode returns what json.Marshal returns, for less: it is most of what the CA sends. RenewAfter is in UTC. The error
// is about a time that RFC 3339 cannot write.
func (i Issued) Encode() ([]byte, error) {
	at, err := i.RenewAfter.MarshalText()
	if err != nil {
		return nil, err
	}
	size := len(`{"chain":,"roots":,"renew_after":"","grace":""}`) + len(at) + len(maxDurationText)
	for _, list := range [][][]byte{i.Chain, i.Roots} {
		size += len("null")
		for _, der := range list {
			size += len(`"",`) + base64.StdEncoding.EncodedLen(len(der))
		}
	}
	b := append(make([]byte, 0, size), `{"chain":`...)
	b = appendBinaries(b, i.Chain)
	b = append(b, `,"roots":`...)
	b = appendBinaries(b, i.Roots)
	b = append(b, `,"renew_after":"`...)
	b = append(b, at...)
	b = append(b, `","grace":"`...)
	b = append(b, time.Duration(i.Grace).String()...)
	return append(b, `"}`...), nil
}

const maxDurationText = "-2562047h47m16.854775808s"

func appendBinaries(b []byte, list [][]byte) []byte {
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for n, der := range list {
		if n > 0 {
			b = append(b, ',')
		}
		if der == nil {
			b = append(b, "null"...)
			continue
		}
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, der)
		b = append(b, '"')
	}
	return append(b, ']')
}
