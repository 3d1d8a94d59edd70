package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const get = "GET / HTTP/1.1\r\nHost: orders\r\n\r\n"

func TestAnswers(t *testing.T) {
	tests := []struct {
		name, method, answer string
		status               int
		body                 string
		header               http.Header // nil values: must not be there
	}{
		{"length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nab", 200, "ab", http.Header{"X": {"y"}, "Date": {}}},
		{"hop by hop", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nDate: d\r\n\r\n", 200, "", http.Header{"Keep-Alive": nil, "Connection": nil, "Date": {"d"}}},
		{"named in Connection", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-Secret\r\nX-Secret: y\r\n\r\n", 200, "", http.Header{"X-Secret": nil}},
		{"chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", 200, "abc", nil},
		{"until the end", "GET", "HTTP/1.1 200 OK\r\n\r\nabc", 200, "abc", nil},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\n\r\nabc", 200, "abc", nil},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", 200, "", http.Header{"Content-Length": {"7"}}},
		{"HEAD, chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, "", nil},
		{"no content", "GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", nil},
		{"no content with a length", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", 204, "", http.Header{"Content-Length": nil}},
		{"not modified", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nEtag: x\r\n\r\n", 304, "", http.Header{"Etag": {"x"}}},
		{"continue", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", 200, "a", nil},
		{"long", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("y", 200000), 200, strings.Repeat("y", 200000), nil},
		{"long head", "GET", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 50000) + "\r\nContent-Length: 1\r\n\r\na", 200, "a", nil},
		{"underscore", "GET", "HTTP/1.1 200 OK\r\nX_y: z\r\nContent-Length: 1\r\n\r\na", 200, "a", http.Header{"X_y": {"z"}}},
		{"both lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, "", nil},
		{"two lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 502, "", nil},
		{"not HTTP", "GET", "SSH-2.0-OpenSSH\r\n\r\n", 502, "", nil},
		{"nothing", "GET", "", 502, "", nil},
		{"half a head", "GET", "HTTP/1.1 200 OK\r\nX: y\r\n", 502, "", nil},
		{"endless head", "GET", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", maxHeaderBytes), 502, "", nil},
		{"unasked switch", "GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", 502, "", nil},
		{"endless early answers", "GET", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", maxEarlyAnswers+1), 502, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			in := w.serveInbound(t, halves(t, tt.answer), withMode(ModeHTTP))
			conn := w.raw(t, in)
			for range 2 { // the connection goes on
				response, body := conn.ask(t, tt.method, tt.method+" / HTTP/1.1\r\nHost: orders\r\n\r\n")
				if response.StatusCode != tt.status || tt.status != 502 && body != tt.body {
					t.Fatalf("answer %d, body %.40q; want %d, %.40q", response.StatusCode, body, tt.status, tt.body)
				}
				for name, values := range tt.header {
					got, there := response.Header[name]
					if there != (values != nil) || len(values) > 0 && strings.Join(got, "") != values[0] {
						t.Errorf("%s = %q; want %q", name, got, values)
					}
				}
			}
		})
	}
}

func TestEarlyAnswersAndTrailersPass(t *testing.T) {
	w := newWorld(t)
	in := w.serveInbound(t, halves(t, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n1\r\na\r\n0\r\nX-Sum: 42\r\n\r\n"), withMode(ModeHTTP))
	conn := w.raw(t, in)
	if early, _ := conn.ask(t, http.MethodGet, get); early.StatusCode != http.StatusEarlyHints || early.Header.Get("Link") != "</a>" {
		t.Fatalf("the early answer is %v", early)
	}
	final, body := conn.ask(t, http.MethodGet, "")
	if body != "a" || final.Trailer.Get("X-Sum") != "42" {
		t.Errorf("body %q, trailer %v", body, final.Trailer)
	}
}

// What is cut off must not look complete.
func TestTruncatedAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"length": "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
		"chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
	} {
		w := newWorld(t)
		in := w.serveInbound(t, halves(t, answer), withMode(ModeHTTP))
		conn := w.raw(t, in)
		io.WriteString(conn, get)
		if response, err := http.ReadResponse(conn.in, nil); err == nil {
			if body, err := io.ReadAll(response.Body); err == nil {
				t.Errorf("%s: the body looks complete: %q", name, body)
			}
		}
		if _, err := conn.in.ReadByte(); err == nil || err == io.EOF {
			t.Errorf("%s: the connection ended with %v; want a failure", name, err)
		}
	}
}

// A service that closes a connection between two requests costs no request, whatever its method.
func TestServiceThatClosesIdleConnections(t *testing.T) {
	w := newWorld(t)
	in := w.serveInbound(t, halves(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), withMode(ModeHTTP))
	conn := w.raw(t, in)
	for range 5 {
		response, _ := conn.ask(t, http.MethodPost, "POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 1\r\n\r\nx")
		if response.StatusCode != http.StatusOK {
			t.Fatalf("status %d", response.StatusCode)
		}
		waitUnusable(t, &in.inbounds[0].web.targets)
	}
}

// waitUnusable waits until the idle connection's end has come.
func waitUnusable(t *testing.T, pool *targets) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		pool.mu.Lock()
		ended := len(pool.idle) == 1 && !pool.idle[0].usable()
		pool.mu.Unlock()
		if ended {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the service's end never came")
		}
	}
}

// What a service says beyond its answer is no answer to the next request.
func TestUnaskedBytesAnswerNothing(t *testing.T) {
	w := newWorld(t)
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
	in := w.serveInbound(t, halves(t, answer+"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", answer), withMode(ModeHTTP))
	conn := w.raw(t, in)
	for range 3 {
		if _, body := conn.ask(t, http.MethodGet, get); body != "a" {
			t.Fatalf("body %q", body)
		}
	}
}

func TestDrainEndsIdleConnectionsInOrder(t *testing.T) {
	w := newWorld(t)
	in := w.serveInbound(t, halves(t, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"), withMode(ModeHTTP))
	conn := w.raw(t, in)
	conn.ask(t, http.MethodGet, get)
	in.inbounds[0].web.drain(t.Context())
	if _, err := conn.in.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection ended with %v; want an orderly end", err)
	}
}
