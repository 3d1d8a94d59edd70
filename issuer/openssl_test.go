package issuer

import (
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A reader that shares no code with Go's accepts the chain under its strictest rules.
func TestOpenSSLAcceptsTheChain(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is missing: apt-get install openssl")
	}
	for _, a := range CAAlgorithms() {
		ca := newTestCAFrom(t, a, time.Now().Add(-time.Hour))
		dir := t.TempDir()
		write := func(name string, der []byte) string {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		root, issuing := write("root.pem", ca.root.Raw), write("issuing.pem", ca.issuing.Raw)
		for _, config := range []ProfileConfig{ServiceDefault(), Operator(), Server(), OCSPResponder(), Feed()} {
			p := ca.compile(t, config, testEndpoints())
			subjects, err := p.probes()
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []Subject{subjects[0], subjects[len(subjects)-1]} {
				if s.Key.Algorithm() == RSA4096 {
					s.Key = subjects[0].Key
				}
				leaf := write("leaf.pem", ca.issue(t, p, s, time.Now()).DER)
				out, err := exec.Command(openssl, "verify", "-x509_strict", "-CAfile", root, "-untrusted", issuing, leaf).CombinedOutput()
				if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), ": OK") {
					t.Fatalf("%s, %s: %v\n%s", a, config.Name, err, out)
				}
			}
		}
	}
}
