package server

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
)

func TestBadInputIsRefusedWithItsCode(t *testing.T) {
	s, st := newServer(t, nil)
	st.enrolled = func(ca.Claim, []byte, string) (*ca.Issued, error) {
		return nil, &api.Error{Code: api.CodeBadCSR, Message: "the CSR is refused"}
	}
	admin := testCertificate{st.pki.issue(t, "handfast/operator/adam")}
	long := strings.Repeat("x", api.MaxBody)
	csr := `"AAAA"`
	for _, test := range []struct {
		name, method, target, body string
		header                     map[string]string
		want                       api.Code
		says                       string
	}{
		{"no body", "POST", "/v1/enroll", ``, nil, api.CodeBadRequest, "ends too early"},
		{"not JSON", "POST", "/v1/enroll", `token=good`, nil, api.CodeBadRequest, "malformed JSON"},
		{"not an object", "POST", "/v1/enroll", `["good"]`, nil, api.CodeBadRequest, "not a JSON object"},
		{"null", "POST", "/v1/enroll", `null`, nil, api.CodeBadRequest, "not a JSON object"},
		{"cut", "POST", "/v1/enroll", `{"token":"go`, nil, api.CodeBadRequest, "ends too early"},
		{"unknown field", "POST", "/v1/enroll", `{"token":"good","csr":` + csr + `,"names":["x"]}`, nil, api.CodeBadRequest, `unknown field \"names\"`},
		{"field in another case", "POST", "/v1/enroll", `{"TOKEN":"good","csr":` + csr + `}`, nil, api.CodeBadRequest, `unknown field \"TOKEN\"`},
		{"field twice", "POST", "/v1/enroll", `{"token":"good","csr":` + csr + `,"token":"evil"}`, nil, api.CodeBadRequest, "twice"},
		{"two values", "POST", "/v1/enroll", `{"token":"good","csr":` + csr + `}{}`, nil, api.CodeBadRequest, "follows"},
		{"wrong type", "POST", "/v1/enroll", `{"token":7,"csr":` + csr + `}`, nil, api.CodeBadRequest, `field \"token\"`},
		{"bad base64", "POST", "/v1/enroll", `{"token":"good","csr":"%%"}`, nil, api.CodeBadRequest, "base64"},
		{"deep", "POST", "/v1/enroll", `{"token":` + strings.Repeat("[", 5000), nil, api.CodeBadRequest, "nested deeper"},
		{"huge", "POST", "/v1/enroll", `{"token":"` + long + `"}`, nil, api.CodeTooLarge, "longer than 65536"},
		{"no token", "POST", "/v1/enroll", `{"csr":` + csr + `}`, nil, api.CodeBadRequest, "token is missing"},
		{"no CSR", "POST", "/v1/enroll", `{"token":"good"}`, nil, api.CodeBadCSR, "CSR is missing"},
		{"long CSR", "POST", "/v1/enroll", `{"token":"good","csr":"` + strings.Repeat("A", 4*4096) + `"}`, nil, api.CodeTooLarge, "CSR is too long"},
		{"long token", "POST", "/v1/enroll", `{"token":"` + strings.Repeat("A", api.MaxToken+1) + `","csr":` + csr + `}`, nil, api.CodeTooLarge, "token is too long"},
		{"foreign token", "POST", "/v1/enroll", `{"token":"bad","csr":` + csr + `}`, nil, api.CodeTokenInvalid, "not minted"},
		{"bad CSR", "POST", "/v1/enroll", `{"token":"good","csr":` + csr + `}`, nil, api.CodeBadCSR, "CSR is refused"},
		{"form", "POST", "/v1/enroll", `{}`, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, api.CodeBadRequest, "Content-Type"},
		{"no type", "POST", "/v1/enroll", `{}`, map[string]string{"Content-Type": ""}, api.CodeBadRequest, "Content-Type"},
		{"other charset", "POST", "/v1/enroll", `{}`, map[string]string{"Content-Type": "application/json; charset=utf-16"}, api.CodeBadRequest, "charset"},
		{"compressed", "POST", "/v1/enroll", `{}`, map[string]string{"Content-Encoding": "gzip"}, api.CodeBadRequest, "Content-Encoding"},
		{"query where none is", "POST", "/v1/enroll?service=evil", `{}`, nil, api.CodeBadRequest, "unknown query parameter"},
		{"empty idempotency key", "POST", "/v1/enroll", `{}`, map[string]string{api.HeaderIdempotencyKey: ""}, api.CodeBadRequest, "visible ASCII"},
		{"long idempotency key", "POST", "/v1/enroll", `{}`, map[string]string{api.HeaderIdempotencyKey: strings.Repeat("k", 65)}, api.CodeBadRequest, "visible ASCII"},
		{"blank in idempotency key", "POST", "/v1/enroll", `{}`, map[string]string{api.HeaderIdempotencyKey: "a b"}, api.CodeBadRequest, "visible ASCII"},
		{"empty chain", "POST", "/v1/rekey", `{"chain":[],"csr":` + csr + `,"nonce":"","signed_at":"2026-01-01T00:00:00Z","signature":""}`, nil, api.CodeBadRequest, "chain"},
		{"null chain", "POST", "/v1/rekey", `{"chain":null,"csr":` + csr + `}`, nil, api.CodeBadRequest, "chain"},
		{"body with GET", "GET", "/v1/bundle", `{}`, nil, api.CodeBadRequest, "no body"},
		{"unknown filter", "GET", "/v1/certificates?servce=web", ``, nil, api.CodeBadRequest, "unknown query parameter"},
		{"filter twice", "GET", "/v1/certificates?q=a&q=b", ``, nil, api.CodeBadRequest, "2 times"},
		{"malformed query", "GET", "/v1/certificates?q=%zz", ``, nil, api.CodeBadRequest, "malformed"},
		{"bad limit", "GET", "/v1/certificates?limit=1001", ``, nil, api.CodeBadRequest, "limit"},
		{"empty limit", "GET", "/v1/certificates?limit=", ``, nil, api.CodeBadRequest, "limit"},
		{"bad status", "GET", "/v1/certificates?status=good", ``, nil, api.CodeBadRequest, "status"},
		{"bad kind", "GET", "/v1/certificates?kind=ca", ``, nil, api.CodeBadRequest, "kind"},
		{"bad expiring", "GET", "/v1/certificates?expiring=-2h", ``, nil, api.CodeBadRequest, "expiring"},
		{"long search", "GET", "/v1/services?q=" + strings.Repeat("a", 600), ``, nil, api.CodeBadRequest, "longer"},
		{"bad serial", "GET", "/v1/certificates/xyz", ``, nil, api.CodeBadRequest, "hexadecimal"},
		{"body names another", "PUT", "/v1/services/web", `{"name":"db"}`, nil, api.CodeBadRequest, "the path"},
		{"foreign identity", "PUT", "/v1/services/web", `{"name":"web","id":"spiffe://test.example/db"}`, nil, api.CodeBadRequest, "identity"},
		{"same path, other domain", "PUT", "/v1/services/web", `{"name":"web","id":"spiffe://other.example/web"}`, nil, api.CodeBadRequest, "identity"},
		{"reserved name", "PUT", "/v1/services/handfast/operator/eve", `{}`, nil, api.CodeBadRequest, "reserved"},
		{"no name", "PUT", "/v1/services/", `{}`, nil, api.CodeNotFound, "no such path"},
		{"bad IP", "PUT", "/v1/services/web", `{"ips":["10.0.0"]}`, nil, api.CodeBadRequest, "not an IP"},
		{"IP with a zone", "PUT", "/v1/services/web", `{"ips":["fe80::1%eth0"]}`, nil, api.CodeBadRequest, "not an IP"},
		{"bad duration", "PUT", "/v1/services/web", `{"ttl":"1 hour"}`, nil, api.CodeBadRequest, "duration"},
		{"bad If-Match", "PUT", "/v1/services/web", `{}`, map[string]string{"If-Match": "7"}, api.CodeBadRequest, "If-Match"},
		{"both preconditions", "PUT", "/v1/services/web", `{}`, map[string]string{"If-Match": `"7"`, "If-None-Match": "*"}, api.CodeBadRequest, "If-Match"},
		{"remove what is not there", "DELETE", "/v1/services/web", ``, map[string]string{"If-None-Match": "*"}, api.CodeBadRequest, "removal"},
		{"apply nothing", "POST", "/v1/apply", `{"prune":true}`, nil, api.CodeBadRequest, "services is missing"},
		{"apply twice the same", "POST", "/v1/apply", `{"services":[{"name":"a"},{"name":"a"}]}`, nil, api.CodeBadRequest, "twice"},
		{"unknown reason", "POST", "/v1/revocations", `{"service":"web","reason":"bored"}`, nil, api.CodeBadRequest, "reason"},
		{"negative lifetime", "POST", "/v1/tokens", `{"service":"web","ttl":"-1h"}`, nil, api.CodeBadRequest, "negative"},
		{"wait in words", "GET", "/v1/feed/progress?sequence=1", ``, map[string]string{api.HeaderPrefer: "wait=long"}, api.CodeBadRequest, "wait"},
		{"no sequence", "GET", "/v1/feed/progress", ``, nil, api.CodeBadRequest, "sequence"},
		{"unknown state of an agent", "GET", "/v1/agents?state=asleep", ``, nil, api.CodeBadRequest, "state"},
		{"wait of a poll in words", "GET", "/v1/feed?since=0&agent=0123456789abcdef0123456789abcdef", ``, map[string]string{api.HeaderPrefer: "wait=long", "X-As": "web"}, api.CodeBadRequest, "wait"},
		{"unknown CRL", "GET", "/v1/crl/ffff", ``, nil, api.CodeNotFound, "no CRL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, "https://ca"+test.target, strings.NewReader(test.body))
			if test.body == "" {
				r = httptest.NewRequest(test.method, "https://ca"+test.target, nil)
			}
			r.RemoteAddr = "192.0.2.1:" + fmt.Sprint(len(test.name)) // one address: the limiter must forgive this many
			if test.method == "POST" || test.method == "PUT" {
				r.Header.Set("Content-Type", "application/json")
			}
			r.TLS = &tls.ConnectionState{PeerCertificates: admin.leaf()}
			for name, value := range test.header {
				if name == "X-As" {
					r.TLS = &tls.ConnectionState{PeerCertificates: (testCertificate{st.pki.issue(t, value)}).leaf()}
					continue
				}
				r.Header[http.CanonicalHeaderKey(name)] = []string{value}
			}
			w := httptest.NewRecorder()
			s.API().ServeHTTP(w, r)
			var body api.ErrorBody
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Error == nil {
				t.Fatalf("status %d, not the API's error: %s", w.Code, w.Body)
			}
			if body.Error.Code != test.want || w.Code != test.want.HTTPStatus() || !strings.Contains(w.Body.String(), test.says) {
				t.Errorf("status %d, %s; want %s and %q", w.Code, w.Body, test.want, test.says)
			}
		})
	}
}

func TestSlowClientIsCutAndHoldsNoSlot(t *testing.T) {
	limits := Limits{ReadHeader: 150 * time.Millisecond, Read: 150 * time.Millisecond, Slots: 1, Queue: 20 * time.Millisecond}
	inBubble(t, func(cfg *Config) { cfg.Limits = limits }, func(t *testing.T, f *follows) {
		f.enrolled = func(ca.Claim, []byte, string) (*ca.Issued, error) { return &ca.Issued{}, nil }
		raw := func() net.Conn {
			conn, err := f.connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
		config := f.tls("")
		config.NextProtos, config.ServerName = []string{"http/1.1"}, "127.0.0.1"
		dial := func(begin string) net.Conn {
			conn := tls.Client(raw(), config)
			if _, err := io.WriteString(conn, begin); err != nil {
				t.Fatal(err)
			}
			return conn
		}
		slowHeader := dial("POST /v1/enroll HTTP/1.1\r\nHost: ca\r\nX-")
		slowBody := dial("POST /v1/enroll HTTP/1.1\r\nHost: ca\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"token\":")
		// The only slot is free all the while.
		const body = `{"token":"good","csr":"AAAA"}`
		quick := dial(fmt.Sprintf("POST /v1/enroll HTTP/1.1\r\nHost: ca\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		if response, err := http.ReadResponse(bufio.NewReader(quick), nil); err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("enrolment beside slow clients: %+v, %v", response, err)
		}
		quick.Close()
		began := time.Now()
		for name, conn := range map[string]net.Conn{"header": slowHeader, "body": slowBody, "handshake": raw()} {
			answer, _ := io.ReadAll(conn) // who is not cut hangs here
			if bytes.Contains(answer, []byte(" 200 ")) {
				t.Errorf("slow %s: %s", name, answer)
			}
			conn.Close()
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("they were cut after %v", took)
		}
	})
}

func TestIdempotencyKeyReachesTheCA(t *testing.T) {
	st := start(t, nil)
	var seen []string
	st.enrolled = func(_ ca.Claim, _ []byte, idem string) (*ca.Issued, error) {
		seen = append(seen, idem)
		return &ca.Issued{}, nil
	}
	for _, key := range []string{"", "key-1"} {
		if _, err := st.client("").Enroll(t.Context(), &api.EnrollRequest{Token: "good", CSR: newCSR(t)}, key); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 2 || seen[0] != "" || seen[1] != "key-1" {
		t.Errorf("keys = %q", seen)
	}
}
