package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/revocation"
)

const (
	// deadlineSlack is how much earlier than it might a connection's time may be up: to set a
	// deadline anew for each of thousands of requests a second is a good part of what they cost.
	deadlineSlack = time.Second
	// maxUnsent is how many octets of answers to requests that came together wait for each other.
	maxUnsent = 16 << 10
)

// lane answers the plain OCSP requests of a connection before fasthttp sees any of them: to
// parse one in general and to put its answer's head together costs more than to find the
// answer. The first request that is not plain takes the connection to fasthttp, for good. The
// goroutine that reads from the connection owns the lane.
type lane struct {
	server *Server
	conn   *publicConn
	out    []byte // answers that are not sent yet
	der    []byte // of the request in a path
	ids    requestIDs
	date   []byte // as the header has it, of the second
	second int64  // Unix time

	now             time.Time // of the last answer, by the system's clock; zero before the first one
	reading         bool      // the end of the time for the rest of a request is set
	readBy, writeBy time.Time // the deadlines that are set
	ends            bool      // the server stops: nothing is answered any more
}

func (s *Server) newLane(c *publicConn) *lane {
	return &lane{server: s, conn: c, out: make([]byte, 0, 2<<10), ids: newRequestIDs()}
}

// run answers until something comes that is not the lane's business, and returns that as a
// Read into p would.
func (l *lane) run(p []byte) (int, error) {
	defer l.conn.state.Store(laneLeft)
	have := 0
	for {
		n, err := l.read(p[have:], have > 0)
		have += n
		if have == 0 {
			if !l.now.IsZero() {
				err = io.EOF // whatever ends a connection between two requests, nobody has to be told
			}
			return 0, err
		}
		if err != nil {
			return have, nil // fasthttp will find the same, and knows what to answer
		}
		rest, ours, err := l.answer(p[:have])
		if err != nil || l.ends {
			return 0, io.EOF
		}
		have = copy(p, rest)
		if !ours || have == len(p) {
			return have, l.conn.SetReadDeadline(time.Now().Add(l.server.cfg.Limits.ReadHeader))
		}
	}
}

// read waits for a request, or within one for its rest. The time for the rest runs from the
// request's beginning.
func (l *lane) read(p []byte, within bool) (int, error) {
	limits := l.server.cfg.Limits
	switch {
	case l.now.IsZero(): // fasthttp has set the deadline of the first request
	case !within:
		l.reading = false
		if by := l.now.Add(limits.Idle); outdated(l.readBy, by, limits.Idle) {
			l.readBy = by
			if err := l.conn.SetReadDeadline(by); err != nil {
				return 0, err
			}
		}
		if !l.conn.rest() {
			return 0, io.EOF
		}
	case !l.reading:
		l.reading, l.readBy = true, time.Now().Add(limits.ReadHeader)
		if err := l.conn.SetReadDeadline(l.readBy); err != nil {
			return 0, err
		}
	}
	n, err := l.conn.Conn.Read(p)
	if !within && !l.conn.work() {
		return 0, io.EOF
	}
	return n, err
}

// outdated reports whether a deadline has to be set anew to be up by about a time, which is a limit from now.
func outdated(set, by time.Time, limit time.Duration) bool {
	early := by.Sub(set)
	return early < 0 || early > min(deadlineSlack, limit/8)
}

// answer answers the plain requests that in begins with and returns the rest. Unless that is ours
// it is fasthttp's.
func (l *lane) answer(in []byte) (rest []byte, ours bool, err error) {
	ours = true
	for len(in) > 0 && !l.ends {
		r, verdict := readPlain(in)
		if verdict == partial {
			break
		}
		if ours = verdict == plain && l.add(r); !ours {
			break
		}
		in, l.reading = in[r.size:], false
		if len(l.out) > maxUnsent {
			if err := l.send(); err != nil {
				return nil, true, err
			}
		}
	}
	return in, ours, l.send()
}

// send writes the answers that were collected.
func (l *lane) send() error {
	if len(l.out) == 0 {
		return nil
	}
	limit := l.server.cfg.Limits.Write
	if by := l.now.Add(limit); outdated(l.writeBy, by, limit) {
		l.writeBy = by
		if err := l.conn.SetWriteDeadline(by); err != nil {
			return err
		}
	}
	_, err := l.conn.Conn.Write(l.out)
	l.out = l.out[:0]
	return err
}

// add appends the answer to a request, with what observePublished does around it. It reports false if
// it cannot answer.
func (l *lane) add(r plainRequest) (answered bool) {
	der := r.body
	if !r.post {
		var err error
		if der, err = revocation.DecodeOCSPPath(l.der[:0], r.path); err != nil {
			return false // malformed, or no URL: fasthttp's handler tells
		}
		l.der = der
	}
	s, before := l.server, len(l.out)
	begin := time.Now()
	id := l.ids.next()
	s.metrics.inFlight.Inc()
	defer func() {
		s.metrics.inFlight.Dec()
		if cause := recover(); cause != nil {
			n := note{id: string(id), route: publicRoute}
			s.panicked(withID(&n), &n, cause)
			l.out, answered = l.out[:before], false // fasthttp's handler answers
		}
	}()
	now := s.cfg.Now()
	l.ends = l.conn.listener.stopping.Load()
	l.appendHead(id, now)
	l.out = s.cfg.Revocations.AppendOCSP(l.out, der, now)
	l.now = begin
	l.observe(id, time.Since(begin), l.out[before:])
	return true
}

// appendHead begins an answer: what stands in every one.
func (l *lane) appendHead(id []byte, now time.Time) {
	if second := now.Unix(); second != l.second || l.date == nil {
		l.second, l.date = second, now.UTC().AppendFormat(l.date[:0], http.TimeFormat)
	}
	l.out = append(append(l.out, "HTTP/1.1 200 OK\r\nDate: "...), l.date...)
	l.out = append(append(l.out, "\r\n"+api.HeaderRequestID+": "...), id...)
	if l.ends {
		l.out = append(l.out, "\r\nConnection: close"...)
	}
	l.out = append(l.out, "\r\n"...)
}

func (l *lane) observe(id []byte, took time.Duration, answer []byte) {
	s := l.server
	s.metrics.observePublished(http.StatusOK, took)
	if !s.cfg.Logger.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	n := note{id: string(id), route: publicRoute}
	_, body, _ := bytes.Cut(answer, []byte("\r\n\r\n"))
	s.log(withID(&n), slog.LevelDebug, &n, answered{
		status: http.StatusOK, remote: l.conn.RemoteAddr().String(), bytes: int64(len(body)), took: took,
	})
}

// requestIDs gives the requests of a connection ids: the same 90 random bits, and a number. They look
// like rand.Text's, which costs more than the rest of a head.
type requestIDs struct {
	text   [26]byte
	number uint64
}

func newRequestIDs() (ids requestIDs) {
	copy(ids.text[:], rand.Text())
	return ids
}

// next returns the next id, which stays as it is until the one after it.
func (ids *requestIDs) next() []byte {
	const digits, alphabet = 8, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	ids.number++
	for i, n := len(ids.text)-1, ids.number; i >= len(ids.text)-digits; i-- {
		ids.text[i] = alphabet[n%32]
		n /= 32
	}
	return ids.text[:]
}
