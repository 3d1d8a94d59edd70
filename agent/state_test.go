package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/handfast/handfast/agent/internal/testpki"
	"github.com/handfast/handfast/certs"
)

// stored makes a state directory with an identity, its predecessor and policy.
func stored(t *testing.T, ca *fakeCA) (Config, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	cfg := ca.config(log)
	cfg.StateDir = filepath.Join(t.TempDir(), "state")
	_, stop := start(t, cfg)
	time.Sleep(45 * time.Minute) // one rotation
	synctest.Wait()
	stop()
	cfg.Token = nil
	return cfg, log
}

func TestStateIsPrivate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, _ := stored(t, newFakeCA(t))
		names := 0
		err := filepath.WalkDir(cfg.StateDir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			want := fs.FileMode(0o600)
			if entry.IsDir() {
				want = 0o700
			}
			if info.Mode().Perm() != want {
				t.Errorf("%s has mode %v; want %v", path, info.Mode(), want)
			}
			names++
			return nil
		})
		if err != nil || names < 4 {
			t.Fatalf("%d names, %v; want directory, identity, its predecessor, enforcement and lock", names, err)
		}
		for _, name := range []string{".", identityFile, enforcementFile} {
			path := filepath.Join(cfg.StateDir, name)
			info, _ := os.Stat(path)
			os.Chmod(path, info.Mode().Perm()|0o040)
			if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "chmod") {
				t.Errorf("%s readable for the group: New says %v; want a refusal that says what to do", name, err)
			}
			os.Chmod(path, info.Mode().Perm())
		}
		first, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "another agent") {
			t.Errorf("a second agent on the same state: %v; want a refusal", err)
		}
	})
}

// Invariant 23: unknown, missing or corrupt policy denies. The identity stays usable.
func TestMissingOrCorruptPolicyDenies(t *testing.T) {
	damage := map[string]func(t *testing.T, path string){
		"deleted": func(t *testing.T, path string) { os.Remove(path) },
		"empty":   func(t *testing.T, path string) { os.WriteFile(path, nil, 0o600) },
		"truncated": func(t *testing.T, path string) {
			data, _ := os.ReadFile(path)
			os.WriteFile(path, data[:len(data)/2], 0o600)
		},
		"one bit":  func(t *testing.T, path string) { flip(t, path) },
		"not ours": func(t *testing.T, path string) { os.WriteFile(path, []byte(`{"callers":["*"]}`), 0o600) },
		"sound digest, callers of nonsense": func(t *testing.T, path string) {
			data, err := encodeState(enforcement{Callers: []string{"*"}})
			if err != nil {
				t.Fatal(err)
			}
			os.WriteFile(path, data, 0o600)
		},
	}
	for name, hurt := range damage {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := newFakeCA(t)
				cfg, log := stored(t, ca)
				hurt(t, filepath.Join(cfg.StateDir, enforcementFile))
				ca.do(func() { ca.fail = errDown })
				a, stop := start(t, cfg)
				defer stop()
				synctest.Wait()
				snap := mustCurrent(t, a)
				gateway := certs.Peer{ID: ca.pki.ID("gateway")}
				if err := certs.AllowPolicy(a)(gateway); !errors.Is(err, certs.ErrPolicyUnknown) {
					t.Errorf("AllowPolicy says %v; want ErrPolicyUnknown", err)
				}
				if snap.Revocation != nil {
					t.Error("revocation is known although its file is damaged")
				}
				if name != "deleted" && !strings.Contains(log.String(), "every caller is refused until the CA has answered") {
					t.Errorf("the log does not say so:\n%s", log)
				}
				ca.do(func() { ca.fail = nil })
				time.Sleep(6 * time.Minute)
				synctest.Wait()
				if err := certs.AllowPolicy(a)(gateway); err != nil {
					t.Errorf("after the CA's answer: %v", err)
				}
			})
		})
	}
}

func flip(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	os.WriteFile(path, data, 0o600)
}

func TestRestartDuringAnOutageKnowsPolicyAndRevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		cfg, _ := stored(t, ca)
		ca.do(func() { ca.fail = errDown })
		a, stop := start(t, cfg)
		defer stop()
		if err := a.Ready(); err != nil { // before any request
			t.Fatal(err)
		}
		if err := certs.AllowPolicy(a)(certs.Peer{ID: ca.pki.ID("gateway")}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDamagedIdentityFallsBackToThePreviousGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		cfg, log := stored(t, ca)
		var newest, previous identity
		if err := errors.Join(readState(filepath.Join(cfg.StateDir, identityFile), &newest), readState(filepath.Join(cfg.StateDir, previousFile), &previous)); err != nil {
			t.Fatal(err)
		}
		flip(t, filepath.Join(cfg.StateDir, identityFile))
		a, stop := start(t, cfg)
		defer stop()
		if got := mustCurrent(t, a).Certificate.Certificate[0]; !bytes.Equal(got, previous.Chain[0]) {
			t.Error("not the previous generation")
		}
		for _, want := range []string{"digest does not match", "set aside"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("log lacks %q", want)
			}
		}
		if _, err := os.Stat(filepath.Join(cfg.StateDir, identityFile+corruptSuffix)); err != nil {
			t.Errorf("the damaged file is not kept: %v", err)
		}
		synctest.Wait() // it is past its renewal, so it is renewed at once
		if bytes.Equal(mustCurrent(t, a).Certificate.Certificate[0], previous.Chain[0]) {
			t.Error("not renewed")
		}
	})
}

func TestKeyOfAnotherCertificateIsNeverUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		cfg, log := stored(t, ca)
		var newest, previous identity
		if err := errors.Join(readState(filepath.Join(cfg.StateDir, identityFile), &newest), readState(filepath.Join(cfg.StateDir, previousFile), &previous)); err != nil {
			t.Fatal(err)
		}
		for name, key := range map[string][]byte{identityFile: previous.Key, previousFile: newest.Key} {
			mixed := newest
			mixed.Key = key
			if name == previousFile {
				mixed = previous
				mixed.Key = key
			}
			data, err := encodeState(mixed)
			if err != nil {
				t.Fatal(err)
			}
			os.WriteFile(filepath.Join(cfg.StateDir, name), data, 0o600)
		}
		a, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		if _, err := a.Current(); !errors.Is(err, ErrNotEnrolled) {
			t.Fatalf("Current says %v; want ErrNotEnrolled", err)
		}
		if n := strings.Count(log.String(), "does not belong to the certificate"); n != 2 {
			t.Errorf("logged %d times; want for both generations:\n%s", n, log)
		}
	})
}

func TestWhenAllStateIsDamagedANewTokenEnrols(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		cfg, _ := stored(t, ca)
		for _, name := range []string{identityFile, previousFile, enforcementFile} {
			flip(t, filepath.Join(cfg.StateDir, name))
		}
		cfg.Token = TokenString(ca.token("second"))
		a, stop := start(t, cfg)
		defer stop()
		synctest.Wait()
		if err := a.Ready(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestUnreadableStateIsAnErrorAndNotReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, _ := stored(t, newFakeCA(t))
		path := filepath.Join(cfg.StateDir, identityFile)
		os.Remove(path)
		os.Mkdir(path, 0o700) // what cannot be read, for root too
		_, err := New(cfg)
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Fatalf("New says %v; want an error that names the file", err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("what could not be read was taken away: %v", err)
		}
	})
}

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
		var log logBuffer
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
		ca, log := newFakeCA(t), &logBuffer{}
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

// Whatever decodes, encodes to the same bytes again; whatever was encoded, decodes to the same value.
func FuzzStateFile(f *testing.F) {
	good, err := encodeState(identity{CA: "https://ca:1", Key: []byte{1, 2}, Chain: [][]byte{{3}}, Roots: [][]byte{{4}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte(stateMagic))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var fromBytes identity
		if err := decodeState(data, &fromBytes); err == nil {
			again, err := encodeState(fromBytes)
			if err != nil {
				t.Fatal(err)
			}
			var second identity
			if err := decodeState(again, &second); err != nil {
				t.Fatalf("what was decoded cannot be decoded again: %v", err)
			}
			if diff := cmp.Diff(fromBytes, second); diff != "" {
				t.Fatal(diff)
			}
		} else if !errors.Is(err, errCorrupt) {
			t.Fatalf("error %v is not errCorrupt", err)
		}
		// Any body under a sound digest is judged by its JSON, and never panics in parse.
		sealed := sealedWith(data)
		var raw identity
		if decodeState(sealed, &raw) == nil {
			if cred, err := raw.parse(); err == nil && cred.cert.Leaf == nil {
				t.Fatal("an identity without a leaf")
			}
		}
	})
}

func sealedWith(body []byte) []byte {
	sealed, err := encodeState(json.RawMessage(body))
	if err != nil {
		return nil
	}
	return sealed
}
