package agent

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/logtest"
)

// stored makes a state directory with an identity, its predecessor and policy.
func stored(t *testing.T, ca *fakeCA) (Config, *logtest.Buffer) {
	t.Helper()
	log := &logtest.Buffer{}
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
		a, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := mustCurrent(t, a).Certificate.Certificate[0]; !bytes.Equal(got, previous.Chain[0]) {
			t.Error("not the previous generation") // it may renew as soon as it runs
		}
		defer launch(t, a)()
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
