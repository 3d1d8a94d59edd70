package revocation

import (
	"bufio"
	"bytes"
	"crypto"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// web serves a publisher over HTTP.
type web struct {
	URL      string
	listener net.Listener
	client   *http.Client
}

// newWeb listens on loopback; start serves.
func newWeb(t testing.TB) *web {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return &web{URL: "http://" + listener.Addr().String(), listener: listener, client: &http.Client{Transport: &http.Transport{}}}
}

func (w *web) start(t testing.TB, p *Publisher) {
	t.Helper()
	server := newFastServer(p)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(w.listener) }()
	t.Cleanup(func() {
		w.client.CloseIdleConnections()
		w.listener.Close()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

func newFastServer(p *Publisher) *fasthttp.Server {
	return &fasthttp.Server{
		Handler: p.ServeFastHTTP, NoDefaultServerHeader: true, NoDefaultContentType: true, ReadBufferSize: 20 << 10,
		DisablePreParseMultipartForm: true, CloseOnShutdown: true,
	}
}

func serve(t testing.TB, b *bench) *web {
	t.Helper()
	w := newWeb(t)
	w.start(t, b.Publisher)
	return w
}

// script is a connection on which everything has been sent already.
type script struct {
	sent     *bytes.Reader
	received bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)     { return s.sent.Read(p) }
func (s *script) Write(p []byte) (int, error)    { return s.received.Write(p) }
func (*script) Close() error                     { return nil }
func (*script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*script) SetDeadline(time.Time) error      { return nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

// Whatever octets arrive on a connection, nothing panics, all that is answered is HTTP, and
// a request is not answered twice.
func FuzzConnection(f *testing.F) {
	b := newBench(f, nil)
	serial := serialOfInt(f, 1)
	b.log.issue(b.ca.ID(), serial)
	der := marshal(f, nil, b.certID(f, crypto.SHA1, serial))
	get := "GET /ocsp/" + base64.StdEncoding.EncodeToString(der) + " HTTP/1.1\r\nHost: a\r\n\r\n"
	post := fmt.Sprintf("POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Type: application/ocsp-request\r\nContent-Length: %d\r\n\r\n%s", len(der), der)
	for _, seed := range []string{
		get, post, get + get + post, strings.Replace(get, "1.1", "1.0", 1), post[:len(post)-1], "HEAD" + get[3:],
		"GET " + fullPath(b.ca.ID()) + " HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n",
		"POST /ocsp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
		"POST /ocsp HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
	} {
		f.Add([]byte(seed))
	}
	server := newFastServer(b.Publisher)
	f.Fuzz(func(t *testing.T, sent []byte) {
		conn := &script{sent: bytes.NewReader(sent)}
		_ = server.ServeConn(conn) // what is wrong with the request is the client's business
		answers, reader := 0, bufio.NewReader(&conn.received)
		for {
			if _, err := reader.Peek(1); err == io.EOF {
				break
			}
			if bytes.Contains(sent, []byte("HEAD")) {
				return // which answers have no body cannot be told from outside
			}
			response, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatalf("%q is answered with no HTTP: %v", sent, err)
			}
			if _, err := io.Copy(io.Discard, response.Body); err != nil {
				t.Fatalf("%q: %v", sent, err)
			}
			if response.StatusCode >= 200 {
				answers++
			}
		}
		if lines := bytes.Count(sent, []byte{'\n'}); answers > lines+1 {
			t.Fatalf("%q has %d answers", sent, answers)
		}
	})
}
