package revocation

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// NSS takes the full CRL and agrees with it; partitions and deltas it does not take, which is
// why the full one is always there.
func TestNSSAgrees(t *testing.T) {
	e := newEstate(t)
	nss := func(program string, arguments ...string) string {
		return e.run(t, "libnss3-tools", program, append([]string{arguments[0], "-d", "sql:" + e.dir}, arguments[1:]...)...)
	}
	nss("certutil", "-N", "--empty-password")
	for name, trust := range map[string]string{"root": "CT,C,C", "issuing": ",,", "good": ",,", "bad": ",,", "held": ",,", "released": ",,"} {
		if out := nss("certutil", "-A", "-n", name, "-t", trust, "-i", name+".pem"); out != "" {
			t.Fatalf("%s: %s", name, out)
		}
	}
	const valid, revoked = "certificate is valid", "Certificate has been revoked"
	verify := func(crl string, want map[string]string) {
		t.Helper()
		nss("crlutil", "-D", "-n", "issuing") // NSS goes by thisUpdate, and these are of the same second
		if crl != "" {
			if out := nss("crlutil", "-I", "-i", crl+".der"); out != "" {
				t.Errorf("%s: %s", crl, out)
			}
		}
		for name, what := range want {
			e.wants(t, nss("certutil", "-V", "-n", name, "-u", "C"), what, name+", "+crl)
		}
	}
	verify("", map[string]string{"good": valid, "bad": valid, "held": valid, "released": valid})
	verify("holding", map[string]string{"good": valid, "bad": revoked, "held": revoked, "released": revoked})
	verify("full", map[string]string{"good": valid, "bad": revoked, "held": revoked, "released": valid})
	for _, name := range []string{"shard", "delta"} {
		e.wants(t, nss("crlutil", "-I", "-i", name+".der"), "SEC_ERROR_CRL_UNKNOWN_CRITICAL_EXTENSION", name)
	}
}

// nginx has three servers: one checks clients with CRLs, one asks the responder about them,
// and one staples what the responder says of itself.
const nginxServers = `daemon off; master_process off; pid %[1]s/nginx.pid; error_log stderr info;
events {}
http {
  access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  ssl_certificate_key %[1]s/key.pem; ssl_trusted_certificate %[1]s/chain.pem; ssl_session_cache off; ssl_session_tickets off;
  server {
    listen unix:%[1]s/crl ssl; ssl_certificate %[1]s/good.chain;
    ssl_verify_client on; ssl_client_certificate %[1]s/root.pem; ssl_verify_depth 2; ssl_crl %[1]s/crls.pem;
    location / { return 200 welcome; }
  }
  server {
    listen unix:%[1]s/ocsp ssl; ssl_certificate %[1]s/good.chain;
    ssl_verify_client on; ssl_client_certificate %[1]s/root.pem; ssl_verify_depth 2; ssl_ocsp leaf; ssl_ocsp_responder %[2]s;
    location / { return 200 welcome; }
  }
  server {
    listen unix:%[1]s/good ssl; ssl_certificate %[1]s/good.chain;
    ssl_stapling on; ssl_stapling_verify on; ssl_stapling_responder %[2]s;
    location / { return 200 welcome; }
  }
  server {
    listen unix:%[1]s/bad ssl; ssl_certificate %[1]s/bad.chain;
    ssl_stapling on; ssl_stapling_verify on; ssl_stapling_responder %[2]s;
    location / { return 200 welcome; }
  }
}
`

func TestNginxAgrees(t *testing.T) {
	if _, err := exec.LookPath("nginx"); err != nil {
		t.Skip("nginx is missing: apt-get install nginx-light (make test does not: Debian's package starts a daemon)")
	}
	e := newStates(t)
	rootCRL := must[[]byte](t)(x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour),
	}, e.root, e.rootKey))
	e.write(t, "root-crl", "X509 CRL", rootCRL)
	e.join(t, "crls.pem", "full.pem", "root-crl.pem")
	for _, name := range stateNames {
		e.join(t, name+".chain", name+".pem", issuerOf(name)+".pem")
	}
	if err := os.WriteFile(e.path("nginx.conf"), fmt.Appendf(nil, nginxServers, e.dir, e.urls.OCSP()), 0o600); err != nil {
		t.Fatal(err)
	}
	logs := e.startNginx(t)
	curl := func(socket string, arguments ...string) string {
		return e.run(t, "curl", "curl", append([]string{"--silent", "--show-error", "--max-time", "60", "--cacert", "root.pem",
			"--unix-socket", e.path(socket), "https://localhost/"}, arguments...)...)
	}
	for name, ok := range map[string]bool{"good": true, "released": true, "bad": false, "held": false, "unknown": false, "foreign": false} {
		out := curl("ocsp", "--cert", name+".chain", "--key", "key.pem")
		if strings.Contains(out, "welcome") != ok {
			t.Errorf("ssl_ocsp, %s: %s", name, out)
		}
		if name == "unknown" || name == "foreign" {
			continue // a CRL cannot tell who was never issued
		}
		out = curl("crl", "--cert", name+".chain", "--key", "key.pem")
		if strings.Contains(out, "welcome") != ok {
			t.Errorf("ssl_crl, %s: %s", name, out)
		}
	}
	// nginx asks when the first client comes, who gets no staple yet.
	var out string
	for patience := time.Now().Add(time.Minute); time.Now().Before(patience); time.Sleep(20 * time.Millisecond) {
		if out = curl("good", "--cert-status"); strings.Contains(out, "welcome") {
			break
		}
	}
	if !strings.Contains(out, "welcome") {
		t.Errorf("nginx staples nothing that curl takes: %s", out)
	}
	for range 3 { // a revoked one it does not staple at all
		if out := curl("bad", "--cert-status"); strings.Contains(out, "welcome") {
			t.Error("curl takes a revoked server")
		}
	}
	if t.Failed() {
		content, _ := os.ReadFile(logs)
		t.Logf("%s", content)
	}
}

// startNginx returns where nginx logs.
func (e *estate) startNginx(t *testing.T) string {
	t.Helper()
	logs := must[*os.File](t)(os.Create(e.path("nginx.log")))
	defer logs.Close()
	command := exec.CommandContext(t.Context(), "nginx", "-p", e.dir, "-e", "stderr", "-c", e.path("nginx.conf"))
	command.Stderr = logs
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill() // it ended already if the test did
		_ = command.Wait()
	})
	for patience := time.Now().Add(time.Minute); time.Now().Before(patience); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(e.path("bad")); err == nil {
			return logs.Name()
		}
	}
	content, _ := os.ReadFile(logs.Name())
	t.Fatalf("nginx does not listen:\n%s", content)
	return ""
}

// join writes files one after the other into another.
func (e *estate) join(t *testing.T, name string, parts ...string) {
	t.Helper()
	var all []byte
	for _, part := range parts {
		all = append(all, must[[]byte](t)(os.ReadFile(filepath.Join(e.dir, part)))...)
	}
	if err := os.WriteFile(e.path(name), all, 0o600); err != nil {
		t.Fatal(err)
	}
}
