//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/harness"
)

// Invariant 21 on a real full disk: nothing is issued, the daemon says so and is not
// ready, and it goes on by itself once there is room.
func TestFullDiskStopsIssuanceAndNothingElse(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	ctx := within(t)
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(mount, syscall.MNT_DETACH) }) // the daemon's own clean-up has run before
	ca := startCAIn(ctx, t, filepath.Join(mount, "ca"))
	operator := client(t, ca.Client)
	if _, err := operator.PutService(ctx, &api.Service{Name: "web"}, 0); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(mount, "filler")
	fill(t, filler)

	issue := func() (*api.Issued, error) {
		return operator.Issue(ctx, &api.IssueRequest{Service: "web", CSR: newCSR(t)}, "")
	}
	// The WAL file may have some room left in blocks that it holds already.
	eventually(ctx, t, func() error {
		_, err := issue()
		var refusal *api.Error
		if errors.As(err, &refusal) && refusal.Code == api.CodeLedgerUnavailable {
			return nil
		}
		if err == nil {
			err = errors.New("a certificate")
		}
		return fmt.Errorf("issuing on a full disk leads to %w; want %s", err, api.CodeLedgerUnavailable)
	})
	eventually(ctx, t, func() error { return readiness(ctx, ca, http.StatusServiceUnavailable) })

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, func() error { return readiness(ctx, ca, http.StatusOK) })
	issued, err := issue()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := operator.Certificate(ctx, leafSerial(t, issued)); err != nil {
		t.Error(err)
	}
}

// fill takes all the room that is left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // what matters is that it is full
	for _, block := range [][]byte{make([]byte, 1<<20), make([]byte, 4096)} {
		for err == nil {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
	}
}

func readiness(ctx context.Context, ca *harness.CA, want int) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ca.Public+api.PathReady, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close() // only the status matters
	if response.StatusCode != want {
		return fmt.Errorf("%s answers %d; want %d", api.PathReady, response.StatusCode, want)
	}
	return nil
}

// A token names the root that its CA must show: another CA, here one of the same trust
// domain at the same address, is refused before the token is sent to it.
func TestAgentDoesNotEnrolAtAnotherCA(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	ca := startCA(ctx, t)
	handfast(ctx, t, ca, "service", "add", "web")
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := ca.Token(ctx, "web", token); err != nil {
		t.Fatal(err)
	}
	other := startCA(ctx, t)
	agent, err := harness.Start("agent", nil, filepath.Join(ca.Bin, "handfast-agent"), "run", "--state", filepath.Join(dir, "state"),
		"--token-file", token, "--ca", "https://"+other.API)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.Kill() })
	if _, err := agent.WaitLog(ctx, 0, "fingerprint"); err != nil {
		t.Fatal(err)
	}
	for _, process := range []*harness.Process{agent, other.Process} {
		if strings.Contains(process.Log(), "enrolled") {
			t.Errorf("%s speaks of an enrolment:\n%s", process.Name, process.Log())
		}
	}
}

// Invariant 18: a private key stays on its host. The agent's key is nowhere in what the
// CA keeps or logs, in any spelling, and neither are the CA's own keys in the clear.
func TestPrivateKeysStayWhereTheyAre(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	ca := startCA(ctx, t)
	handfast(ctx, t, ca, "service", "add", "web")
	dir := t.TempDir()
	files := filepath.Join(dir, "files")
	agent := startAgent(ctx, t, ca, "web", dir, "--files", files, "--log-level", "debug")
	keyFile := filepath.Join(files, "key.pem")
	eventually(ctx, t, func() error { _, err := os.Stat(keyFile); return err })
	canaries := spellings(t, keyFile)

	search := func(where string, content []byte) {
		for name, canary := range canaries {
			if bytes.Contains(content, canary) {
				t.Errorf("%s holds the agent's key (%s)", where, name)
			}
		}
	}
	search("the agent's log", []byte(agent.Log()))
	search("the CA's log", []byte(ca.Process.Log()))
	err := filepath.WalkDir(ca.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		search(path, content)
		if filepath.Base(path) != "operator.yaml" && bytes.Contains(content, []byte("PRIVATE KEY")) && !bytes.Contains(content, []byte("ENCRYPTED")) {
			t.Errorf("%s holds a private key in the clear", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// spellings returns the private scalar of the key in file in the forms in which it could leak.
func spellings(t *testing.T, file string) map[string][]byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	if block == nil {
		t.Fatalf("%s is no PEM", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := key.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"raw":           scalar,
		"hexadecimal":   []byte(hex.EncodeToString(scalar)),
		"decimal":       []byte(fmt.Sprint(scalar)),
		"base64":        []byte(base64.StdEncoding.EncodeToString(scalar)),
		"base64 of DER": []byte(base64.StdEncoding.EncodeToString(block.Bytes)),
		"PEM":           bytes.Split(content, []byte("\n"))[1],
	}
}

// Two daemons on one directory, and a daemon whose port is taken, say so and end.
func TestSecondDaemonRefusesToStart(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	ca := startCA(ctx, t)
	_, err := harness.Run(ctx, nil, filepath.Join(ca.Bin, "handfast-ca"), "serve", "--dir", ca.Dir)
	if err == nil || strings.Contains(err.Error(), "goroutine") {
		t.Errorf("a second daemon on the same directory: %v; want one clear line", err)
	}
	other, _, err := harness.InitCA(ctx, ca.Bin, filepath.Join(t.TempDir(), "other"), trustDomain)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(other.Dir, "config.yaml")
	config, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, strings.ReplaceAll(string(config), other.API, ca.API))
	_, err = harness.Run(ctx, nil, filepath.Join(ca.Bin, "handfast-ca"), "serve", "--dir", other.Dir)
	if err == nil || !strings.Contains(err.Error(), ca.API) || strings.Contains(err.Error(), "goroutine") {
		t.Errorf("a daemon whose port is taken: %v; want one line that names %s", err, ca.API)
	}
}

// Revoked by any door, an identity cannot renew: the agent says so and does not loop fast.
func TestRevokedAgentCannotRenew(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	ca := startCA(ctx, t)
	handfast(ctx, t, ca, "service", "add", "web", "--profile", "short")
	agent := startAgent(ctx, t, ca, "web", t.TempDir())
	handfast(ctx, t, ca, "revoke", "--service", "web", "--reason", certs.KeyCompromise.String(), "--yes")
	if _, err := agent.WaitLog(ctx, 0, "revoked"); err != nil {
		t.Fatal(err)
	}
	for _, certificate := range listAll(ctx, t, ca) {
		if certificate.Status != "revoked" {
			t.Errorf("certificate %s of the revoked service is %s", certificate.Serial, certificate.Status)
		}
	}
}
