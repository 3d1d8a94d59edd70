//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/handfast/handfast/internal/harness"
)

// stapledService is a running agent of a service whose certificate demands a staple, and a
// client's certificate in files that it lets in.
type stapledService struct {
	ca      *harness.CA
	agent   *harness.Process
	address string
	port    string
	files   string // where the agent keeps the certificate's files
	client  issued
}

func startStapled(ctx context.Context, t *testing.T) *stapledService {
	t.Helper()
	s := &stapledService{ca: startCA(ctx, t), address: freeAddress(t), files: filepath.Join(t.TempDir(), "files")}
	handfast(ctx, t, s.ca, "service", "add", "client")
	handfast(ctx, t, s.ca, "service", "add", "orders", "--profile", "stapled", "--dns", "localhost", "--callers", "*")
	s.agent = startAgent(ctx, t, s.ca, "orders", t.TempDir(), "--inbound", s.address+"="+serveIdentity(t)+",mode=http", "--files", s.files)
	s.client = issue(ctx, t, s.ca, "client")
	_, s.port, _ = net.SplitHostPort(s.address)
	return s
}

// ask runs openssl s_client with this certificate and a request, and returns what it prints.
func (s *stapledService) ask(ctx context.Context, address string, show issued) (string, error) {
	const script = `printf 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' |
		openssl s_client -connect "$1" -status -ign_eof -verify_return_error -CAfile "$2" -cert "$3" -cert_chain "$4" -key "$5" 2>&1`
	return harness.Run(ctx, nil, "timeout", "60", "sh", "-c", script, "sh", address, show.roots, show.leaf, show.issuer, show.key)
}

// wait returns once the agent staples.
func (s *stapledService) wait(ctx context.Context, t *testing.T) string {
	t.Helper()
	var out string
	eventually(ctx, t, func() error {
		var err error
		if out, err = s.ask(ctx, s.address, s.client); err != nil || !strings.Contains(out, "OCSP Response Status: successful") {
			return fmt.Errorf("no staple: %w\n%s", err, out)
		}
		return nil
	})
	return out
}

// openssl, curl and GnuTLS read what a real agent staples, and believe it.
func TestClientsReadTheAgentsStaple(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	ctx := within(t)
	s := startStapled(ctx, t)
	out := s.wait(ctx, t)
	for _, want := range []string{"Cert Status: good", "Verify return code: 0 (ok)", "HTTP/1.1 200", "Next Update: "} {
		if !strings.Contains(out, want) {
			t.Errorf("openssl s_client does not show %q:\n%s", want, out)
		}
	}
	t.Run("curl", func(t *testing.T) {
		need(t, "curl")
		run(ctx, t, "curl", "-sSf", "--max-time", "60", "--cert-status", "--resolve", "localhost:"+s.port+":127.0.0.1",
			"--cacert", s.client.roots, "--cert", s.client.chain, "--key", s.client.key, "https://localhost:"+s.port+"/")
	})
	t.Run("GnuTLS", func(t *testing.T) {
		need(t, "gnutls-cli")
		need(t, "ocsptool")
		response := filepath.Join(t.TempDir(), "staple.der")
		const script = `printf 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' |
			timeout 60 gnutls-cli --save-ocsp="$1" --x509cafile="$2" --x509certfile="$3" --x509keyfile="$4" --port="$5" localhost 2>&1`
		out := run(ctx, t, "sh", "-c", script, "sh", response, s.client.roots, s.client.chain, s.client.key, s.port)
		if !strings.Contains(out, "OCSP") || !strings.Contains(out, "The certificate is trusted") {
			t.Errorf("gnutls-cli says:\n%s", out)
		}
		out = run(ctx, t, "ocsptool", "--verify-response", "--load-response", response, "--load-issuer", s.client.issuer, "--load-trust", s.client.issuer)
		if !strings.Contains(out, "Verifying OCSP Response: Success") {
			t.Errorf("ocsptool says:\n%s", out)
		}
	})
	t.Run("file", func(t *testing.T) {
		out := run(ctx, t, "sh", "-c", `openssl ocsp -respin "$1/staple.der" -issuer "$2" -cert "$1/cert.pem" -CAfile "$3" 2>&1`,
			"sh", s.files, s.client.issuer, s.client.roots)
		if !strings.Contains(out, "Response verify OK") || !strings.Contains(out, "good") {
			t.Errorf("openssl ocsp says:\n%s", out)
		}
	})
	t.Run("nginx", func(t *testing.T) { s.nginxStaples(ctx, t) })
}

// nginxStaples runs nginx on the agent's files.
func (s *stapledService) nginxStaples(ctx context.Context, t *testing.T) {
	if _, err := exec.LookPath("nginx"); err != nil {
		t.Skip("nginx is not installed (make test does not install it: Debian's package starts a daemon)")
	}
	dir, address := t.TempDir(), freeAddress(t)
	config := filepath.Join(dir, "nginx.conf")
	write(t, config, fmt.Sprintf(`daemon off; master_process off; pid "%[1]s/pid"; error_log stderr;
events {}
http {
  access_log off; client_body_temp_path "%[1]s"; proxy_temp_path "%[1]s"; fastcgi_temp_path "%[1]s"; uwsgi_temp_path "%[1]s"; scgi_temp_path "%[1]s";
  server {
    listen %[2]s ssl;
    ssl_certificate "%[3]s/cert.pem"; ssl_certificate_key "%[3]s/key.pem";
    ssl_stapling on; ssl_stapling_file "%[3]s/staple.der";
    location / { return 200 "ok"; }
  }
}
`, dir, address, s.files))
	nginx, err := harness.Start("nginx", os.Environ(), "nginx", "-p", dir, "-c", config)
	if err != nil {
		t.Fatal(err)
	}
	defer nginx.Stop() //nolint:errcheck // it may end as it likes
	eventually(ctx, t, func() error {
		out, err := s.ask(ctx, address, s.client)
		if err != nil || !strings.Contains(out, "Cert Status: good") || !strings.Contains(out, "HTTP/1.1 200") {
			return fmt.Errorf("%w\n%s\n%s", err, out, nginx.Log())
		}
		return nil
	})
}

// Two agents staple to each other, as server and as client; a client whose TLS library cannot staple (here
// openssl) is refused with a certificate that demands it, and the log says why.
func TestAgentsDemandStaplesOfEachOther(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	ctx := within(t)
	s := startStapled(ctx, t)
	handfast(ctx, t, s.ca, "service", "add", "web", "--profile", "stapled")
	outbound := freeAddress(t)
	startAgent(ctx, t, s.ca, "web", t.TempDir(), "--outbound", outbound+"=orders@"+s.address)
	eventually(ctx, t, func() error {
		_, err := harness.Run(ctx, nil, "curl", "-sSf", "--max-time", "20", "http://"+outbound+"/")
		return err
	})
	from := s.agent.Lines()
	out, err := s.ask(ctx, s.address, issue(ctx, t, s.ca, "web"))
	if strings.Contains(out, "HTTP/1.1 200") {
		t.Errorf("a certificate that demands a staple was let in without: %v\n%s", err, out)
	}
	if _, err := s.agent.WaitLog(ctx, from, "staple_missing", "spiffe://"+trustDomain+"/web"); err != nil {
		t.Errorf("the agent's log does not say why: %v", err)
	}
}

// A brief certificate names nothing to look up. Agents accept it, and refuse it once the CA revokes it; OpenSSL
// knows nothing of noRevAvail, and finds no CRL when it is told to look for one.
func TestBriefCertificatesHaveNothingToLookUp(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	ctx := within(t)
	s := startStapled(ctx, t)
	handfast(ctx, t, s.ca, "service", "add", "brief", "--profile", "brief")
	brief := issue(ctx, t, s.ca, "brief")
	text := run(ctx, t, "openssl", "x509", "-in", brief.leaf, "-noout", "-text")
	for _, unwanted := range []string{"CRL Distribution Points", "OCSP - URI", "Freshest CRL"} {
		if strings.Contains(text, unwanted) {
			t.Errorf("there is %q:\n%s", unwanted, text)
		}
	}
	if !strings.Contains(text, "2.5.29.56") && !strings.Contains(text, "No Revocation Available") {
		t.Errorf("there is no noRevAvail:\n%s", text)
	}
	run(ctx, t, "openssl", "verify", "-x509_strict", "-CAfile", brief.roots, "-untrusted", brief.issuer, brief.leaf)
	if out, err := harness.Run(ctx, nil, "openssl", "verify", "-crl_check", "-CAfile", brief.roots, "-untrusted", brief.issuer, brief.leaf); err == nil {
		t.Errorf("openssl finds a CRL for it, or has learnt of RFC 9608; then docs/revocation.md is to be changed: %s", out)
	}
	s.wait(ctx, t)
	if out, err := s.ask(ctx, s.address, brief); err != nil || !strings.Contains(out, "HTTP/1.1 200") {
		t.Errorf("the agent refuses it: %v\n%s", err, out)
	}
	handfast(ctx, t, s.ca, "revoke", "--serial", brief.serial, "--yes")
	eventually(ctx, t, func() error {
		if out, _ := s.ask(ctx, s.address, brief); strings.Contains(out, "HTTP/1.1 200") {
			return errors.New("it is revoked and the agent lets it in")
		}
		return nil
	})
}
