package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/agent/internal/testpki"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/logtest"
)

// Invariant 24: certificate and key change together. A process is killed again and again while it
// saves; what it leaves always loads, and always as a pair.
func TestKilledWhileSaving(t *testing.T) {
	if dir := os.Getenv("HANDFAST_TEST_SAVE_LOOP"); dir != "" {
		saveLoop(t, dir)
		return
	}
	dir := filepath.Join(t.TempDir(), "state")
	serials := map[string]bool{}
	for i := range 12 {
		helper := exec.Command(os.Args[0], "-test.run=^TestKilledWhileSaving$")
		helper.Env = append(os.Environ(), "HANDFAST_TEST_SAVE_LOOP="+dir)
		output, err := helper.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := helper.Start(); err != nil {
			t.Fatal(err)
		}
		bufio.NewReader(output).ReadString('\n') // the first save is done
		time.Sleep(time.Duration(i*1500) * time.Microsecond)
		helper.Process.Kill()
		helper.Wait()
		var log logtest.Buffer
		s, err := openStore(dir, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		cred, err := s.loadIdentity() // parse holds the key against the certificate
		if err != nil || cred == nil || log.String() != "" {
			t.Fatalf("kill %d: %v, %v; log %s", i, cred, err, log.String())
		}
		serials[cred.serial.String()] = true
		if left, _ := filepath.Glob(filepath.Join(dir, ".*.tmp-*")); len(left) > 0 {
			t.Errorf("left behind, with a key: %v", left)
		}
		s.close()
	}
	if len(serials) < 10 {
		t.Errorf("only %d different states in 12 kills: the loop did not write", len(serials))
	}
}

// saveLoop saves one identity after the other until it is killed.
func saveLoop(t *testing.T, dir string) {
	pki := testpki.New(t, "test.example", nil)
	s, err := openStore(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var identities []identity
	for i := range 4 {
		identities = append(identities, issuedBy(t, pki, fmt.Sprintf("service-%d", i)))
	}
	for i := 0; ; i++ {
		if err := s.saveIdentity(identities[i%len(identities)]); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			fmt.Println("saved")
		}
	}
}

func issuedBy(t *testing.T, pki *testpki.PKI, service string) identity {
	t.Helper()
	a := &Agent{keyAlgorithm: "ecdsa-p256"}
	key, _, err := a.makeKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := parseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	leaf := pki.Issue(pki.ID(service), signer.Public(), time.Hour)
	return identity{CA: "https://ca.test:1", Chain: [][]byte{leaf.Raw, pki.Issuing.Raw}, Key: key, Roots: [][]byte{pki.Root.Raw}}
}

// Invariant 24, in memory: whoever reads while rotations go on gets pairs only.
func TestReadersNeverSeeAMixtureWhileRotating(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		ca.life = time.Minute
		a, stop := start(t, ca.config(log))
		defer stop()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		seen := make(chan map[string]bool, 4)
		for range 4 {
			go func() {
				serials := map[string]bool{}
				for ctx.Err() == nil {
					snap, err := a.Current()
					if err != nil {
						t.Error(err)
						break
					}
					if !samePublicKey(publicOf(snap), snap.Certificate.Leaf.PublicKey) || !bytes.Equal(snap.Certificate.Leaf.Raw, snap.Certificate.Certificate[0]) {
						t.Error("a mixture")
					}
					serials[snap.Certificate.Leaf.SerialNumber.Text(16)] = true
					time.Sleep(time.Second / 3)
				}
				seen <- serials
			}()
		}
		time.Sleep(20 * time.Minute)
		cancel()
		for range 4 {
			if n := len(<-seen); n < 20 {
				t.Errorf("a reader saw %d certificates in 20 minutes; want many rotations", n)
			}
		}
	})
}

func publicOf(snap *certs.Snapshot) crypto.PublicKey {
	signer, ok := snap.Certificate.PrivateKey.(crypto.Signer)
	if !ok {
		return nil
	}
	return signer.Public()
}
