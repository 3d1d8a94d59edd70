package main

import (
	"context"
	"crypto/x509"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/handfast/handfast/bench/internal/report"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// revoked is how many certificates the CRL lists that is served.
const revoked = 1000

// crl compares the download of a full CRL over kept plain HTTP with a file server's, and then what
// it costs to make one and how soon what is revoked is listed.
func (s *session) crl(ctx context.Context) error {
	if err := s.crlDownload(ctx); err != nil {
		return err
	}
	if err := s.end(); err != nil { // the rest needs the machine
		return err
	}
	if err := s.crlMake(ctx); err != nil {
		return err
	}
	return s.crlFresh(ctx)
}

func (s *session) crlDownload(ctx context.Context) error {
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
		s.printf("  %s is not installed (apt-get install nginx-light libnginx-mod-stream haproxy stunnel4 openssl): left out", program)
		return false
	}
	return true
}
