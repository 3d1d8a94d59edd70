package revocation

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	reference "golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation/ocsp"
)

// exchange sends one request over a real connection.
func exchange(t testing.TB, server *web, method, path, contentType string, body []byte, header ...string) (*http.Response, []byte) {
	t.Helper()
	request, err := http.NewRequest(method, server.URL, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.URL.Opaque = path // sent as it is
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := server.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, answer
}

func TestCRLOverHTTP(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Shards, c.FormerShards = 4, []int{2} })
	server := serve(t, b)
	serial := serialOfInt(t, 6)
	b.revoke(t, serial, certs.KeyCompromise)
	b.clock.advance(30 * time.Second)
	urls := URLs{Base: testBase, Issuer: b.ca.ID(), Shards: 4}
	former := URLs{Base: testBase, Issuer: b.ca.ID(), Shards: 2}
	for _, url := range []string{urls.Full(), urls.Shard(serial), urls.Delta(serial), former.Shard(serial), former.Delta(serial), deltaOf(urls.Full())} {
		path := strings.TrimPrefix(url, testBase)
		response, body := exchange(t, server, "GET", path, "", nil)
		if response.StatusCode != 200 || response.Header.Get("Content-Type") != "application/pkix-crl" || !bytes.Equal(body, b.document(path).export().DER()) {
			t.Errorf("%s: %s, %s, %d octets", path, response.Status, response.Header.Get("Content-Type"), len(body))
		}
		wantHeader(t, response, "Cache-Control", "public, max-age=60, no-transform, must-revalidate")
		wantHeader(t, response, "Last-Modified", testStart.Format(http.TimeFormat))
		wantHeader(t, response, "Expires", testStart.Add(24*time.Hour).Format(http.TimeFormat))
		if _, listed := b.fetch(t, path).reasons[serial.String()]; !listed {
			t.Errorf("%s does not list %s", path, serial)
		}
		etag := response.Header.Get("ETag")
		for _, test := range []struct {
			header, value string
			want          int
		}{
			{"If-None-Match", etag, 304}, {"If-None-Match", "W/" + etag, 304}, {"If-None-Match", `"x", ` + etag, 304},
			{"If-None-Match", "*", 304}, {"If-None-Match", `"x"`, 200},
			{"If-Modified-Since", testStart.Format(http.TimeFormat), 304},
			{"If-Modified-Since", testStart.Add(-time.Second).Format(http.TimeFormat), 200},
			{"If-Modified-Since", "yesterday", 200},
		} {
			if response, body := exchange(t, server, "GET", path, "", nil, test.header, test.value); response.StatusCode != test.want || (test.want == 304 && len(body) > 0) {
				t.Errorf("%s with %s %s: %s, want %d", path, test.header, test.value, response.Status, test.want)
			}
		}
		if response, body := exchange(t, server, "HEAD", path, "", nil); response.StatusCode != 200 || len(body) != 0 || response.ContentLength != int64(b.document(path).size) {
			t.Errorf("HEAD %s: %s, %d octets of %d", path, response.Status, len(body), response.ContentLength)
		}
	}
	for path, want := range map[string]int{
		"/crl/ab.crl": 404, "/crl/" + b.ca.ID() + "/4/4.crl": 404, "/crl/" + b.ca.ID() + "/3/0.crl": 404,
		"/crl/": 404, "/": 404, "/crl//" + b.ca.ID() + ".crl": 404, "/ocspx": 404,
	} {
		if response, _ := exchange(t, server, "GET", path, "", nil); response.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, response.Status, want)
		}
	}
	if response, _ := exchange(t, server, "DELETE", strings.TrimPrefix(urls.Full(), testBase), "", nil); response.StatusCode != 405 || response.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("DELETE: %s, allowed %s", response.Status, response.Header.Get("Allow"))
	}
	// What is about to expire is not kept past its end.
	b.clock.advance(24*time.Hour - 40*time.Second)
	response, _ := exchange(t, server, "GET", strings.TrimPrefix(urls.Full(), testBase), "", nil)
	wantHeader(t, response, "Cache-Control", "public, max-age=10, no-transform, must-revalidate")
}

func wantHeader(t testing.TB, response *http.Response, name, want string) {
	t.Helper()
	if got := response.Header.Get(name); got != want {
		t.Errorf("%s %s: %s is %q, want %q", response.Request.Method, response.Request.URL, name, got, want)
	}
}

func TestOCSPOverHTTP(t *testing.T) {
	b := newBench(t, nil)
	server := serve(t, b)
	serial := serialOfInt(t, 1)
	b.log.issue(b.ca.ID(), serial)
	plain := marshal(t, nil, b.certID(t, crypto.SHA1, serial))
	withNonce := marshal(t, make([]byte, 16), b.certID(t, crypto.SHA1, serial))
	never := marshal(t, nil, b.certID(t, crypto.SHA1, serialOfInt(t, 9)))
	path := func(der []byte) string { return "/ocsp/" + base64.StdEncoding.EncodeToString(der) }
	const kind = "application/ocsp-request"
	for _, test := range []struct {
		name, method, path, kind string
		body                     []byte
		status                   int
		answer                   reference.ResponseStatus
		shared                   bool
	}{
		{"GET", "GET", path(plain), "", nil, 200, reference.Success, true},
		{"POST", "POST", "/ocsp", kind, plain, 200, reference.Success, true},
		{"POST with a slash", "POST", "/ocsp/", kind + "; charset=binary", plain, 200, reference.Success, true},
		{"GET with a query", "GET", path(plain) + "?x=/y", "", nil, 200, reference.Success, true},
		{"GET with nonce", "GET", path(withNonce), "", nil, 200, reference.Success, false},
		{"POST with nonce", "POST", "/ocsp", kind, withNonce, 200, reference.Success, false},
		{"GET for a serial never issued", "GET", path(never), "", nil, 200, reference.Success, false},
		{"GET without a request", "GET", "/ocsp", "", nil, 200, reference.Malformed, false},
		{"GET garbage", "GET", "/ocsp/%%%", "", nil, 400, 0, false}, // no URL
		{"GET not base64", "GET", "/ocsp/index.html", "", nil, 200, reference.Malformed, false},
		{"POST garbage", "POST", "/ocsp", kind, []byte("hello"), 200, reference.Malformed, false},
		{"POST nothing", "POST", "/ocsp", kind, nil, 200, reference.Malformed, false},
		{"POST too much", "POST", "/ocsp", kind, make([]byte, 1<<20), 200, reference.Malformed, false},
		{"POST as a form", "POST", "/ocsp", "application/x-www-form-urlencoded", plain, 415, 0, false},
		{"POST without a type", "POST", "/ocsp", "", plain, 415, 0, false},
		{"PUT", "PUT", "/ocsp", kind, plain, 405, 0, false},
	} {
		response, body := exchange(t, server, test.method, test.path, test.kind, test.body)
		if response.StatusCode != test.status {
			t.Errorf("%s: %s, want %d", test.name, response.Status, test.status)
		}
		if test.status != 200 {
			continue
		}
		if got := responseStatus(t, body); got != test.answer || response.Header.Get("Content-Type") != "application/ocsp-response" {
			t.Errorf("%s: OCSP status %v as %s, want %v", test.name, got, response.Header.Get("Content-Type"), test.answer)
		}
		if !test.shared {
			wantHeader(t, response, "Cache-Control", "no-store")
			wantHeader(t, response, "ETag", "")
			continue
		}
		wantHeader(t, response, "Cache-Control", "public, max-age=1800, no-transform, must-revalidate")
		wantHeader(t, response, "Last-Modified", testStart.Format(http.TimeFormat))
		wantHeader(t, response, "Expires", testStart.Add(time.Hour).Format(http.TimeFormat))
		etag, want := response.Header.Get("ETag"), 304
		if test.method == "POST" {
			want = 200 // nobody may answer a POST with 304
		}
		if again, _ := exchange(t, server, test.method, test.path, test.kind, test.body, "If-None-Match", etag); again.StatusCode != want || etag == "" {
			t.Errorf("%s with If-None-Match %s: %s, want %d", test.name, etag, again.Status, want)
		}
	}
}

func responseStatus(t testing.TB, body []byte) reference.ResponseStatus {
	t.Helper()
	if len(body) < 5 || body[0] != 0x30 {
		t.Fatalf("no OCSP response: %x", body)
	}
	at := bytes.Index(body, []byte{0x0a, 1})
	return reference.ResponseStatus(body[at+2])
}

// Of serials whose requests have // or a slash at the end in base64, none is lost on the
// way through a real server: behind an ordinary mux 0.46% would be.
func TestOCSPGetPathsWithSlashes(t *testing.T) {
	b := newBench(t, nil)
	server := serve(t, b)
	doubled, tried := 0, 0
	for n := int64(0); doubled < 3 || tried < 20; n++ {
		serial := serialOfInt(t, n*0x3ffff)
		request := marshal(t, nil, b.certID(t, crypto.SHA1, serial))
		encoded := base64.StdEncoding.EncodeToString(request)
		if n%50 != 0 && !strings.Contains(encoded, "//") {
			continue
		}
		tried++
		if strings.Contains(encoded, "//") {
			doubled++
		}
		b.log.issue(b.ca.ID(), serial)
		for _, path := range []string{"/ocsp/" + encoded, "/ocsp//" + encoded, "/ocsp/" + strings.TrimRight(encoded, "="), "/ocsp/" + strings.ReplaceAll(encoded, "/", "%2f")} {
			response, body := exchange(t, server, "GET", path, "", nil)
			if got, err := reference.ParseResponseForCert(body, leafWith(serial), b.ca.cert); err != nil || got.Status != reference.Good {
				t.Fatalf("%s: %s, %+v, %v", path, response.Status, got, err)
			}
		}
		if n > 1<<20 {
			t.Fatal("no serial with // found")
		}
	}
}

// A request in absolute form finds its way too.
func TestAbsoluteForm(t *testing.T) {
	b := newBench(t, nil)
	b.log.issue(b.ca.ID(), serialOfInt(t, 1))
	request := marshal(t, nil, b.certID(t, crypto.SHA256, serialOfInt(t, 1)))
	escaped := url.QueryEscape(base64.StdEncoding.EncodeToString(request))
	var ctx fasthttp.RequestCtx
	ctx.Request.Header.SetRequestURI(testBase + "/ocsp/" + escaped + "?x=/y")
	b.ServeFastHTTP(&ctx)
	if got := responseStatus(t, ctx.Response.Body()); got != reference.Success {
		t.Errorf("%v", got)
	}
}

// Which targets are none is what net/url says, and the path is what it would be.
func FuzzSentPath(f *testing.F) {
	for _, seed := range []string{"/ocsp/MFAw//x%2B%3d", "/%", "/%zz", "/a?%zz=\x7f", "http://ca/ocsp/%2f", "*", "", "//x/y", "/\x00", "/a#b", "/\xff", "x"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, target []byte) {
		var ctx fasthttp.RequestCtx
		ctx.Request.Header.SetRequestURIBytes(target)
		target = bytes.Clone(ctx.Request.Header.RequestURI()) // an empty one is "/"
		path, ok := SentPath(&ctx)
		parsed, err := url.ParseRequestURI(string(target))
		if ok != (err == nil) {
			t.Fatalf("%q: taken %v, net/url says %v", target, ok, err)
		}
		if ok && target[0] == '/' {
			if sent, _, _ := strings.Cut(string(target), "?"); string(path) != sent {
				t.Fatalf("%q: path %q", target, path)
			}
			if decoded, err := url.PathUnescape(string(path)); err != nil || decoded != parsed.Path {
				t.Fatalf("%q: %q decodes to %q (%v), net/url has %q", target, path, decoded, err, parsed.Path)
			}
		}
	})
}

// Garbage costs next to nothing, and is never signed.
func FuzzOCSPOverHTTP(f *testing.F) {
	b := newBench(f, nil)
	b.log.issue(b.ca.ID(), serialOfInt(f, 1))
	f.Add(marshal(f, make([]byte, 16), b.certID(f, crypto.SHA1, serialOfInt(f, 1))))
	f.Fuzz(func(t *testing.T, body []byte) {
		var ctx fasthttp.RequestCtx
		ctx.Request.Header.SetMethod("POST")
		ctx.Request.Header.SetRequestURI("/ocsp")
		ctx.Request.Header.SetContentType("application/ocsp-request")
		ctx.Request.SetBodyRaw(body)
		b.ServeFastHTTP(&ctx)
		status := responseStatus(t, ctx.Response.Body())
		if _, err := ocsp.ParseRequest(body); (err != nil) != (status == reference.Malformed) {
			t.Fatalf("%x: parsed with %v, answered %v", body, err, status)
		}
	})
}
