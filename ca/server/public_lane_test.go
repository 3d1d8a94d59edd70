package server

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/handfast/handfast/revocation"
)

// mirror is a publisher that answers with the DER that it was asked, by either way.
type mirror struct {
	fakeRevocations
	plain *atomic.Int64 // requests that the lane answered
}

func (m mirror) AppendOCSP(dst, request []byte, _ time.Time) []byte {
	if string(request) == "panic" {
		panic("secret of a request")
	}
	m.plain.Add(1)
	return fmt.Appendf(dst, "Content-Type: application/ocsp-response\r\nContent-Length: %d\r\n\r\n%s", len(request), request)
}

func (m mirror) ServeFastHTTP(ctx *fasthttp.RequestCtx) {
	path, ok := revocation.SentPath(ctx)
	request := ctx.PostBody()
	switch {
	case !ok || !revocation.IsOCSPPath(path):
		ctx.SetStatusCode(http.StatusNotFound)
		return
	case string(request) == "panic":
		panic("secret of a request")
	case ctx.IsPost() && string(ctx.Request.Header.ContentType()) != "application/ocsp-request":
		ctx.SetStatusCode(http.StatusUnsupportedMediaType)
		return
	case !ctx.IsPost():
		var err error
		if request, err = revocation.DecodeOCSPPath(nil, path[len("/ocsp"):]); err != nil {
			request = []byte("malformed")
		}
	}
	ctx.SetContentType("application/ocsp-response")
	ctx.SetBody(request)
}

// sent is a connection on which everything has been sent already.
type sent struct {
	net.Conn
	io.Reader
	received bytes.Buffer
}

func (s *sent) Read(p []byte) (int, error)     { return s.Reader.Read(p) }
func (s *sent) Write(p []byte) (int, error)    { return s.received.Write(p) }
func (*sent) Close() error                     { return nil }
func (*sent) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*sent) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*sent) SetDeadline(time.Time) error      { return nil }
func (*sent) SetReadDeadline(time.Time) error  { return nil }
func (*sent) SetWriteDeadline(time.Time) error { return nil }

// laneServer serves connections of a test's own making, with a lane or without one.
type laneServer struct {
	public *publicServer
	plain  *atomic.Int64
}

func newLaneServer(t testing.TB) laneServer {
	plain := new(atomic.Int64)
	s, _ := newServer(t, func(cfg *Config) { cfg.Revocations = mirror{plain: plain} })
	return laneServer{s.newPublicServer(newPublicListener(nil, 0)), plain}
}

// answers returns what comes back, without what differs between two runs, and how many of it the lane answered.
func (l laneServer) answers(reader io.Reader, lane bool) (string, int64) {
	inner := &sent{Reader: reader}
	conn := &publicConn{Conn: inner, listener: l.public.listening}
	if lane {
		conn.lane = l.public.listening.newLane(conn)
	}
	before := l.plain.Load()
	if err := l.public.fast.ServeConn(conn); err != nil && inner.received.Len() == 0 {
		return "an error", 0
	}
	var all strings.Builder
	for from := bufio.NewReader(&inner.received); ; {
		if _, err := from.Peek(1); err != nil {
			return all.String(), l.plain.Load() - before
		}
		response, err := http.ReadResponse(from, nil)
		if err != nil {
			fmt.Fprintf(&all, "no HTTP: %v", err)
			return all.String(), l.plain.Load() - before
		}
		body, err := io.ReadAll(response.Body)
		fmt.Fprintf(&all, "%s close=%v %q %v\n", response.Status, response.Close, strings.ReplaceAll(string(body), response.Header.Get("Request-Id"), "ID"), err)
		for _, name := range slices.Sorted(maps.Keys(response.Header)) {
			values := response.Header[name]
			if name == "Date" || name == "Request-Id" {
				values = []string{"some"}
			}
			fmt.Fprintf(&all, "%s: %q\n", name, values)
		}
	}
}

const plainHead = "Host: ca\r\nUser-Agent: test\r\nAccept: */*\r\nConnection: keep-alive\r\n"

func ocspPost(body string, fields ...string) string {
	return "POST /ocsp HTTP/1.1\r\n" + plainHead + "Content-Type: application/ocsp-request\r\n" + strings.Join(append(fields, ""), "\r\n") +
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
}

func ocspGet(path string, fields ...string) string {
	return "GET /ocsp" + path + " HTTP/1.1\r\n" + strings.Join(append(fields, ""), "\r\n") + plainHead + "\r\n"
}

// laneTraffic is what clients send, and how much of it the lane is to answer by itself.
func laneTraffic() map[string]int64 {
	return map[string]int64{
		ocspPost("one"): 1, ocspPost("one") + ocspGet("/b25l") + ocspPost("two"): 3, ocspGet("//b25l"): 1, ocspGet("/b25%6C"): 1, ocspGet("/b25"): 1, ocspGet("/M"): 0,
		strings.Replace(ocspPost("one"), "/ocsp", "/ocsp/", 1): 1, strings.ToLower(ocspPost("one")[21:]): 0, ocspPost(""): 1,
		strings.Replace(ocspPost("one"), "Content-Length", "CONTENT-LENGTH", 1): 1,
		// What may be read in another way, or asks for something else, is not the lane's; nor is what follows it.
		ocspPost("one") + ocspPost("two", "If-None-Match: *") + ocspPost("three"): 1, ocspPost("one", "Expect: 100-continue"): 0, ocspPost("one", "Connection: close"): 0,
		ocspPost("one", "Transfer-Encoding: chunked"): 0, ocspPost("one", "Content-Length: 3"): 0, ocspPost("one", "Content-Length: 2"): 0, ocspPost("one", "Host: b"): 0, ocspPost("one", "X: \x00"): 0,
		ocspPost("one", " folded"): 0, ocspPost("one", "Accept : x"): 0, ocspPost("one", "Accept: x\nTransfer-Encoding: chunked"): 0, ocspPost("one", "X-Longer-Than-Any-Field: x"): 0,
		ocspPost(strings.Repeat("x", 1024)): 1, ocspPost(strings.Repeat("x", 1025)): 0, ocspPost("one", "Accept: "+strings.Repeat("x", 5000)): 0, ocspPost("one", "Content-Type: text/plain"): 0,
		ocspGet("/b25l?x"): 0, ocspGet(""): 0, ocspGet("/b25l", "Content-Length: 3"): 0, ocspGet("/%"): 0, ocspGet("/ b25l"): 0, ocspGet("x/b25l"): 0, "HEAD" + ocspGet("/b25l")[3:]: 0,
		strings.Replace(ocspPost("one"), "1.1", "1.0", 1): 0, strings.ReplaceAll(ocspPost("one"), "\r\n", "\n"): 0, strings.Replace(ocspPost("one"), "Host: ca\r\n", "", 1): 0,
		"GET /crl/aabb.crl HTTP/1.1\r\nHost: a\r\n\r\n": 0, ocspPost("one") + "\r\n" + ocspPost("two"): 1, "\r\n" + ocspPost("one"): 0, ocspPost("one")[:40]: 0, ocspPost("one") + "POST": 1,
		strings.Replace(ocspPost("one"), "Content-Length: 3", "Content-Length: +3", 1): 0, strings.Replace(ocspPost("one"), "Content-Length: 3", "Content-Length: 0x3", 1): 0,
		strings.Replace(ocspPost("one"), "Content-Length: 3", "Content-Length: 003", 1): 1, ocspPost("panic"): 0, "": 0,
		strings.Replace(ocspPost("one"), "Host: ca", "Host: 192.0.2.1:8080", 1): 1, strings.Replace(ocspPost("one"), "Host: ca", "Host:", 1): 0, strings.Replace(ocspPost("one"), "Host: ca", "Host: [::1]", 1): 0,
		strings.Replace(ocspPost("one"), "Host: ca", "Host: a:b", 1): 0, strings.Replace(ocspPost("one"), "Host: ca", "Host: a:", 1): 0, strings.Replace(ocspPost("one"), "Host: ca", "Host: a b", 1): 0,
	}
}

// With the lane a client gets what it gets without, however its octets are cut into packets.
func TestLaneAnswersAsFasthttpWould(t *testing.T) {
	l := newLaneServer(t)
	for traffic, want := range laneTraffic() {
		without, _ := l.answers(strings.NewReader(traffic), false)
		for name, reader := range map[string]io.Reader{
			"at once": strings.NewReader(traffic), "octet by octet": iotest.OneByteReader(strings.NewReader(traffic)), "in halves": iotest.HalfReader(strings.NewReader(traffic)),
		} {
			got, plain := l.answers(reader, true)
			if got != without {
				t.Errorf("%q %s is answered\n%swithout the lane\n%s", traffic, name, got, without)
			}
			if plain != want {
				t.Errorf("%q %s: the lane answered %d, want %d", traffic, name, plain, want)
			}
		}
	}
}

func FuzzLane(f *testing.F) {
	for traffic := range laneTraffic() {
		f.Add([]byte(traffic), false)
	}
	l := newLaneServer(f)
	f.Fuzz(func(t *testing.T, traffic []byte, slowly bool) {
		var reader io.Reader = bytes.NewReader(traffic)
		if slowly {
			reader = iotest.OneByteReader(reader)
		}
		got, _ := l.answers(reader, true)
		if want, _ := l.answers(bytes.NewReader(traffic), false); got != want && !bytes.Contains(traffic, []byte("HEAD")) {
			t.Fatalf("%q is answered\n%swithout the lane\n%s", traffic, got, want)
		}
	})
}

// No id is given twice.
func TestLaneIDs(t *testing.T) {
	a, b := newRequestIDs(), newRequestIDs()
	seen := make(map[string]bool)
	for range 100 {
		for _, id := range []string{string(a.next()), string(b.next())} {
			if seen[id] || len(id) != 26 || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
				t.Fatalf("%q is no new id", id)
			}
			seen[id] = true
		}
	}
}

func TestDeadlinesAreNotSetAnewEachTime(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		left, limit time.Duration // of the deadline that is set
		want        bool
	}{
		{0, 3 * time.Minute, true}, {3 * time.Minute, 3 * time.Minute, false}, {3*time.Minute - time.Second, 3 * time.Minute, false},
		{3*time.Minute - 1001*time.Millisecond, 3 * time.Minute, true}, {4 * time.Minute, 3 * time.Minute, true}, // later than it may be
		{70 * time.Millisecond, 80 * time.Millisecond, false}, {69 * time.Millisecond, 80 * time.Millisecond, true},
	} {
		if got := outdated(now.Add(test.left), now.Add(test.limit), test.limit); got != test.want {
			t.Errorf("%v left of %v: %v", test.left, test.limit, got)
		}
	}
}

// When the server stops, who waits in a lane is closed at once, and who has begun to ask is answered.
func TestLaneStops(t *testing.T) {
	plain := new(atomic.Int64)
	s, _ := newServer(t, func(cfg *Config) { cfg.Revocations = mirror{plain: plain} })
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	public := s.newPublicServer(newPublicListener(inner, 0))
	served, stopped := make(chan error, 1), make(chan error, 1)
	go func() { served <- public.serve() }()
	var conns [2]net.Conn
	var from [2]*bufio.Reader
	for i := range conns {
		if conns[i], err = net.Dial("tcp", inner.Addr().String()); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
		from[i] = bufio.NewReader(conns[i])
		if got := exchangeOn(t, conns[i], from[i], ocspPost("one")); got.Close {
			t.Fatal("the connection is not kept")
		}
	}
	public.listening.awaitStates(laneWaits, laneWaits)
	request := ocspPost("two")
	if _, err := io.WriteString(conns[1], request[:len(request)-1]); err != nil {
		t.Fatal(err)
	}
	public.listening.awaitStates(laneWaits, laneWorks)
	go func() { stopped <- public.shutdown(t.Context()) }()
	if _, err := from[0].ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("who waits reads %v, want the end", err)
	}
	if got := exchangeOn(t, conns[1], from[1], request[len(request)-1:]); !got.Close {
		t.Error("the last answer does not say that it is")
	}
	if err := errors.Join(<-served, <-stopped); err != nil {
		t.Error(err)
	}
}

// awaitStates waits until the lanes of all connections are in these states, in any order.
func (l *publicListener) awaitStates(want ...int32) {
	for {
		var states []int32
		for _, c := range l.all() {
			states = append(states, c.state.Load())
		}
		slices.Sort(states)
		slices.Sort(want)
		if slices.Equal(states, want) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func exchangeOn(t *testing.T, conn net.Conn, from *bufio.Reader, request string) *http.Response {
	t.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response
}
