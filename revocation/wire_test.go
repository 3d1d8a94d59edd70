package revocation

import (
	"bufio"
	"bytes"
	"crypto"
	"io"
	"maps"
	"net/http"
	"testing"

	"github.com/handfast/handfast/certs"
)

// What a server gets that writes HTTP itself is what ServeFastHTTP would send.
func TestAppendOCSPIsWhatIsServed(t *testing.T) {
	b := newBench(t, nil)
	server := serve(t, b)
	good, revoked, never := serialOfInt(t, 1), serialOfInt(t, 2), serialOfInt(t, 3)
	b.log.issue(b.ca.ID(), good)
	b.revoke(t, revoked, certs.KeyCompromise)
	for name, request := range map[string][]byte{
		"good":      marshal(t, nil, b.certID(t, crypto.SHA256, good)),
		"revoked":   marshal(t, nil, b.certID(t, crypto.SHA1, revoked)),
		"unknown":   marshal(t, nil, b.certID(t, crypto.SHA1, never)),
		"two":       marshal(t, nil, b.certID(t, crypto.SHA1, good), b.certID(t, crypto.SHA1, revoked)),
		"nonce":     marshal(t, make([]byte, 16), b.certID(t, crypto.SHA1, good)),
		"malformed": []byte("garbage"), "empty": nil,
	} {
		served, body := exchange(t, server, "POST", "/ocsp", "application/ocsp-request", request)
		const before = "HTTP/1.1 200 OK\r\n"
		appended := b.AppendOCSP([]byte(before), request, b.clock.Now())
		answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(appended)), nil)
		if err != nil {
			t.Fatalf("%s: %v in %q", name, err, appended)
		}
		got, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		if kept := served.Header.Get("ETag") != ""; kept && !bytes.Equal(got, body) || len(got) < len(body)-8 || len(got) > len(body)+8 { // what is signed anew differs in its signature
			t.Errorf("%s: %x, served %x", name, got, body)
		}
		served.Header.Del("Date")
		served.Header.Del("Content-Length")
		answer.Header.Del("Content-Length")
		if !maps.EqualFunc(answer.Header, served.Header, func(a, b []string) bool { return a[0] == b[0] }) {
			t.Errorf("%s: %v, served %v", name, answer.Header, served.Header)
		}
	}
}
