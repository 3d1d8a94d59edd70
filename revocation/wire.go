package revocation

import (
	"strconv"
	"time"

	"github.com/handfast/handfast/revocation/ocsp"
)

// AppendOCSP answers an OCSP request for a server that writes HTTP itself, as ServeFastHTTP does
// where no condition (If-None-Match, If-Modified-Since) stands in the request: it appends the
// header fields from Content-Type on, the empty line behind them and the body to dst. The status is
// 200, whatever the answer says. request is the DER; dst must not share its memory. now is the time.
func (p *Publisher) AppendOCSP(dst, request []byte, now time.Time) []byte {
	reply := p.responder.answer(request, now)
	dst = append(dst, "Content-Type: "+typeResponse+"\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(reply.head)+len(reply.tail)), 10)
	dst = append(dst, "\r\nCache-Control: "...)
	if reply.shareable {
		dst = appendCaching(dst, now, reply.due, reply.nextUpdate)
		dst = append(append(dst, "\r\nETag: "...), reply.etag[:]...)
		dst = append(append(dst, "\r\nLast-Modified: "...), reply.times.lastModified...)
		dst = append(append(dst, "\r\nExpires: "...), reply.times.expires...)
	} else {
		dst = append(dst, "no-store"...)
	}
	dst = append(dst, "\r\n\r\n"...)
	return append(append(dst, reply.head...), reply.tail...)
}

// DecodeOCSPPath appends to dst the DER of the OCSP request in the path of a GET, as it was sent and from the
// slash behind /ocsp on, without a query. Where it fails ServeFastHTTP says what is wrong.
func DecodeOCSPPath(dst, sent []byte) ([]byte, error) { return ocsp.DecodePath(dst, sent) }
