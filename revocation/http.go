package revocation

import (
	"bytes"
	"mime"
	"net"
	"net/http" // times and texts only: fasthttp serves
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp" // a third of net/http's CPU for an answer of one packet

	"github.com/handfast/handfast/revocation/ocsp"
)

const (
	typeCRL      = "application/pkix-crl"      // RFC 2585, section 4.2
	typeRequest  = "application/ocsp-request"  // RFC 6960, appendix A
	typeResponse = "application/ocsp-response" // the same
	typeText     = "text/plain; charset=utf-8"
	crlMaxAge    = time.Minute                     // how long caches may hide a new CRL; asking again costs a 304
	wrongMethod  = "use GET, or POST for requests" // for humans who try
)

// ServeFastHTTP serves the CRLs below /crl/ and OCSP at /ocsp and below it. It matches
// the path as the client sent it, because base64 in an OCSP GET may hold // and a
// path is decoded once. Any other path is 404. Limits of sizes and times are the
// fasthttp.Server's, and NoDefaultContentType has to be set in it. Nothing of ctx is kept.
func (p *Publisher) ServeFastHTTP(ctx *fasthttp.RequestCtx) {
	switch path, ok := SentPath(ctx); {
	case !ok:
		refuseTarget(ctx)
	case IsOCSPPath(path):
		p.serveOCSP(ctx, path[len(ocspPath):])
	case IsCRLPath(path):
		p.serveCRL(ctx, path)
	default:
		refuse(ctx, http.StatusNotFound, notFound)
	}
}

const notFound = "404 page not found" // http.NotFound's words

// IsOCSPPath reports whether path, as it was sent, is the responder's or below it.
func IsOCSPPath(path []byte) bool {
	rest, ok := bytes.CutPrefix(path, []byte(ocspPath))
	return ok && (len(rest) == 0 || rest[0] == '/')
}

// IsCRLPath reports whether path, as it was sent, is one of a CRL or could be.
func IsCRLPath(path []byte) bool { return bytes.HasPrefix(path, []byte(crlPrefix)) }

// SentPath returns the request's path as it was sent, without the query, and whether the
// request's target is one: fasthttp takes any octets. The result belongs to ctx.
func SentPath(ctx *fasthttp.RequestCtx) ([]byte, bool) {
	target := ctx.Request.Header.RequestURI()
	if len(target) == 0 || target[0] != '/' { // absolute-form, or nonsense
		parsed, err := url.ParseRequestURI(string(target))
		if err != nil {
			return nil, false
		}
		return []byte(parsed.EscapedPath()), true
	}
	path, query, _ := bytes.Cut(target, []byte{'?'})
	return path, printable(path) && printable(query) && escaped(path)
}

// printable and escaped are what url.ParseRequestURI checks in a target that begins with a
// slash; to take it apart would cost more than an answer that is kept.
func printable(part []byte) bool {
	for _, c := range part {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// escaped reports whether each percent sign begins an escape.
func escaped(path []byte) bool {
	for {
		at := bytes.IndexByte(path, '%')
		if at < 0 {
			return true
		}
		if len(path) < at+3 || !isHex(path[at+1]) || !isHex(path[at+2]) {
			return false
		}
		path = path[at+3:]
	}
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// refuseTarget answers what net/http would.
func refuseTarget(ctx *fasthttp.RequestCtx) {
	ctx.SetStatusCode(http.StatusBadRequest)
	ctx.SetContentType(typeText)
	ctx.SetConnectionClose()
	ctx.SetBodyString("400 Bad Request")
}

func (p *Publisher) serveCRL(ctx *fasthttp.RequestCtx, path []byte) {
	if !ctx.IsGet() && !ctx.IsHead() {
		refuseMethod(ctx, "GET, HEAD")
		return
	}
	document := p.document(string(path))
	if document == nil {
		refuse(ctx, http.StatusNotFound, notFound)
		return
	}
	now := p.config.Now()
	cacheFor(ctx, now, now.Add(crlMaxAge), document.nextUpdate)
	validators(ctx, document.etag, document.times)
	if unchangedSince(ctx, document.etag, document.thisUpdate) {
		ctx.SetStatusCode(http.StatusNotModified)
		return
	}
	ctx.SetContentType(typeCRL)
	if len(document.pieces) == 1 {
		ctx.Response.SetBodyRaw(document.pieces[0]) // not copied: it never changes
		return
	}
	pieces := net.Buffers(slices.Clone(document.pieces)) // writing uses it up
	ctx.Response.SetBodyStream(&pieces, document.size)
}

func (p *Publisher) document(path string) *document {
	if s := p.routes[path]; s != nil {
		return s.newest.Load()
	}
	issuer, isCRL := strings.CutPrefix(path, crlPrefix)
	issuer, isFull := strings.CutSuffix(issuer, crlSuffix)
	if !isCRL || !isFull {
		return nil
	}
	return (*p.static.Load())[issuer]
}

func (p *Publisher) serveOCSP(ctx *fasthttp.RequestCtx, rest []byte) {
	switch {
	case ctx.IsPost():
		if !isRequest(ctx.Request.Header.ContentType()) {
			refuse(ctx, http.StatusUnsupportedMediaType, "Content-Type must be "+typeRequest)
			return
		}
		p.answerOCSP(ctx, ctx.PostBody())
	case ctx.IsGet(), ctx.IsHead():
		der, err := ocsp.DecodePath(nil, rest)
		if err != nil {
			der = nil // as malformed as this
		}
		p.answerOCSP(ctx, der)
	default:
		refuseMethod(ctx, "GET, HEAD, POST")
	}
}

func isRequest(contentType []byte) bool {
	if string(contentType) == typeRequest {
		return true
	}
	kind, _, err := mime.ParseMediaType(string(contentType))
	return err == nil && kind == typeRequest
}

// answerOCSP adds the headers of RFC 9919, section 7.2. Failures and answers that are for one
// client only must not stay in any cache.
func (p *Publisher) answerOCSP(ctx *fasthttp.RequestCtx, request []byte) {
	now := p.config.Now().UTC()
	reply := p.responder.answer(request, now)
	if reply.shareable {
		cacheFor(ctx, now, reply.due, reply.nextUpdate)
		etag := string(reply.etag[:])
		validators(ctx, etag, reply.times)
		if !ctx.IsPost() && unchangedSince(ctx, etag, reply.thisUpdate) {
			ctx.SetStatusCode(http.StatusNotModified)
			return
		}
	} else {
		ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	}
	ctx.SetContentType(typeResponse)
	ctx.Response.AppendBody(reply.head)
	ctx.Response.AppendBody(reply.tail)
}

// cacheFor lets caches keep an answer until the earlier of due and nextUpdate.
func cacheFor(ctx *fasthttp.RequestCtx, now, due, nextUpdate time.Time) {
	ctx.Response.Header.SetBytesV(fasthttp.HeaderCacheControl, appendCaching(make([]byte, 0, 64), now, due, nextUpdate))
}

func appendCaching(dst []byte, now, due, nextUpdate time.Time) []byte {
	if due.After(nextUpdate) {
		due = nextUpdate
	}
	dst = append(dst, "public, max-age="...)
	dst = strconv.AppendInt(dst, int64(max(due.Sub(now)/time.Second, 0)), 10)
	return append(dst, ", no-transform, must-revalidate"...)
}

func validators(ctx *fasthttp.RequestCtx, etag string, times *httpTimes) {
	header := &ctx.Response.Header
	header.Set(fasthttp.HeaderETag, etag)
	header.Set(fasthttp.HeaderLastModified, times.lastModified)
	header.Set(fasthttp.HeaderExpires, times.expires)
}

// httpTimes are two times as headers have them. To write them anew each time would be a
// good part of what an answer that is kept costs.
type httpTimes struct{ lastModified, expires string }

func newHTTPTimes(thisUpdate, nextUpdate time.Time) *httpTimes {
	return &httpTimes{
		lastModified: thisUpdate.UTC().Format(http.TimeFormat), expires: nextUpdate.UTC().Format(http.TimeFormat),
	}
}

// unchangedSince evaluates If-None-Match and, without it, If-Modified-Since (RFC 9110,
// section 13.2.2).
func unchangedSince(ctx *fasthttp.RequestCtx, etag string, modified time.Time) bool {
	header := &ctx.Request.Header
	if len(header.Peek(fasthttp.HeaderIfNoneMatch)) > 0 {
		for _, line := range header.PeekAll(fasthttp.HeaderIfNoneMatch) {
			for tag := range strings.SplitSeq(string(line), ",") {
				if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == etag || tag == "*" {
					return true
				}
			}
		}
		return false
	}
	text := header.Peek(fasthttp.HeaderIfModifiedSince)
	if len(text) == 0 {
		return false
	}
	since, err := http.ParseTime(string(text))
	return err == nil && !modified.Truncate(time.Second).After(since)
}

func refuseMethod(ctx *fasthttp.RequestCtx, allowed string) {
	refuse(ctx, http.StatusMethodNotAllowed, wrongMethod)
	ctx.Response.Header.Set(fasthttp.HeaderAllow, allowed)
}

// refuse answers what http.Error would.
func refuse(ctx *fasthttp.RequestCtx, status int, text string) {
	ctx.SetStatusCode(status)
	ctx.SetContentType(typeText)
	ctx.Response.Header.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	ctx.SetBodyString(text + "\n")
}
