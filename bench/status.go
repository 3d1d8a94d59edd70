package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/bench/internal/report"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/harness"
)

// revoked is how many certificates the CRL lists that is served.
const revoked = 1000

// ocsp compares OCSP by POST over kept plain HTTP: requests that finished answers serve, as
// cfssl has them and our responder keeps them; and requests with a nonce, each of which
// needs a signature of its own, beside bare Go, which signs and looks nothing up.
func (s *session) ocsp(ctx context.Context) error {
	ours, err := s.startCA(ctx)
	if err != nil {
		return err
	}
	known, err := ours.enrol(ctx, service, s.clients)
	if err != nil {
		return err
	}
	issuing, err := x509.ParseCertificate(known[0].Certificate[1])
	if err != nil {
		return err
	}
	requests := make([][]byte, len(known))
	for i, certificate := range known {
		leaf, err := x509.ParseCertificate(certificate.Certificate[0])
		if err != nil {
			return err
		}
		if requests[i], err = ocsp.CreateRequest(leaf, issuing, &ocsp.RequestOptions{Hash: crypto.SHA256}); err != nil {
			return err
		}
	}
	own := s.asking(report.Ours, ours.Process.PID(), "http://"+ours.Public+"/ocsp", requests)
	process, address, err := s.bare(ctx, "ocsp", "", "")
	if err != nil {
		return err
	}
	finished, err := s.startCFSSL(ctx, own, requests)
	if err != nil {
		return err
	}
	if err := s.hold(ctx, contest{name: "ocsp", unit: "response", units: s.units(10000), memory: true, rates: true}, own.contestant, finished); err != nil {
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
	all := callers(s.clients, nil)
	header := http.Header{"Content-Type": {"application/ocsp-request"}}
	do := func(ctx context.Context, client, unit int) error {
		if err := all[client].call(ctx, http.MethodPost, url, requests[unit%len(requests)], header); err != nil {
			return err
		}
		// A successful response begins with a SEQUENCE, its length, and ENUMERATED 0.
		if body := all[client].buffer.Bytes(); len(body) < 100 || !bytes.Contains(body[:8], []byte{0x0a, 1, 0}) {
			return fmt.Errorf("%s does not answer with a status but %d bytes: %x", url, len(body), body[:min(len(body), 16)])
		}
		return nil
	}
	return asker{contestant{name: name, pid: pid, do: do}, func() []byte { return all[0].buffer.Bytes() }}
}

// asker is a contestant whose first client's last answer can be read.
type asker struct {
	contestant
	last func() []byte
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

// crl compares the download of a full CRL over kept plain HTTP with a file server's.
func (s *session) crl(ctx context.Context) error {
	ours, err := s.startCA(ctx)
	if err != nil {
		return err
	}
	took, err := ours.revokeMany(ctx, revoked)
	if err != nil {
		return err
	}
	s.printf("  %d revocations were in the CRL after %v", revoked, took)
	issuer, err := ours.issuer(ctx)
	if err != nil {
		return err
	}
	url := "http://" + ours.Public + "/crl/" + issuer + ".crl"
	first := newCaller(nil)
	if err := first.call(ctx, http.MethodGet, url, nil, nil); err != nil {
		return err
	}
	file := s.path("full.crl")
	if err := os.WriteFile(file, first.buffer.Bytes(), 0o644); err != nil {
		return err
	}
	if err := os.Chmod(s.path(), 0o755); err != nil {
		return err
	}
	who := []contestant{s.downloading(report.Ours, ours.Process.PID(), url)}
	process, address, err := s.bare(ctx, "static", file, "")
	if err != nil {
		return err
	}
	who = append(who, s.downloading("bare-go", process.PID(), "http://"+address+"/"))
	if s.installed("nginx") {
		process, address, err := s.startNginx(ctx, "static", "", "")
		if err != nil {
			return err
		}
		who = append(who, s.downloading("nginx", process.PID(), "http://"+address+"/full.crl"))
	}
	return s.hold(ctx, contest{name: "crl", unit: "download", units: s.units(16000), memory: true, rates: true}, who...)
}

func (s *session) downloading(name string, pid int, url string) contestant {
	all := callers(s.clients, nil)
	return contestant{name: name, pid: pid, do: func(ctx context.Context, client, _ int) error {
		return all[client].call(ctx, http.MethodGet, url, nil, nil)
	}}
}

// issuer returns the key id of the CA's issuer.
func (a *authority) issuer(ctx context.Context) (string, error) {
	status, err := a.api.Status(ctx)
	if err != nil {
		return "", err
	}
	return status.Issuers[0].KeyID, nil
}

// revokeMany has n certificates issued and revoked in one call, and returns how long it
// took from that call until the public CRL listed them.
func (a *authority) revokeMany(ctx context.Context, n int) (time.Duration, error) {
	if _, err := a.enrol(ctx, service, n); err != nil {
		return 0, err
	}
	issuer, err := a.issuer(ctx)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if _, err := a.api.Revoke(ctx, &api.RevokeRequest{Service: service, Reason: certs.Superseded}); err != nil {
		return 0, err
	}
	client := newCaller(nil)
	for {
		if err := client.call(ctx, http.MethodGet, "http://"+a.Public+"/crl/"+issuer+".crl", nil, nil); err != nil {
			return 0, err
		}
		list, err := x509.ParseRevocationList(client.buffer.Bytes())
		if err != nil {
			return 0, err
		}
		if len(list.RevokedCertificateEntries) >= n {
			return time.Since(begin), nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// installed says whether a peer is there, and on the log if it is not.
func (s *session) installed(program string) bool {
	if _, err := exec.LookPath(program); err != nil {
		s.printf("  %s is not installed (apt-get install nginx-light libnginx-mod-stream haproxy stunnel4): left out", program)
		return false
	}
	return true
}
