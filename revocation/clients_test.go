package revocation

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/socketdir"
	"github.com/handfast/handfast/issuer"
)

// estate is a real issuer with a running publisher and two certificates in circulation,
// for readers that share no code with Go's. Files are in dir.
type estate struct {
	dir       string
	publisher *Publisher
	server    *web
	issuer    *issuer.Issuer
	urls      URLs
	good, bad *issuer.Certificate
	held      *issuer.Certificate // on hold
	released  *issuer.Certificate // was on hold when holding was published
	log       *memoryLog
	root      *x509.Certificate
	rootKey   cryptoSigner
	leafKey   cryptoSigner
	before    []byte // the full CRL from before bad was revoked
	holding   []byte // the full CRL from before released was released
}

func must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func newEstate(t *testing.T) *estate {
	t.Helper()
	e := &estate{dir: socketdir.New(t), server: newWeb(t)}
	td := must[certs.TrustDomain](t)(certs.ParseTrustDomain("example.test"))
	started := time.Now()
	rootKey := must[cryptoSigner](t)(issuer.GenerateKey(issuer.ECDSAP256))
	key := must[cryptoSigner](t)(issuer.GenerateKey(issuer.ECDSAP256))
	root := must[*x509.Certificate](t)(issuer.NewRoot(rootKey, issuer.RootRequest{TrustDomain: td, NotBefore: started.Add(-time.Hour)}))
	issuing := must[*x509.Certificate](t)(issuer.NewIntermediate(root, rootKey, key.Public(), issuer.IntermediateRequest{TrustDomain: td, NotBefore: started.Add(-time.Hour)}))
	e.issuer = must[*issuer.Issuer](t)(issuer.New([]*x509.Certificate{issuing}, key))
	base := e.server.URL
	e.urls = URLs{Base: base, Issuer: e.issuer.ID(), Shards: 2}

	e.log, e.root, e.rootKey = newMemoryLog(), root, rootKey
	log := e.log
	e.publisher = must[*Publisher](t)(Open(context.Background(), Config{Log: log, Issuers: []CRLSigner{e.issuer}, BaseURL: base, Shards: 2}))
	e.server.start(t, e.publisher)

	responderKey := must[cryptoSigner](t)(issuer.NewResponderKey(issuer.ECDSAP256))
	ocspCert := e.issue(t, td, issuer.OCSPResponder(), "spiffe://example.test/handfast/ocsp", responderKey, time.Now())
	e.publisher.SetResponder(e.issuer.ID(), must[*issuer.Responder](t)(issuer.NewResponder(responderKey, ocspCert.DER)))

	leafKey := must[cryptoSigner](t)(issuer.GenerateKey(issuer.ECDSAP256))
	e.leafKey = leafKey
	e.good = e.issue(t, td, issuer.ServiceDefault(), "spiffe://example.test/web", leafKey, time.Now())
	for _, other := range []**issuer.Certificate{&e.bad, &e.held, &e.released} {
		for *other == nil || ShardOf((*other).Serial, 2) != ShardOf(e.good.Serial, 2) { // all in one shard
			*other = e.issue(t, td, issuer.ServiceDefault(), "spiffe://example.test/web", leafKey, time.Now())
		}
	}
	before, _ := e.publisher.CRL(e.issuer.ID())
	e.before = before.DER()
	log.issue(e.issuer.ID(), e.good.Serial)
	log.revoke(t, e.issuer.ID(), e.bad.Serial, certs.KeyCompromise, time.Now(), e.bad.NotAfter)
	log.revoke(t, e.issuer.ID(), e.held.Serial, certs.CertificateHold, time.Now(), e.held.NotAfter)
	log.revoke(t, e.issuer.ID(), e.released.Serial, certs.CertificateHold, time.Now(), e.released.NotAfter)
	e.publish(t)
	holding, _ := e.publisher.CRL(e.issuer.ID())
	e.holding = holding.DER()
	log.revoke(t, e.issuer.ID(), e.released.Serial, certs.RemoveFromCRL, time.Now(), e.released.NotAfter)
	e.publish(t)
	e.write(t, "root", "CERTIFICATE", root.Raw)
	e.write(t, "issuing", "CERTIFICATE", issuing.Raw)
	e.write(t, "good", "CERTIFICATE", e.good.DER)
	e.write(t, "bad", "CERTIFICATE", e.bad.DER)
	e.write(t, "held", "CERTIFICATE", e.held.DER)
	e.write(t, "released", "CERTIFICATE", e.released.DER)
	chain := append(must[[]byte](t)(os.ReadFile(e.path("root.pem"))), must[[]byte](t)(os.ReadFile(e.path("issuing.pem")))...)
	if err := os.WriteFile(e.path("chain.pem"), chain, 0o600); err != nil {
		t.Fatal(err)
	}
	shard := e.urls.Shard(e.good.Serial)
	other := shardPath(e.issuer.ID(), 2, 1-ShardOf(e.good.Serial, 2))
	for name, der := range map[string][]byte{
		"before": e.before, "holding": e.holding, "full": e.served(t, e.urls.Full()), "delta": e.served(t, deltaOf(e.urls.Full())),
		"shard": e.served(t, shard), "othershard": e.served(t, base+other),
	} {
		e.write(t, name, "X509 CRL", der)
	}
	return e
}

func (e *estate) publish(t *testing.T) {
	t.Helper()
	if err := e.publisher.publish(context.Background(), e.publisher.byID[e.issuer.ID()], false); err != nil {
		t.Fatal(err)
	}
}

func (e *estate) issue(t *testing.T, td certs.TrustDomain, config issuer.ProfileConfig, id string, key cryptoSigner, at time.Time) *issuer.Certificate {
	t.Helper()
	config.TrustDomain = td
	profile := must[*issuer.Profile](t)(e.issuer.Compile(config, issuer.Endpoints{
		OCSP: e.urls.OCSP(), CAIssuers: e.urls.CAIssuers(), CRL: e.urls.Shard, FreshestCRL: e.urls.Delta,
	}))
	subject := issuer.Subject{ID: must[certs.ID](t)(certs.ParseID(id)), Key: must[issuer.PublicKey](t)(issuer.CheckKey(key.Public()))}
	if strings.HasSuffix(id, "/web") {
		subject.DNSNames = []string{"localhost"}
	}
	draft := must[issuer.Draft](t)(profile.Draft(subject, at))
	return must[*issuer.Certificate](t)(e.issuer.Sign(must[issuer.Checked](t)(draft.Check())))
}

func (e *estate) served(t *testing.T, url string) []byte {
	t.Helper()
	_, body := exchange(t, e.server, "GET", strings.TrimPrefix(url, e.urls.Base), "", nil)
	return body
}

func (e *estate) path(name string) string { return filepath.Join(e.dir, name) }

// write leaves der as name.der and name.pem.
func (e *estate) write(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	for suffix, contents := range map[string][]byte{".der": der, ".pem": pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})} {
		if err := os.WriteFile(e.path(name+suffix), contents, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// run runs a program in the estate's directory and returns everything it printed.
func (e *estate) run(t *testing.T, pkg, program string, arguments ...string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is missing: apt-get install %s", program, pkg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, path, arguments...)
	command.Dir = e.dir
	out, _ := command.CombinedOutput() // what it printed says whether it worked
	return string(out)
}

func (e *estate) wants(t *testing.T, out, want, what string) {
	t.Helper()
	if !strings.Contains(out, want) {
		t.Errorf("%s: want %q in\n%s", what, want, out)
	}
}

func TestOpenSSLReadsCRLs(t *testing.T) {
	const refused, scope, missing = "certificate revoked", "different CRL scope", "unable to get certificate CRL"
	e := newEstate(t)
	for _, name := range []string{"before", "holding", "full", "delta", "shard", "othershard"} {
		e.wants(t, e.run(t, "openssl", "openssl", "crl", "-in", name+".pem", "-noout", "-verify", "-CAfile", "issuing.pem"), "verify OK", name)
	}
	for _, test := range []struct {
		crls                      []string
		bad, held, released, good string // what it says of each
	}{
		{[]string{"full"}, refused, refused, "released.pem: OK", "good.pem: OK"},
		{[]string{"shard"}, refused, refused, "released.pem: OK", "good.pem: OK"},
		{[]string{"before"}, "bad.pem: OK", "held.pem: OK", "released.pem: OK", "good.pem: OK"},
		{[]string{"before", "delta"}, refused, refused, "released.pem: OK", "good.pem: OK"},
		{[]string{"holding"}, refused, refused, refused, "good.pem: OK"},
		{[]string{"holding", "delta"}, refused, refused, "released.pem: OK", "good.pem: OK"}, // removeFromCRL
		{[]string{"othershard"}, scope, scope, scope, scope},                                 // the partition is checked
		{[]string{"delta"}, missing, missing, missing, missing},                              // and a delta alone is nothing
	} {
		arguments := []string{"verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "issuing.pem", "-crl_check", "-extended_crl", "-use_deltas"}
		for _, name := range test.crls {
			arguments = append(arguments, "-CRLfile", name+".pem")
		}
		what := strings.Join(test.crls, "+")
		for leaf, want := range map[string]string{"bad": test.bad, "held": test.held, "released": test.released, "good": test.good} {
			e.wants(t, e.run(t, "openssl", "openssl", append(arguments, leaf+".pem")...), want, leaf+", "+what)
		}
	}
}

func TestOpenSSLAsksOCSP(t *testing.T) {
	e := newEstate(t)
	for _, hash := range []string{"-sha1", "-sha256"} {
		for _, nonce := range []string{"-nonce", "-no_nonce"} {
			ask := func(extra ...string) string {
				arguments := append([]string{"ocsp", "-CAfile", "chain.pem", "-issuer", "issuing.pem", hash, nonce, "-url", e.urls.OCSP()}, extra...)
				return e.run(t, "openssl", "openssl", arguments...)
			}
			out := ask("-cert", "good.pem", hash, "-cert", "bad.pem", hash, "-serial", "0x1234", hash, "-cert", "held.pem", hash, "-cert", "released.pem")
			for _, want := range []string{
				"Response verify OK", "good.pem: good", "bad.pem: revoked", "Reason: keyCompromise", "0x1234: unknown",
				"held.pem: revoked", "Reason: certificateHold", "released.pem: good",
			} {
				e.wants(t, out, want, hash+" "+nonce)
			}
			if strings.Contains(out, "WARNING") || strings.Contains(out, "rror") {
				t.Errorf("%s %s: %s", hash, nonce, out)
			}
		}
	}
}

func TestCurlAsksOCSPByGET(t *testing.T) {
	e := newEstate(t)
	for _, name := range []string{"good", "bad"} {
		e.run(t, "openssl", "openssl", "ocsp", "-issuer", "issuing.pem", "-cert", name+".pem", "-no_nonce", "-reqout", "request.der")
		request := must[[]byte](t)(os.ReadFile(e.path("request.der")))
		url := e.urls.OCSP() + "/" + base64.StdEncoding.EncodeToString(request)
		e.run(t, "curl", "curl", "--silent", "--fail", "--path-as-is", "--output", "response.der", url)
		out := e.run(t, "openssl", "openssl", "ocsp", "-CAfile", "chain.pem", "-issuer", "issuing.pem", "-cert", name+".pem", "-respin", "response.der")
		e.wants(t, out, "Response verify OK", name)
		e.wants(t, out, map[string]string{"good": "good.pem: good", "bad": "bad.pem: revoked"}[name], name)
	}
}

func TestGnuTLSAgrees(t *testing.T) {
	e := newEstate(t)
	for _, name := range []string{"before", "full", "delta", "shard"} {
		e.wants(t, e.run(t, "gnutls-bin", "certtool", "--verify-crl", "--load-ca-certificate", "issuing.pem", "--infile", name+".pem"), "Verification output: Verified.", name)
	}
	const good, revoked = "Certificate Status: good", "Certificate Status: revoked"
	for name, want := range map[string]string{"good": good, "bad": revoked, "held": revoked, "released": good} {
		out := e.run(t, "gnutls-bin", "ocsptool", "--ask", "--nonce", "--load-cert", name+".pem", "--load-issuer", "issuing.pem", "--load-trust", "chain.pem")
		e.wants(t, out, want, name)
		e.wants(t, out, "Success", name)
	}
}

func TestJavaAgrees(t *testing.T) {
	if testing.Short() {
		t.Skip("starting Java takes seconds")
	}
	newEstate(t).java(t, []javaCase{
		{"crl", "good", " full.der", "good"},
		{"crl", "bad", " full.der", "revoked:KEY_COMPROMISE"},
		{"crl", "good", " shard.der", "good"},
		{"crl", "bad", " shard.der", "revoked:KEY_COMPROMISE"},
		{"crl", "bad", " before.der", "good"},
		{"crl", "held", " full.der", "revoked:CERTIFICATE_HOLD"},
		{"crl", "released", " full.der", "good"},
		{"ocsp", "held", "", "revoked:CERTIFICATE_HOLD"},
		{"ocsp", "released", "", "good"},
		{"ocsp", "good", "", "good"},
		{"ocsp", "bad", "", "revoked:KEY_COMPROMISE"},
	})
}

// javaCase is a line for testdata/CheckRevocation.java and what it answers.
type javaCase struct{ mode, leaf, files, want string }

// java asks all cases of one process: it starts slowly.
func (e *estate) java(t *testing.T, all []javaCase) {
	t.Helper()
	java, err := exec.LookPath("java")
	if err != nil {
		t.Skip("java is missing: apt-get install default-jdk-headless")
	}
	source := must[string](t)(filepath.Abs("testdata/CheckRevocation.java"))
	var cases, want []string
	for _, test := range all {
		cases = append(cases, fmt.Sprintf("%s %s.der %s.der%s", test.mode, issuerOf(test.leaf), test.leaf, test.files))
		want = append(want, test.want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, java, "-XX:TieredStopAtLevel=1", source)
	command.Dir, command.Stdin = e.dir, strings.NewReader(strings.Join(cases, "\n")+"\n")
	out, err := command.CombinedOutput()
	if err != nil && strings.Contains(string(out), "jdk.compiler") {
		t.Skip("this java cannot compile a source file: apt-get install default-jdk-headless")
	}
	if got := strings.Fields(string(out)); err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("java says %s (%v)\nwant %v\nfor %s", out, err, want, strings.Join(cases, "; "))
	}
}
