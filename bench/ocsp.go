package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/bench/internal/load"
	"github.com/handfast/handfast/bench/internal/report"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/internal/harness"
)

// known is how many certificates are asked about.
const known = 100_000

// ocsp compares OCSP over kept plain HTTP: responses that are there already, as cfssl has them
// and our responder keeps them, by POST and by GET, beside servers that do nothing but return
// one constant; and requests with a nonce, each of which needs a signature of its own, beside
// bare Go, which signs and looks nothing up.
func (s *session) ocsp(ctx context.Context) error {
	ours, err := s.startCA(ctx)
	if err != nil {
		return err
	}
	s.printf("  issuing %d certificates", s.units(known))
	requests, err := ours.statusRequests(ctx, s.clients, s.units(known))
	if err != nil {
		return err
	}
	post := "http://" + ours.Public + "/ocsp"
	own := s.asking(report.Ours, ours.Process.PID(), post, requests)
	if err := s.fill(ctx, own, len(requests)); err != nil {
		return err
	}
	finished, err := s.startCFSSL(ctx, own, requests)
	if err != nil {
		return err
	}
	floors, err := s.startSame(ctx, own.last())
	if err != nil {
		return err
	}
	posting, getting := []contestant{own.contestant, finished}, []contestant{s.getting(report.Ours, ours.Process.PID(), post, requests)}
	for _, f := range floors {
		posting = append(posting, s.asking(f.name, f.pid, f.url, requests).contestant)
		getting = append(getting, s.getting(f.name, f.pid, strings.TrimSuffix(f.url, "/"), requests))
	}
	if err := s.hold(ctx, contest{name: "ocsp", unit: "response", units: s.units(30000), memory: true, rates: true}, posting...); err != nil {
		return err
	}
	if err := s.hold(ctx, contest{name: "ocsp-get", unit: "response", units: s.units(30000), rates: true}, getting...); err != nil {
		return err
	}
	return s.ocspNonce(ctx, ours, requests)
}

func (s *session) ocspNonce(ctx context.Context, ours *authority, requests [][]byte) error {
	process, address, err := s.bare(ctx, "ocsp", "", "")
	if err != nil {
		return err
	}
	fresh, err := parallel(8*s.units(5000), func(i int) ([]byte, error) { return withNonce(requests[i%len(requests)]) })
	if err != nil {
		return err
	}
	return s.hold(ctx, contest{name: "ocsp-nonce", unit: "response", units: s.units(5000), rates: true},
		s.asking(report.Ours, ours.Process.PID(), "http://"+ours.Public+"/ocsp", fresh).contestant,
		s.asking("bare-go", process.PID(), "http://"+address+"/", fresh).contestant)
}

// fill has every response asked for once, which is when it is signed.
func (s *session) fill(ctx context.Context, own asker, n int) error {
	r, err := s.turn(ctx, own.contestant, n)
	if err == nil {
		s.printf("  the first time, each response took %.0f us of the server's CPU", r.cpu)
	}
	return err
}

// statusRequests has n certificates issued and returns an OCSP request about each.
func (a *authority) statusRequests(ctx context.Context, clients, n int) ([][]byte, error) {
	all := callers(clients, func(int) *tls.Config { return a.clientTLS() })
	requests := make([][]byte, n)
	url := "https://" + a.API + api.PathEnroll
	made, err := newRequests(min(n, 1000)) // the same keys again: only serials matter here
	if err != nil {
		return nil, err
	}
	_, err = load.Closed(ctx, clients, n, func(ctx context.Context, client, unit int) error {
		token, _, err := a.tokens.Mint(service, 0)
		if err != nil {
			return err
		}
		body, err := json.Marshal(api.EnrollRequest{Token: token, CSR: made[unit%len(made)].der})
		if err != nil {
			return err
		}
		if err := all[client].call(ctx, http.MethodPost, url, body, header()); err != nil {
			return err
		}
		requests[unit], err = statusRequest(all[client].buffer.Bytes())
		return err
	})
	return requests, err
}

// statusRequest asks about the certificate in the answer to an enrolment.
func statusRequest(answer []byte) ([]byte, error) {
	var issued api.Issued
	if err := json.Unmarshal(answer, &issued); err != nil {
		return nil, err
	}
	var chain [2]*x509.Certificate
	for i := range chain {
		var err error
		if chain[i], err = x509.ParseCertificate(issued.Chain[i]); err != nil {
			return nil, err
		}
	}
	return ocsp.CreateRequest(chain[0], chain[1], &ocsp.RequestOptions{Hash: crypto.SHA256})
}

// withNonce adds a nonce (RFC 9654) to a request that has no extensions.
func withNonce(request []byte) ([]byte, error) {
	var outer, tbs cryptobyte.String
	input := cryptobyte.String(request)
	if !input.ReadASN1(&outer, asn1.SEQUENCE) || !outer.ReadASN1(&tbs, asn1.SEQUENCE) {
		return nil, errors.New("not an OCSP request")
	}
	nonce := make([]byte, 32)
	rand.Read(nonce) //nolint:errcheck // never fails
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(tbs)
			b.AddASN1(asn1.Tag(2).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier([]int{1, 3, 6, 1, 5, 5, 7, 48, 1, 2})
						b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddASN1OctetString(nonce) })
					})
				})
			})
		})
	})
	return b.Bytes()
}

// asking posts the requests in turn and checks that each is answered with a status.
func (s *session) asking(name string, pid int, url string, requests [][]byte) asker {
	header := http.Header{"Content-Type": {"application/ocsp-request"}}
	all := callers(s.clients, nil)
	do := func(ctx context.Context, client, unit int) error {
		if err := all[client].call(ctx, http.MethodPost, url, requests[unit%len(requests)], header); err != nil {
			return err
		}
		return checkStatus(url, all[client].buffer.Bytes())
	}
	return asker{contestant{name: name, pid: pid, do: do}, func() []byte { return all[0].buffer.Bytes() }}
}

// getting asks by GET.
func (s *session) getting(name string, pid int, url string, requests [][]byte) contestant {
	all := callers(s.clients, nil)
	return contestant{name: name, pid: pid, do: func(ctx context.Context, client, unit int) error {
		path := url + "/" + base64.StdEncoding.EncodeToString(requests[unit%len(requests)])
		if err := all[client].call(ctx, http.MethodGet, path, nil, nil); err != nil {
			return err
		}
		return checkStatus(url, all[client].buffer.Bytes())
	}}
}

// checkStatus refuses what is no successful response, which begins with a SEQUENCE, its
// length, and ENUMERATED 0; nginx's constant is as long as one.
func checkStatus(url string, body []byte) error {
	if len(body) < 100 || !bytes.Contains(body[:8], []byte{0x0a, 1, 0}) && body[0] != 'x' {
		return fmt.Errorf("%s does not answer with a status but %d bytes: %x", url, len(body), body[:min(len(body), 16)])
	}
	return nil
}

// asker is a contestant whose first client's last answer can be read.
type asker struct {
	contestant
	last func() []byte
}

// floor is a server that returns one constant.
type floor struct {
	name, url string
	pid       int
}

// startSame starts servers that answer everything with what our responder said once.
func (s *session) startSame(ctx context.Context, answer []byte) ([]floor, error) {
	file := s.path("answer")
	if err := os.WriteFile(file, answer, 0o600); err != nil {
		return nil, err
	}
	process, address, err := s.bare(ctx, "same", file, "")
	if err != nil {
		return nil, err
	}
	floors := []floor{{name: "bare-go", url: "http://" + address + "/", pid: process.PID()}}
	if address, err = harness.FreeAddress(); err != nil {
		return nil, err
	}
	if process, err = s.start(ctx, nil, "ready", s.program("fasthttp"), address, file); err != nil {
		return nil, err
	}
	floors = append(floors, floor{name: "fasthttp", url: "http://" + address + "/", pid: process.PID()})
	if s.installed("nginx") {
		if process, address, err = s.startNginx(ctx, "same", strings.Repeat("x", len(answer)), ""); err != nil {
			return nil, err
		}
		floors = append(floors, floor{name: "nginx", url: "http://" + address + "/", pid: process.PID()})
	}
	return floors, nil
}

// startCFSSL has cfssl serve what our responder has answered.
func (s *session) startCFSSL(ctx context.Context, own asker, requests [][]byte) (contestant, error) {
	var lines []byte
	for i := range requests {
		if err := own.do(ctx, 0, i); err != nil {
			return contestant{}, err
		}
		lines = append(base64.StdEncoding.AppendEncode(lines, own.last()), '\n')
	}
	file := s.path("responses")
	if err := os.WriteFile(file, lines, 0o600); err != nil {
		return contestant{}, err
	}
	address, err := harness.FreeAddress()
	if err != nil {
		return contestant{}, err
	}
	process, err := s.start(ctx, nil, "ready", s.program("cfssl"), address, file)
	if err != nil {
		return contestant{}, err
	}
	return s.asking("cfssl", process.PID(), "http://"+address+"/", requests).contestant, nil
}
