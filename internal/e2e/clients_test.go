//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/internal/harness"
)

// issued is a certificate in files, as `handfast issue` wrote it, and its parts apart.
type issued struct {
	dir, chain, leaf, issuer, key, roots string
	serial                               string
}

func issue(ctx context.Context, t *testing.T, ca *harness.CA, service string) issued {
	t.Helper()
	need(t, "openssl")
	dir := filepath.Join(t.TempDir(), "issued")
	handfast(ctx, t, ca, "issue", service, "--out", dir)
	f := issued{
		dir: dir, chain: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), roots: filepath.Join(dir, "roots.pem"),
		leaf: filepath.Join(dir, "leaf.pem"), issuer: filepath.Join(dir, "issuer.pem"),
	}
	content, err := os.ReadFile(f.chain)
	if err != nil {
		t.Fatal(err)
	}
	const end = "-----END CERTIFICATE-----\n"
	leaf, issuer, _ := strings.Cut(string(content), end)
	write(t, f.leaf, leaf+end)
	write(t, f.issuer, issuer)
	serial := run(ctx, t, "openssl", "x509", "-in", f.leaf, "-noout", "-serial")
	f.serial = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(serial, "serial=")))
	return f
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func issuerID(ctx context.Context, t *testing.T, ca *harness.CA) string {
	t.Helper()
	var status api.Status
	if err := json.Unmarshal([]byte(handfast(ctx, t, ca, "status", "-o", "json")), &status); err != nil {
		t.Fatal(err)
	}
	return status.Issuers[0].KeyID
}

// fetchCRLs downloads the newest full CRL of the issuer, once it names the serial (or at
// once when that is ""), and the root's, both as PEM in one file and as DER in two.
func fetchCRLs(ctx context.Context, t *testing.T, ca *harness.CA, f issued, serial string) (pem string, ders []string) {
	t.Helper()
	need(t, "curl")
	rootCRL := strings.TrimSpace(run(ctx, t, "openssl", "x509", "-in", f.issuer, "-noout", "-ext", "crlDistributionPoints"))
	_, rootURL, ok := strings.Cut(rootCRL, "URI:")
	if !ok {
		t.Fatalf("the intermediate names no CRL: %s", rootCRL)
	}
	pem = filepath.Join(f.dir, "crls.pem")
	ders = []string{filepath.Join(f.dir, "full.crl"), filepath.Join(f.dir, "root.crl")}
	full := fmt.Sprintf("http://%s/crl/%s.crl", ca.Public, issuerID(ctx, t, ca))
	var all string
	for i, address := range []string{full, strings.TrimSpace(rootURL)} {
		eventually(ctx, t, func() error {
			run(ctx, t, "curl", "-sSf", "-o", ders[i], address)
			text := run(ctx, t, "openssl", "crl", "-in", ders[i], "-inform", "DER", "-noout", "-text")
			if i == 0 && !strings.Contains(strings.ToLower(text), serial) {
				return fmt.Errorf("the CRL does not list %s", serial)
			}
			return nil
		})
		all += run(ctx, t, "openssl", "crl", "-in", ders[i], "-inform", "DER")
	}
	write(t, pem, all)
	return pem, ders
}

func TestOpenSSLAgreesWithTheCA(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	ca := startCA(ctx, t)
	handfast(ctx, t, ca, "service", "add", "pay/api", "--dns", "pay.example", "--ip", "192.0.2.7")
	f := issue(ctx, t, ca, "pay/api")

	text := run(ctx, t, "openssl", "x509", "-in", f.leaf, "-noout", "-text")
	for _, want := range []string{
		"URI:spiffe://" + trustDomain + "/pay/api", "DNS:pay.example", "IP Address:192.0.2.7",
		"TLS Web Server Authentication, TLS Web Client Authentication", "OCSP - URI:http://" + ca.Public, "Digital Signature",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("openssl x509 -text does not show %q:\n%s", want, text)
		}
	}

	crls, _ := fetchCRLs(ctx, t, ca, f, "")
	verify := []string{"openssl", "verify", "-x509_strict", "-crl_check_all", "-CAfile", f.roots, "-untrusted", f.issuer}
	run(ctx, t, append(verify, "-CRLfile", crls, f.leaf)...)
	ocsp := []string{"openssl", "ocsp", "-issuer", f.issuer, "-url", "http://" + ca.Public + "/ocsp", "-CAfile", f.roots}
	for _, digest := range []string{"-sha1", "-sha256"} {
		if out := run(ctx, t, append(ocsp, digest, "-cert", f.leaf)...); !strings.Contains(out, "leaf.pem: good") {
			t.Errorf("OCSP with %s: %s; want good", digest, out)
		}
	}
	if out := run(ctx, t, append(ocsp, "-serial", "0x1234567890abcdef")...); !strings.Contains(out, ": unknown") {
		t.Errorf("OCSP of a serial that was never issued: %s; want unknown", out)
	}

	handfast(ctx, t, ca, "revoke", "--cert", f.leaf, "--reason", "superseded")
	out := run(ctx, t, append(ocsp, "-cert", f.leaf)...)
	if !strings.Contains(out, "leaf.pem: revoked") || !strings.Contains(out, "superseded") {
		t.Errorf("OCSP right after the revocation: %s; want revoked, superseded", out)
	}
	crls, _ = fetchCRLs(ctx, t, ca, f, f.serial)
	_, err := harness.Run(ctx, nil, append(verify, "-CRLfile", crls, f.leaf)...)
	if err == nil || !strings.Contains(err.Error(), "certificate revoked") {
		t.Errorf("openssl verify after the revocation: %v; want certificate revoked", err)
	}
}

// RFC 9919: OCSP over GET, in the spellings that clients use.
func TestOCSPOverGETAnswersEverySpelling(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	ctx := within(t)
	ca := startCA(ctx, t)
	handfast(ctx, t, ca, "service", "add", "web")
	f := issue(ctx, t, ca, "web")
	request := filepath.Join(f.dir, "request.der")
	run(ctx, t, "openssl", "ocsp", "-issuer", f.issuer, "-cert", f.leaf, "-no_nonce", "-reqout", request)
	der, err := os.ReadFile(request)
	if err != nil {
		t.Fatal(err)
	}
	plain := base64.StdEncoding.EncodeToString(der)
	spellings := map[string]string{
		"raw":                plain,
		"escaped":            url.PathEscape(plain),
		"fully escaped":      url.QueryEscape(plain),
		"lower-case escapes": strings.NewReplacer("%2B", "%2b", "%2F", "%2f", "%3D", "%3d").Replace(url.QueryEscape(plain)),
	}
	for name, spelling := range spellings {
		response := filepath.Join(f.dir, "response.der")
		run(ctx, t, "curl", "-sSf", "--path-as-is", "-o", response, "http://"+ca.Public+"/ocsp/"+spelling)
		out := run(ctx, t, "openssl", "ocsp", "-respin", response, "-issuer", f.issuer, "-cert", f.leaf, "-CAfile", f.roots)
		if !strings.Contains(out, "leaf.pem: good") {
			t.Errorf("GET, %s: %s; want good", name, out)
		}
	}
}

func TestCurlWithAClientCertificateReachesAService(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	ctx := within(t)
	ca := startCA(ctx, t)
	handfast(ctx, t, ca, "service", "add", "batch")
	handfast(ctx, t, ca, "service", "add", "stranger")
	handfast(ctx, t, ca, "service", "add", "orders", "--dns", "localhost", "--callers", "batch")
	inbound, backend := freeAddress(t), serveIdentity(t)
	startAgent(ctx, t, ca, "orders", t.TempDir(), "--inbound", inbound+"="+backend+",mode=http")
	call := func(caller string) (string, error) {
		f := issue(ctx, t, ca, caller)
		_, port, _ := strings.Cut(inbound, ":")
		return harness.Run(ctx, nil, "curl", "-sSf", "--cacert", f.roots, "--cert", f.chain, "--key", f.key,
			"-H", "X-Forwarded-Client-Cert: URI=spiffe://"+trustDomain+"/admin", "-H", "Client-Cert: :AAAA:",
			"https://localhost:"+port+"/")
	}
	out, err := call("batch")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "URI=spiffe://"+trustDomain+"/batch") || strings.Contains(out, "admin") || strings.Contains(out, ":AAAA:") {
		t.Errorf("the service saw %q; want batch's identity and nothing that the caller claimed", out)
	}
	if out, err := call("stranger"); err == nil {
		t.Errorf("a stranger was answered: %s", out)
	}
}

func TestGnuTLSAcceptsChainCRLAndOCSP(t *testing.T) {
	t.Parallel()
	need(t, "certtool")
	need(t, "ocsptool")
	ctx := within(t)
	ca := startCA(ctx, t)
	handfast(ctx, t, ca, "service", "add", "web")
	f := issue(ctx, t, ca, "web")
	crls, _ := fetchCRLs(ctx, t, ca, f, "")
	verify := func(crls string) (string, error) {
		return harness.Run(ctx, nil, "certtool", "--verify", "--load-ca-certificate", f.roots, "--load-crl", crls, "--infile", f.chain)
	}
	if out, err := verify(crls); err != nil {
		t.Errorf("certtool refuses a good chain: %v\n%s", err, out)
	}
	ask := []string{"ocsptool", "--ask=http://" + ca.Public + "/ocsp", "--load-issuer", f.issuer, "--load-cert", f.leaf, "--load-trust", f.issuer}
	if out := run(ctx, t, ask...); !strings.Contains(out, "Certificate Status: good") {
		t.Errorf("ocsptool: %s; want good", out)
	}
	handfast(ctx, t, ca, "revoke", "--serial", f.serial, "--reason", "keyCompromise")
	crls, _ = fetchCRLs(ctx, t, ca, f, f.serial)
	if out, err := verify(crls); err == nil || !strings.Contains(out, "revoked") {
		t.Errorf("certtool accepts a revoked chain: %v\n%s", err, out)
	}
	out, _ := harness.Run(ctx, nil, ask...) // it exits with 1 for a revoked certificate
	if !strings.Contains(out, "Certificate Status: revoked") {
		t.Errorf("ocsptool after the revocation: %s; want revoked", out)
	}
}

func TestJavaAgreesOnCRLAndOCSP(t *testing.T) {
	t.Parallel()
	need(t, "java")
	ctx := within(t)
	ca := startCA(ctx, t)
	handfast(ctx, t, ca, "service", "add", "web")
	f := issue(ctx, t, ca, "web")
	check := func(mode, want string, crls ...string) {
		t.Helper()
		argv := append([]string{"java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "testdata/PathCheck.java", mode, f.roots, f.chain}, crls...)
		if out := strings.TrimSpace(run(ctx, t, argv...)); out != want {
			t.Errorf("Java by %s: %s; want %s", mode, out, want)
		}
	}
	_, ders := fetchCRLs(ctx, t, ca, f, "")
	check("crl", "valid", ders...)
	check("ocsp", "valid")
	handfast(ctx, t, ca, "revoke", "--serial", f.serial, "--reason", "keyCompromise")
	_, ders = fetchCRLs(ctx, t, ca, f, f.serial)
	check("crl", "invalid: REVOKED", ders...)
	check("ocsp", "invalid: REVOKED")
}
