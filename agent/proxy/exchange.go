package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/handfast/handfast/agent/internal/httphead"
)

// serve forwards the request that was read, and its answer. It reports whether the connection may go on.
func (l *lane) serve(ctx context.Context, body []byte) bool {
	last := l.web.draining.Load() || nearlyExpired(l.peer, l.web.in.proxy.cfg.Now())
	status, ok := l.exchange(ctx, body, last)
	l.web.count(status)
	return ok && !last
}

// exchange returns the status that the client was sent, 0 if none, and whether the client's connection
// still stands at the beginning of a message.
func (l *lane) exchange(ctx context.Context, body []byte, last bool) (status int, ok bool) {
	in, out := bodyBuffers{}.Get(), bodyBuffers{}.Get()
	defer bodyBuffers{}.Put(in)
	defer bodyBuffers{}.Put(out)
	service, n, err := l.ask(ctx, l.appendRequest(out[:0], body), in)
	if err != nil {
		return l.fail(err, last)
	}
	reply := answer{lane: l, service: service, in: in, filled: n, out: out, last: last}
	status, ok, err = reply.pass()
	switch {
	case err == nil && ok && reply.reusable:
		l.web.targets.put(service)
	case err != nil && status == 0:
		service.Close() //nolint:errcheck // it is given up
		return l.fail(err, last)
	default:
		service.Close() //nolint:errcheck // it is at its end or given up
	}
	if err != nil { // a part was sent: nobody must take it for the whole
		abort(l.client)
	}
	return status, ok && err == nil
}

// fail answers for a service that does not, unless nobody is there to be answered.
func (l *lane) fail(err error, last bool) (status int, ok bool) {
	if l.vigil.left() {
		return 0, false
	}
	l.web.in.proxy.journal.note("request failed", l.web.in.spec.Listen, l.client.RemoteAddr().String(), "target", l.peer, err)
	const status502, text = "HTTP/1.1 502 Bad Gateway", noAnswer + "\n"
	b := append([]byte(nil), status502...)
	b = append(b, "\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(text)), 10)
	b = l.appendEnd(b, false, last)
	if string(l.request.Method) != http.MethodHead {
		b = append(b, text...)
	}
	_, err = l.client.Write(b)
	return http.StatusBadGateway, err == nil
}

// ask sends a request and returns with the first bytes of the answer in in. A connection that was idle may be
// closed by the service at the moment in which it is used: then the request is sent again on a new
// one, if the service cannot have acted upon it or may do so twice.
func (l *lane) ask(ctx context.Context, request, in []byte) (*target, int, error) {
	service, used, err := l.web.targets.get(ctx)
	for {
		if err != nil {
			return nil, 0, err
		}
		l.vigil.begin(service)
		var sent, n int
		if sent, err = service.Write(request); err == nil {
			if n, err = service.Read(in); n > 0 {
				return service, n, nil
			}
		}
		service.Close() //nolint:errcheck // it is of no use
		if !used || l.vigil.left() || sent > 0 && !repeatable(l.request.Method) {
			return nil, 0, errors.Join(errNoAnswer, err)
		}
		used = false
		service, err = l.web.targets.fresh(ctx)
	}
}

var errNoAnswer = errors.New("the local service closed the connection without an answer")

// repeatable are the methods that change nothing (RFC 9110, section 9.2.1).
func repeatable(method []byte) bool {
	return string(method) == http.MethodGet || string(method) == http.MethodHead || string(method) == http.MethodOptions
}

// appendRequest writes the request for the local service. Like the path by way of net/http it drops what the
// outside may have put in place of the identity and of where the request came from.
func (l *lane) appendRequest(b, body []byte) []byte {
	r := &l.request
	b = append(append(append(b, r.Method...), ' '), r.Target...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), r.Host...)
	for _, field := range r.Fields {
		if !ourField(field) {
			b = append(append(b, "\r\n"...), field.Line...)
		}
	}
	b = append(append(b, "\r\nX-Forwarded-Host: "...), r.Host...)
	if len(body) > 0 || string(r.Method) == http.MethodPost || string(r.Method) == http.MethodPut || string(r.Method) == http.MethodPatch {
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(body)), 10)
	}
	b = append(b, l.fields()...)
	return append(append(b, "\r\n\r\n"...), body...)
}

// ourField reports whether only this proxy may set the field. Names with other punctuation than '-' do
// not come here.
func ourField(f httphead.Field) bool {
	return f.Is("client-cert") || f.Is("client-cert-chain") || f.Is("x-forwarded-client-cert") ||
		f.Is("forwarded") || f.Is("x-forwarded-for") || f.Is("x-forwarded-host") || f.Is("x-forwarded-proto")
}

// fields are those that tell who calls. They are the same for every request of a connection, as long as the
// identity of this side is.
func (l *lane) fields() []byte {
	self := l.web.self()
	if l.identity != nil && self == l.self {
		return l.identity
	}
	var b bytes.Buffer
	host, _, err := net.SplitHostPort(l.client.RemoteAddr().String())
	if err == nil {
		b.WriteString("\r\nX-Forwarded-For: " + host)
	}
	b.WriteString("\r\nX-Forwarded-Proto: https")
	for name, values := range l.web.identityOf(l.peer, self) {
		b.WriteString("\r\n" + name + ": " + values[0])
	}
	l.self, l.identity = self, b.Bytes()
	return l.identity
}

// appendEnd ends a response's head.
func (l *lane) appendEnd(b []byte, dated, last bool) []byte {
	if !dated {
		b = append(b, "\r\nDate: "...)
		b = time.Now().UTC().AppendFormat(b, http.TimeFormat)
	}
	if last {
		b = append(b, "\r\nConnection: close"...)
	}
	return append(b, "\r\n\r\n"...)
}

// answer is what the local service says to one request.
type answer struct {
	lane     *lane
	service  *target
	in       []byte // in[:filled] has come from the service
	filled   int
	out      []byte // for what goes to the client
	last     bool   // the client must be told that the connection ends
	reusable bool   // the service's connection stands at the beginning of a message
}

// pass hands the answer to the client as it comes. An error together with a status means that a part was
// sent, and without one that nothing was.
func (a *answer) pass() (status int, ok bool, err error) {
	reply := &a.lane.reply
	for {
		head, err := reply.Parse(a.in[:a.filled])
		if err == nil && a.plain() {
			return a.passPlain(head)
		}
		if !errors.Is(err, httphead.ErrIncomplete) || a.filled == len(a.in) {
			return a.relay()
		}
		n, err := a.service.Read(a.in[a.filled:])
		if a.filled += n; n == 0 {
			return 0, false, errors.Join(errNoAnswer, err)
		}
	}
}

// plain reports whether the answer has a body of known length, or none.
func (a *answer) plain() bool {
	reply := &a.lane.reply
	if reply.Status == http.StatusNoContent {
		return reply.Length == -1
	}
	return reply.Length >= 0 || !a.hasBody(reply.Status)
}

func (a *answer) hasBody(status int) bool {
	return string(a.lane.request.Method) != http.MethodHead && status != http.StatusNoContent && status != http.StatusNotModified
}

func (a *answer) passPlain(head int) (status int, ok bool, err error) {
	reply := &a.lane.reply
	left := max(reply.Length, 0)
	if !a.hasBody(reply.Status) {
		left = 0
	}
	b := a.out[:0]
	b = append(b, reply.Line...)
	dated := false
	for _, field := range reply.Fields {
		dated = dated || field.Is("date")
		b = append(append(b, "\r\n"...), field.Line...)
	}
	b = a.lane.appendEnd(b, dated, a.last)
	body := a.in[head:a.filled]
	a.reusable = !reply.Close && int64(len(body)) <= left // what nobody asked for is no beginning of an answer
	body = body[:min(int64(len(body)), left)]
	left -= int64(len(body))
	if _, err := a.lane.client.Write(append(b, body...)); err != nil {
		return reply.Status, false, nil //nolint:nilerr // the client is gone, which is no failure of ours
	}
	for left > 0 {
		n, err := a.service.Read(a.in[:min(int64(len(a.in)), left)])
		if n > 0 {
			left -= int64(n)
			if _, err := a.lane.client.Write(a.in[:n]); err != nil {
				return reply.Status, false, nil //nolint:nilerr // as above
			}
		}
		if err != nil && left > 0 {
			return reply.Status, false, errors.Join(io.ErrUnexpectedEOF, err)
		}
	}
	return reply.Status, true, nil
}
