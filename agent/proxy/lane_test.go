package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// raw is a client that writes what it likes.
type raw struct {
	*tls.Conn
	in *bufio.Reader
}

func (w *world) raw(t *testing.T, p *Proxy) raw {
	t.Helper()
	conn, err := w.dialTLS(t, p.inboundAddr(), w.webSrc, "http/1.1")
	if err != nil {
		t.Fatal(err)
	}
	return raw{conn, bufio.NewReader(conn)}
}

// ask sends text and reads one answer with its body.
func (r raw) ask(t *testing.T, method, text string) (*http.Response, string) {
	t.Helper()
	io.WriteString(r, text)
	response, err := http.ReadResponse(r.in, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%q: body %q, %v", text, body, err)
	}
	return response, string(body)
}

// unusual is a request that no lane takes: what follows it on a connection goes by net/http.
const unusual = "GET /unusual HTTP/1.1\r\nHost: orders\r\nTE: trailers\r\n\r\n"

// mirror tells what it was asked, but for the client's address, which differs from connection to connection.
func mirror(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var fields []string
	for name, values := range r.Header {
		fields = append(fields, fmt.Sprintf("%s=%q", name, values))
	}
	slices.Sort(fields)
	rw.Header().Set("X-Answer", r.Method)
	fmt.Fprintf(rw, "%s %s host %s length %d %q\n%s", r.Method, r.RequestURI, r.Host, r.ContentLength, body, strings.Join(fields, "\n"))
}

// The lane is there for speed only: what it forwards and answers is what net/http's way would.
func TestLaneIsLikeNetHTTP(t *testing.T) {
	w := newWorld(t)
	in := w.serveInbound(t, webBackend(t, mirror), func(cfg *Config) {
		cfg.Inbound[0].Mode, cfg.Inbound[0].ClientCertChain = ModeHTTP, true
	})
	for _, request := range []string{
		"GET /a?b=c&d=%20 HTTP/1.1\r\nHost: orders\r\nAccept: x\r\nAccept: y\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: ORDERS:1\r\nConnection: keep-alive\r\nUser-Agent: test\r\n\r\n",
		"HEAD /a HTTP/1.1\r\nHost: orders\r\n\r\n",
		"DELETE /a HTTP/1.1\r\nHost: orders\r\n\r\n",
		"DELETE /a HTTP/1.1\r\nHost: orders\r\nContent-Length: 3\r\n\r\nabc",
		"POST /a HTTP/1.1\r\nHost: orders\r\nContent-Length: 0\r\n\r\n",
		"PUT /a HTTP/1.1\r\nHost: orders\r\n\r\n",
		"PATCH /a HTTP/1.1\r\nhost: orders\r\ncontent-length: 3\r\n\r\nabc",
		"POST /big HTTP/1.1\r\nHost: orders\r\nContent-Length: 15000\r\n\r\n" + strings.Repeat("x", 15000),
		"GET / HTTP/1.1\r\nHost: orders\r\nclient-cert: evil\r\nX-FORWARDED-CLIENT-CERT: evil\r\nClient-Cert-Chain: evil\r\n" +
			"Forwarded: for=evil\r\nx-forwarded-for: evil\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: evil\r\n\r\n",
	} {
		method, _, _ := strings.Cut(request, " ")
		fast, slow := w.raw(t, in), w.raw(t, in)
		slow.ask(t, http.MethodGet, unusual)
		gotHead, got := fast.ask(t, method, request)
		wantHead, want := slow.ask(t, method, request)
		if got != want {
			t.Errorf("%.80q: the service was asked\n%s\nby the lane and\n%s\nby net/http", request, got, want)
		}
		for _, head := range []*http.Response{gotHead, wantHead} {
			head.Header.Del("Date")
		}
		if gotHead.StatusCode != wantHead.StatusCode || fmt.Sprint(gotHead.Header) != fmt.Sprint(wantHead.Header) || gotHead.ContentLength != wantHead.ContentLength {
			t.Errorf("%.80q: answered with %v by the lane and with %v by net/http", request, gotHead, wantHead)
		}
		if strings.Contains(got, "evil") {
			t.Errorf("the service was told %s", got)
		}
	}
}

func TestRequestsInOneConnection(t *testing.T) {
	w := newWorld(t)
	in := w.serveInbound(t, webBackend(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			time.Sleep(2 * goneAfter)
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "%s %s", r.URL.Path, body)
	}), withMode(ModeHTTP))
	post := func(path, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: orders\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	}
	conn := w.raw(t, in)
	expect := func(text, want string) {
		t.Helper()
		if _, got := conn.ask(t, http.MethodPost, text); got != want {
			t.Fatalf("the service got %q; want %q", got, want)
		}
	}
	expect(post("/1", "one"), "/1 one")
	expect(post("/2", "two")+post("/slow", "three")+post("/4", "four"), "/2 two") // three in one piece
	expect("", "/slow three")
	expect("", "/4 four")
	io.WriteString(conn, post("/slow", ""))
	time.Sleep(goneAfter + goneAfter/2) // somebody looks whether the client is there, and reads what follows
	expect(post("/6", "six"), "/slow ")
	expect("", "/6 six")
	for _, piece := range strings.SplitAfter(post("/7", "seven"), "\n") {
		if piece == "seven" {
			expect(piece, "/7 seven")
		} else {
			io.WriteString(conn, piece)
		}
	}
	expect(unusual, "/unusual ") // and now by net/http
	expect(post("/8", "eight"), "/8 eight")
}

// Lines may end in LF alone (RFC 9112, section 2.2): such a head must not be waited for.
func TestLinesWithoutCR(t *testing.T) {
	w := newWorld(t)
	in := w.serveInbound(t, webBackend(t, mirror), withMode(ModeHTTP))
	conn := w.raw(t, in)
	began := time.Now()
	if response, _ := conn.ask(t, http.MethodGet, "GET / HTTP/1.1\nHost: orders\n\n"); response.StatusCode != http.StatusOK {
		t.Errorf("status %d", response.StatusCode)
	}
	if took := time.Since(began); took > readHeaderTimeout {
		t.Errorf("the head was waited for %v", took)
	}
}

// A service may answer to the beginning of a body before its end has come.
func TestBodiesAreNotHeldBack(t *testing.T) {
	w := newWorld(t)
	first := make(chan string, 1)
	in := w.serveInbound(t, webBackend(t, func(rw http.ResponseWriter, r *http.Request) {
		half := make([]byte, 5)
		io.ReadFull(r.Body, half)
		first <- string(half)
		rest, _ := io.ReadAll(r.Body)
		rw.Write(rest)
	}), withMode(ModeHTTP))
	conn := w.raw(t, in)
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 10\r\n\r\nfirst")
	if got := <-first; got != "first" {
		t.Fatalf("the service got %q", got)
	}
	if _, got := conn.ask(t, http.MethodPost, "later"); got != "later" {
		t.Errorf("the service got %q", got)
	}
}

func TestClientThatLeavesEndsTheRequest(t *testing.T) {
	w := newWorld(t)
	entered, left := make(chan struct{}), make(chan struct{})
	in := w.serveInbound(t, webBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done() // the connection from the agent has ended
		close(left)
	}), withMode(ModeHTTP))
	conn := w.raw(t, in)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: orders\r\n\r\n")
	<-entered
	conn.Close()
	select {
	case <-left:
	case <-time.After(time.Minute):
		t.Fatal("the service works for nobody")
	}
	waitIdle(t, in)
	for _, event := range in.Status().Events {
		t.Errorf("a client that left is noted as %s: %s", event.What, event.Error)
	}
}

func TestIdleLanesEndInOrder(t *testing.T) {
	w := newWorld(t)
	in := w.serveInbound(t, webBackend(t, mirror), func(cfg *Config) {
		cfg.Inbound[0].Mode, cfg.Inbound[0].IdleTimeout = ModeHTTP, 50*time.Millisecond
	})
	conn := w.raw(t, in)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: orders\r\n\r\n") // on a busy machine it has been idle before, and ends without an answer
	if answer, err := io.ReadAll(conn.in); err != nil {
		t.Errorf("an idle connection ended with %v after %q; want an orderly end", err, answer)
	}
}

// halves is a local service that answers the i-th request on a connection with answers[i] and ends.
func halves(t *testing.T, answers ...string) string {
	return backend(t, func(conn *net.TCPConn) {
		in := bufio.NewReader(conn)
		for _, answer := range answers {
			request, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			io.Copy(io.Discard, request.Body)
			io.WriteString(conn, answer)
		}
	})
}
