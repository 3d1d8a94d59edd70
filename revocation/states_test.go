package revocation

import (
	"bufio"
	"context"
	"crypto/x509"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
)

// states adds to an estate what a relying party may meet beside good and revoked
// certificates: unknown, which the ledger knows nothing of, and foreign, of an issuer that is
// answered for by nobody. For each there is a response in NAME.ocsp, and in expired.ocsp one
// about good that has expired.
func newStates(t *testing.T) *estate {
	t.Helper()
	e := newEstate(t)
	td := must[certs.TrustDomain](t)(certs.ParseTrustDomain("example.test"))
	e.write(t, "unknown", "CERTIFICATE", e.issue(t, td, issuer.ServiceDefault(), "spiffe://example.test/web", e.leafKey, time.Now()).DER)
	e.write(t, "key", "PRIVATE KEY", must[[]byte](t)(x509.MarshalPKCS8PrivateKey(e.leafKey)))

	key := must[cryptoSigner](t)(issuer.GenerateKey(issuer.ECDSAP256))
	foreign := *e
	certificate := must[*x509.Certificate](t)(issuer.NewIntermediate(e.root, e.rootKey, key.Public(), issuer.IntermediateRequest{TrustDomain: td, NotBefore: time.Now().Add(-time.Hour)}))
	foreign.issuer = must[*issuer.Issuer](t)(issuer.New([]*x509.Certificate{certificate}, key))
	foreign.urls.Issuer = foreign.issuer.ID()
	e.write(t, "otherissuer", "CERTIFICATE", certificate.Raw)
	e.write(t, "foreign", "CERTIFICATE", foreign.issue(t, td, issuer.ServiceDefault(), "spiffe://example.test/web", e.leafKey, time.Now()).DER)

	for _, name := range stateNames {
		e.ask(t, name, e.urls.OCSP(), name+".ocsp")
	}
	past := *e // the same issuer half an hour ago, with responses that were good for a minute
	past.server = newWeb(t)
	past.publisher = must[*Publisher](t)(Open(context.Background(), Config{
		Log: e.log, Issuers: []CRLSigner{e.issuer}, BaseURL: past.server.URL, OCSPValidity: time.Minute,
		Now: func() time.Time { return time.Now().Add(-30 * time.Minute) },
	}))
	past.server.start(t, past.publisher)
	responderKey := must[cryptoSigner](t)(issuer.NewResponderKey(issuer.ECDSAP256))
	responder := e.issue(t, td, issuer.OCSPResponder(), "spiffe://example.test/handfast/ocsp", responderKey, time.Now().Add(-40*time.Minute))
	past.publisher.SetResponder(e.issuer.ID(), must[*issuer.Responder](t)(issuer.NewResponder(responderKey, responder.DER)))
	e.ask(t, "good", past.server.URL+"/ocsp", "expired.ocsp")
	return e
}

var stateNames = []string{"good", "bad", "held", "released", "unknown", "foreign"}

// issuerOf returns the file of a leaf's issuer.
func issuerOf(name string) string {
	if name == "foreign" {
		return "otherissuer"
	}
	return "issuing"
}

// ask leaves the response about a leaf in a file.
func (e *estate) ask(t *testing.T, name, url, file string) {
	t.Helper()
	out := e.run(t, "openssl", "openssl", "ocsp", "-issuer", issuerOf(name)+".pem", "-cert", name+".pem", "-no_nonce", "-noverify", "-url", url, "-respout", file)
	if _, err := os.Stat(e.path(file)); err != nil {
		// openssl writes no response that is a failure: RFC 6960's unauthorized.
		if !strings.Contains(out, "unauthorized") {
			t.Fatalf("%s: %s", name, out)
		}
		if err := os.WriteFile(e.path(file), []byte{0x30, 3, 0x0a, 1, 6}, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// serveTLS runs openssl s_server with a leaf and a response to staple, and returns its address.
func (e *estate) serveTLS(t *testing.T, leaf, response string) string {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is missing: apt-get install openssl")
	}
	ctx, cancel := context.WithCancel(t.Context())
	command := exec.CommandContext(ctx, "openssl", "s_server", "-accept", "127.0.0.1:0", "-www",
		"-cert", leaf+".pem", "-key", "key.pem", "-cert_chain", issuerOf(leaf)+".pem", "-status_file", response)
	command.Dir = e.dir
	out := must[io.ReadCloser](t)(command.StdoutPipe())
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = command.Wait() // it was killed
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "ACCEPT "); ok {
			go func() {
				for lines.Scan() {
				}
			}()
			return address
		}
	}
	t.Fatal("openssl s_server does not listen")
	return ""
}

// What each client says of each state: what it prints of the response, and whether curl takes
// a server with that staple.
func TestClientsAgreeOnEveryState(t *testing.T) {
	e := newStates(t)
	for _, test := range []struct {
		name, leaf, openssl, client, gnutls string
		curl                                string // why it refuses, "" if it does not
	}{
		{"good", "good", "good.pem: good", "Cert Status: good", "Certificate Status: good", ""},
		{"revoked", "bad", "Reason: keyCompromise", "Cert Status: revoked", "Certificate Status: revoked", "revocation reason: keyCompromise"},
		{"on hold", "held", "Reason: certificateHold", "Cert Status: revoked", "Certificate Status: revoked", "revocation reason: certificateHold"},
		{"released", "released", "released.pem: good", "Cert Status: good", "Certificate Status: good", ""},
		{"unknown", "unknown", "unknown.pem: unknown", "Cert Status: unknown", "Certificate Status: unknown", "status verification FAILED"},
		{"other issuer", "foreign", "Responder Error: unauthorized", "unauthorized (0x6)", "Response Status: unauthorized", "unauthorized (6)"},
		{"expired response", "good", "status expired", "Cert Status: good", "Certificate Status: good", "response has expired"},
	} {
		t.Run(test.name, func(t *testing.T) {
			response := test.leaf + ".ocsp"
			if test.name == "expired response" {
				response = "expired.ocsp"
			}
			e.wants(t, e.run(t, "openssl", "openssl", "ocsp", "-CAfile", "chain.pem", "-issuer", issuerOf(test.leaf)+".pem",
				"-cert", test.leaf+".pem", "-no_nonce", "-respin", response), test.openssl, "openssl ocsp")
			address := e.serveTLS(t, test.leaf, response)
			_, port, _ := strings.Cut(address, ":")
			e.wants(t, e.run(t, "openssl", "sh", "-c", "openssl s_client -connect "+address+" -status -CAfile root.pem </dev/null"), test.client, "openssl s_client -status")
			out := e.run(t, "curl", "curl", "--silent", "--show-error", "--max-time", "60", "--output", "/dev/null", "--write-out", "exit %{exitcode}",
				"--cert-status", "--cacert", "root.pem", "--resolve", "localhost:"+port+":127.0.0.1", "https://localhost:"+port+"/")
			want := "exit 91"
			if test.curl == "" {
				want = "exit 0"
			}
			e.wants(t, out, want, "curl --cert-status")
			e.wants(t, out, test.curl, "curl --cert-status")
			out = e.run(t, "gnutls-bin", "ocsptool", "--verify-response", "--load-response", response,
				"--load-issuer", issuerOf(test.leaf)+".pem", "--load-trust", "chain.pem")
			e.wants(t, out, test.gnutls, "ocsptool")
			if test.leaf != "foreign" {
				e.wants(t, out, "Verifying OCSP Response: Success", "ocsptool")
			}
			if response == "expired.ocsp" { // which ocsptool shows and does not judge
				e.wants(t, e.run(t, "gnutls-bin", "sh", "-c", "gnutls-cli --x509cafile=root.pem --port="+port+" localhost </dev/null"),
					"OCSP data are old", "gnutls-cli")
			}
		})
	}
}

func TestJavaAgreesOnEveryState(t *testing.T) {
	if testing.Short() {
		t.Skip("starting Java takes seconds")
	}
	e := newStates(t)
	e.java(t, []javaCase{
		{"ocsp", "good", "", "good"},
		{"ocsp", "bad", "", "revoked:KEY_COMPROMISE"},
		{"ocsp", "held", "", "revoked:CERTIFICATE_HOLD"},
		{"ocsp", "released", "", "good"},
		{"ocsp", "unknown", "", "failed:UNDETERMINED_REVOCATION_STATUS:Certificate's-revocation-status-is-unknown"},
		{"ocsp", "foreign", "", "failed:UNSPECIFIED:OCSP-response-error:-UNAUTHORIZED"},
		{"response", "good", " good.ocsp", "good"},
		{"response", "good", " expired.ocsp", "failed:UNSPECIFIED:Response-is-unreliable:-its-validity-interval-is-out-of-date"},
		{"response", "bad", " good.ocsp", "failed:UNSPECIFIED:OCSP-response-does-not-include-a-response-for-a-certificate-supplied-in-the-OCSP-request"},
	})
}
