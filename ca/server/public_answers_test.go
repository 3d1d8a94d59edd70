package server_test

import (
	"bufio"
	"bytes"
	"crypto"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation/ocsp"
)

var update = flag.Bool("update", false, "write testdata/public-answers.txt instead of comparing with it")

const answersFile = "testdata/public-answers.txt"

// Whatever serves the public listener, its answers stay as they are. The file was written
// when net/http served it. What was accepted of fasthttp since: answers to HTTP/1.0 begin
// with HTTP/1.1, which RFC 9110, section 2.5, wants; refusals have a Date and a length and
// say less; HTTP/7.1 is served and closed; a header's name may hold a space; and a
// connection ends after a body that was not read and after one of two lengths.
func TestPublicAnswersStayAsTheyAre(t *testing.T) {
	w := newWorld(t)
	_, id := w.enrol(w.register("web"))
	var got strings.Builder
	for _, raw := range publicRequests(t, w, id.serial(t)) {
		fmt.Fprintf(&got, "> %s\n%s\n", w.plain(abridged(raw)), w.plain(w.answers(raw)))
	}
	if *update {
		if err := os.WriteFile(answersFile, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(answersFile)
	must(t, err)
	wanted, gotten := strings.Split(string(want), "\n> "), strings.Split(got.String(), "\n> ")
	for i := range max(len(wanted), len(gotten)) {
		var a, b string
		if i < len(wanted) {
			a = wanted[i]
		}
		if i < len(gotten) {
			b = gotten[i]
		}
		if strings.TrimSpace(a) != strings.TrimSpace(b) {
			t.Errorf("answered\n> %s\nwant\n> %s", b, a)
		}
	}
}

// publicRequests are requests as they are sent, for the certificate with this serial.
func publicRequests(t *testing.T, w *world, serial certs.Serial) []string {
	certID, err := ocsp.NewCertID(w.issuer.Certificate(), crypto.SHA1, serial)
	must(t, err)
	der, err := (&ocsp.Request{IDs: []ocsp.CertID{certID}}).Marshal()
	must(t, err)
	nonced, err := (&ocsp.Request{IDs: []ocsp.CertID{certID}, Nonce: bytes.Repeat([]byte{0xfb, 0xff, 0xfe}, 8)}).Marshal()
	must(t, err)
	ask, askNonced := base64.StdEncoding.EncodeToString(der), base64.StdEncoding.EncodeToString(nonced)
	crl, authority := "/crl/"+w.issuer.ID()+".crl", "/ca/"+w.issuer.ID()+".crt"
	const kind = "Content-Type: application/ocsp-request"
	post := func(body string, headers ...string) string {
		return message("POST /ocsp HTTP/1.1", append(headers, "Content-Length: "+strconv.Itoa(len(body)))...) + body
	}
	return []string{
		get("/healthz"), message("HEAD /healthz HTTP/1.1"), get("/readyz"), get("/roots.pem"), get("/roots.pem", "If-None-Match: *"),
		get(authority), get(authority, "If-None-Match: *"), get("/"), get("//healthz"), get("/nothing?x=1"), get("/healthz?x=1"), get("/ca/ff.crt"),
		message("POST /roots.pem HTTP/1.1", "Content-Length: 2") + "hi", message("DELETE /crl/x.crl HTTP/1.1"), message("PUT /ocsp HTTP/1.1", "Content-Length: 0"),
		message("OPTIONS /ocsp HTTP/1.1"), message("TRICK /healthz HTTP/1.1"),
		get(crl), message("HEAD " + crl + " HTTP/1.1"), get(crl, "If-None-Match: *"), get(crl, `If-None-Match: "x", W/"y"`),
		get(crl, "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"), get(crl, "If-Modified-Since: Fri, 01 Jan 2010 00:00:00 GMT"),
		get(crl + "?x=y"), get("/crl/ff.crl"), get("/crl//" + w.issuer.ID() + ".crl"), get("/crl/../healthz"), get("/crl/"),
		get("/ocsp"), get("/ocsp/"), get("/ocsp/index.html"), get("/ocsp/%%%"), get("/ocsp/%2"), get("/ocsp/a b"), get("/ocspx"),
		get("/ocsp/" + ask), get("/ocsp//" + ask), get("/ocsp/" + url.PathEscape(ask)), get("/ocsp/" + strings.ToLower(url.QueryEscape("+/="))),
		get("/ocsp/" + ask + "?x=/y"), get("/ocsp/" + askNonced), get("/ocsp/" + strings.ReplaceAll(askNonced, "/", "%2F")), get("/ocsp/" + strings.ReplaceAll(ask, "A", "%2541")),
		message("HEAD /ocsp/" + ask + " HTTP/1.1"), get("/ocsp/"+ask, "If-None-Match: *"), get("/ocsp/"+ask, "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"),
		get("http://ca.example/ocsp/" + ask), get("http://ca.example" + crl), get("http://ca.example/healthz"),
		post(string(der), kind), post(string(der), kind+"; charset=binary"), post(string(nonced), kind), post(string(der), kind, "If-None-Match: *"),
		post(string(der)), post(string(der), "Content-Type: text/plain"), post("", kind), post("garbage", kind), post(strings.Repeat("x", 9000), kind),
		post(strings.Repeat("x", 70000), kind), post(string(der), kind, "Expect: 100-continue"),
		message("POST /ocsp HTTP/1.1", kind, "Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(der), der),
		message("POST /ocsp/ HTTP/1.1", kind, "Content-Length: "+strconv.Itoa(len(der))) + string(der),
		message("POST /ocsp HTTP/1.0", kind, "Content-Length: "+strconv.Itoa(len(der))) + string(der),
		message("GET /healthz HTTP/1.0"), message("GET /ocsp/"+ask+" HTTP/1.0", "Connection: keep-alive"), get("/ocsp/"+ask, "Connection: close"),
		"GET /healthz HTTP/1.1\r\n\r\n", "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "nonsense\r\n\r\n", "GET /healthz HTTP/7.1\r\nHost: ca\r\n\r\n",
		get("/healthz", "X: "+strings.Repeat("x", 30000)), get("/healthz", "Bad Header: x"), get("/healthz", "Content-Length: 1", "Content-Length: 2"),
		get("/healthz", "Content-Length: x"), get("/healthz", "Content-Length: 3", "Transfer-Encoding: chunked") + "0\r\n\r\n",
		// What proxies before it may read in another way is refused.
		"POST /roots.pem HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc", "POST /roots.pem HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n", get("/healthz", "Transfer-Encoding: gzip, chunked") + "0\r\n\r\n", get("/healthz", "X: a\x00b"),
		"GET /heal\x01thz HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		get("/ocsp/"+ask) + get("/healthz") + get("/ocsp/"+ask, "If-None-Match: *"), // pipelined
	}
}

func get(target string, headers ...string) string {
	return message("GET "+target+" HTTP/1.1", headers...)
}

func message(line string, headers ...string) string {
	return line + "\r\nHost: ca.example\r\n" + strings.Join(append(headers, "", ""), "\r\n")
}

// abridged leaves bodies away.
func abridged(request string) string {
	head, _, _ := strings.Cut(request, "\r\n\r\n")
	return strings.ReplaceAll(head[:min(len(head), 300)], "\r\n", " | ")
}

// plain replaces what differs between two runs.
func (w *world) plain(text string) string {
	for _, r := range []struct{ pattern, with string }{
		{regexp.QuoteMeta(w.issuer.ID()), "ISSUER"},
		{`[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} 20[2-9]\d \d\d:\d\d:\d\d GMT`, "TIME"},
		{`max-age=[1-9]\d*`, "max-age=N"},
		{`"[0-9a-f-]{20,}"`, `"TAG"`},
		{`[A-Z2-7]{26}`, "REQUEST"},
		{`M[A-Za-z0-9+/%=]{60,}`, "BASE64"},
		{`Content-Length: \d\d\d?\b`, "Content-Length: N"},
	} {
		text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.with)
	}
	return text
}

// answers sends raw bytes on a connection of their own and reads what comes back.
func (w *world) answers(raw string) string {
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.public, "http://"))
	must(w.t, err)
	defer conn.Close()
	must(w.t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(conn, raw)
	must(w.t, err)
	var all strings.Builder
	reader := bufio.NewReader(conn)
	method, _, _ := strings.Cut(raw, " ")
	for range 1 + strings.Count(raw, "GMT\r\n\r\nGET") + strings.Count(raw, "example\r\n\r\nGET") {
		response, err := http.ReadResponse(reader, &http.Request{Method: method})
		if err != nil {
			fmt.Fprintf(&all, "no answer: %v\n", err)
			break
		}
		body, err := io.ReadAll(response.Body)
		must(w.t, err)
		fmt.Fprintf(&all, "%s %s close=%v length=%v\n", response.Proto, response.Status, response.Close, response.ContentLength > 0)
		for _, name := range slices.Sorted(maps.Keys(response.Header)) {
			if name != "Content-Length" {
				fmt.Fprintf(&all, "%s: %s\n", name, strings.Join(response.Header[name], " | "))
			}
		}
		fmt.Fprintf(&all, "%s\n", summary(response, body))
	}
	return all.String()
}

func summary(response *http.Response, body []byte) string {
	switch response.Header.Get("Content-Type") {
	case "application/ocsp-response":
		if len(body) < 10 {
			return fmt.Sprintf("%x", body)
		}
		return fmt.Sprintf("signed: %v", bytes.Contains(body[:9], []byte{0x0a, 1, 0}))
	case "application/pkix-crl", "application/pkix-cert", "application/pem-certificate-chain":
		return fmt.Sprintf("some octets: %v", len(body) > 0)
	}
	return strconv.Quote(string(body))
}
