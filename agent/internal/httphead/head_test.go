package httphead

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const plain = "GET /a/b?c=d HTTP/1.1\r\nHost: orders\r\n"

func TestRequest(t *testing.T) {
	var r Request
	head := "POST /v1/a%2Fb?x=1&y=%20 HTTP/1.1\r\nHost: orders:8443\r\nUser-Agent:\tcurl/8 \r\nContent-Length: 4\r\nConnection: Keep-Alive\r\nEmpty:\r\n\r\n"
	n, err := r.Parse([]byte(head + "body"))
	if err != nil || n != len(head) {
		t.Fatalf("Parse = %d, %v; want %d", n, err, len(head))
	}
	if string(r.Method) != "POST" || string(r.Target) != "/v1/a%2Fb?x=1&y=%20" || string(r.Host) != "orders:8443" || r.Length != 4 {
		t.Errorf("parsed as %s %s, host %s, length %d", r.Method, r.Target, r.Host, r.Length)
	}
	if len(r.Fields) != 2 || string(r.Fields[0].Value) != "curl/8" || !r.Fields[0].Is("user-agent") || len(r.Fields[1].Value) != 0 {
		t.Errorf("fields %q", r.Fields)
	}
	for end := range len(head) {
		if _, err := r.Parse([]byte(head[:end])); !errors.Is(err, ErrIncomplete) {
			t.Fatalf("the first %d bytes: %v; want ErrIncomplete", end, err)
		}
	}
}

func TestUnusualRequests(t *testing.T) {
	tests := map[string]string{
		"no host":                "GET / HTTP/1.1\r\nA: b\r\n",
		"two hosts":              plain + "Host: other\r\n",
		"empty host":             "GET / HTTP/1.1\r\nHost:\r\n",
		"host with a path":       "GET / HTTP/1.1\r\nHost: a/b\r\n",
		"absolute target":        "GET http://a/ HTTP/1.1\r\nHost: a\r\n",
		"target like a host":     "GET //a/b HTTP/1.1\r\nHost: a\r\n",
		"asterisk":               "OPTIONS * HTTP/1.1\r\nHost: a\r\n",
		"CONNECT":                "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n",
		"other method":           "BREW / HTTP/1.1\r\nHost: a\r\n",
		"lower-case method":      "get / HTTP/1.1\r\nHost: a\r\n",
		"HTTP/1.0":               "GET / HTTP/1.0\r\nHost: a\r\n",
		"HTTP/2's preface":       "PRI * HTTP/2.0\r\n",
		"two spaces":             "GET  / HTTP/1.1\r\nHost: a\r\n",
		"tab":                    "GET\t/ HTTP/1.1\r\nHost: a\r\n",
		"fragment":               "GET /#a HTTP/1.1\r\nHost: a\r\n",
		"broken escape":          "GET /%2 HTTP/1.1\r\nHost: a\r\n",
		"broken escape in query": "GET /?%zz HTTP/1.1\r\nHost: a\r\n",
		"semicolon in query":     "GET /?a;b HTTP/1.1\r\nHost: a\r\n",
		"backslash":              "GET /a\\b HTTP/1.1\r\nHost: a\r\n",
		"lone LF":                "GET / HTTP/1.1\r\nHost: a\nX: y\r\n",
		"lone CR":                "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n",
		"NUL":                    plain + "X: a\x00b\r\n",
		"folded line":            plain + "X: a\r\n b: c\r\n",
		"space before colon":     plain + "Content-Length : 4\r\n",
		"no colon":               plain + "X\r\n",
		"empty name":             plain + ": x\r\n",
		"underscore":             plain + "Content_Length: 4\r\n",
		"chunked":                plain + "Transfer-Encoding: chunked\r\n",
		"chunked, hidden":        plain + "Content-Length: 4\r\ntransfer-encoding: xchunked\r\n",
		"two lengths":            plain + "Content-Length: 4\r\nContent-Length: 4\r\n",
		"list of lengths":        plain + "Content-Length: 4, 4\r\n",
		"signed length":          plain + "Content-Length: +4\r\n",
		"octal length":           plain + "Content-Length: 010\r\n",
		"hexadecimal length":     plain + "Content-Length: 0x4\r\n",
		"empty length":           plain + "Content-Length:\r\n",
		"enormous length":        plain + "Content-Length: 9999999999999999\r\n",
		"close":                  plain + "Connection: close\r\n",
		"named in Connection":    plain + "Connection: keep-alive, X-A\r\nX-A: b\r\n",
		"upgrade":                plain + "Connection: Upgrade\r\nUpgrade: websocket\r\n",
		"upgrade alone":          plain + "Upgrade: websocket\r\n",
		"expect":                 plain + "Expect: 100-continue\r\n",
		"te":                     plain + "TE: trailers\r\n",
		"trailer":                plain + "Trailer: X\r\n",
		"keep-alive":             plain + "Keep-Alive: timeout=5\r\n",
		"proxy-connection":       plain + "Proxy-Connection: keep-alive\r\n",
		"proxy-authorization":    plain + "Proxy-Authorization: Basic x\r\n",
		"not ASCII":              plain + "X: \xe9\r\n",
		"many fields":            plain + strings.Repeat("X: y\r\n", maxFields+1),
	}
	tests["lines that end in LF, so far"] = "GET / HTTP/1.1\nHost: a" // and what the loop adds ends no head
	for name, head := range tests {
		var r Request
		if _, err := r.Parse([]byte(head + "\r\n")); !errors.Is(err, ErrUnusual) {
			t.Errorf("%s: %v; want ErrUnusual", name, err)
		}
	}
}

func TestResponse(t *testing.T) {
	tests := []struct {
		head   string
		status int // 0: unusual
		length int64
		closes bool
		fields int
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: caf\xe9\r\n", 200, 3, false, 2},
		{"HTTP/1.1 404\r\nContent-Length: 0\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive\r\n", 404, 0, false, 1},
		{"HTTP/1.1 503 Service Unavailable\r\nConnection: Close\r\n", 503, -1, true, 0},
		{"HTTP/1.1 204 No Content\r\nDate: x\r\n", 204, -1, false, 1},
		{"HTTP/1.1 100 Continue\r\n", 0, 0, false, 0},
		{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n", 0, 0, false, 0},
		{"HTTP/1.0 200 OK\r\n", 0, 0, false, 0},
		{"HTTP/1.1 2000 OK\r\n", 0, 0, false, 0},
		{"HTTP/1.1 600 OK\r\n", 0, 0, false, 0},
		{"HTTP/1.1 20x OK\r\n", 0, 0, false, 0},
		{"HTTP/1.1 200 O\rK\r\n", 0, 0, false, 0},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", 0, 0, false, 0},
		{"HTTP/1.1 200 OK\r\nTrailer: X\r\n", 0, 0, false, 0},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n", 0, 0, false, 0},
		{"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n", 0, 0, false, 0},
		{"HTTP/1.1 200 OK\r\nConnection: X\r\nX: y\r\n", 0, 0, false, 0},
		{"HTTP/1.1 200 OK\r\nX: y\r\n z\r\n", 0, 0, false, 0},
	}
	for _, tt := range tests {
		var r Response
		_, err := r.Parse([]byte(tt.head + "\r\n"))
		if tt.status == 0 {
			if !errors.Is(err, ErrUnusual) {
				t.Errorf("%q: %v; want ErrUnusual", tt.head, err)
			}
			continue
		}
		if err != nil || r.Status != tt.status || r.Length != tt.length || r.Close != tt.closes || len(r.Fields) != tt.fields {
			t.Errorf("%q: %+v, %v", tt.head, r, err)
		}
	}
}

// FuzzRequest: what is accepted, net/http reads in the same way.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(plain + "\r\n"))
	f.Add([]byte(plain + "Content-Length: 3\r\nX: y\r\n\r\nabc"))
	f.Add([]byte(plain + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Request
		n, err := r.Parse(b)
		if err != nil {
			return
		}
		reader := bufio.NewReaderSize(bytes.NewReader(b), max(16, 2*len(b)))
		want, err := http.ReadRequest(reader)
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", b, err)
		}
		if rest, _ := io.ReadAll(reader); want.ContentLength == 0 && !bytes.Equal(rest, b[n:]) {
			t.Errorf("%q: the head ends elsewhere for net/http", b)
		}
		// What goes out is Target as it stands: net/http, which parses and writes it anew, must mean the same.
		if want.Method != string(r.Method) || want.URL.RequestURI() != string(r.Target) || want.Host != string(r.Host) || want.ContentLength != r.Length {
			t.Errorf("%q: %s %s %s %d here and %s %s %s %d in net/http", b, r.Method, r.Target, r.Host, r.Length, want.Method, want.URL.RequestURI(), want.Host, want.ContentLength)
		}
		if len(want.TransferEncoding) > 0 || len(want.Trailer) > 0 || want.Close {
			t.Errorf("%q: net/http sees %v, %v, close %v", b, want.TransferEncoding, want.Trailer, want.Close)
		}
		compareFields(t, r.Fields, want.Header, "Content-Length", "Connection")
	})
}

// FuzzResponse: what is accepted, net/http reads in the same way.
func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\n\r\nabc"))
	f.Add([]byte("HTTP/1.1 204 \r\nConnection: close\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Response
		if _, err := r.Parse(b); err != nil {
			return
		}
		want, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), &http.Request{Method: http.MethodHead})
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", b, err)
		}
		if want.StatusCode != r.Status || want.ContentLength != r.Length && r.Status != http.StatusNoContent || len(want.TransferEncoding) > 0 || want.Close != r.Close {
			t.Errorf("%q: %d, %d, close %v here and %d, %d, close %v in net/http", b, r.Status, r.Length, r.Close, want.StatusCode, want.ContentLength, want.Close)
		}
		compareFields(t, r.Fields, want.Header, "Connection", "Keep-Alive")
	})
}

func compareFields(t *testing.T, fields []Field, want http.Header, dropped ...string) {
	t.Helper()
	got := make(http.Header)
	for _, field := range fields {
		got.Add(string(field.Name), string(field.Value))
	}
	for _, name := range dropped {
		delete(want, name)
		delete(got, name)
	}
	if !maps.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("fields %q here and %q in net/http", got, want)
	}
}
