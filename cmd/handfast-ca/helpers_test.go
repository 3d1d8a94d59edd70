package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/internal/harness"
	"github.com/handfast/handfast/issuer/keystore"
	"github.com/handfast/handfast/issuer/keystore/keystoretest"
)

func listen(ctx context.Context, address string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", address)
}

// logged is a log that a test waits for.
type logged struct {
	mu    sync.Mutex
	text  strings.Builder
	ready chan struct{}
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if bytes.Contains(p, []byte("ready")) && l.ready != nil {
		close(l.ready)
		l.ready = nil
	}
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// running is a daemon in this process.
type running struct {
	ca   *harness.CA
	log  *logged
	stop func() error
}

// made is a CA that is made once, because its passphrase costs time by design. Tests get
// copies, whose keys open quickly. TestMain says where.
var made func() (*harness.CA, error)

func makeCA(path string) (*harness.CA, error) {
	ca := &harness.CA{Dir: path, API: "127.0.0.1:9000", Public: "127.0.0.1:9001"}
	if err := run(context.Background(), []string{"init", "--dir", ca.Dir, "--trust-domain", "prod.example.org"}, nil, discard{}, discard{}); err != nil {
		return ca, err
	}
	dir := home.Dir(ca.Dir)
	passphrase, err := keystore.PassphraseSource{File: dir.Passphrase()}.Read()
	if err != nil {
		return ca, err
	}
	return ca, errors.Join(keystoretest.QuickenKey(dir.IssuingKey(), passphrase),
		keystoretest.QuickenKey(dir.RootKey(), passphrase), keystoretest.QuickenSecret(dir.TokenKey(), passphrase))
}

// newCAIn puts a CA of its own, on free addresses, into dir.
func newCAIn(dir string) (*harness.CA, error) {
	original, err := made()
	if err != nil {
		return nil, err
	}
	ca := &harness.CA{Dir: dir}
	var replace []string
	for _, address := range []struct {
		own *string
		was string
	}{{&ca.API, original.API}, {&ca.Public, original.Public}} {
		if *address.own, err = harness.FreeAddress(); err != nil {
			return nil, err
		}
		replace = append(replace, address.was, *address.own)
	}
	replacer := strings.NewReplacer(replace...)
	return ca, filepath.WalkDir(original.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(original.Dir, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(dir, relative), 0o700)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if filepath.Ext(path) == ".yaml" {
			content = []byte(replacer.Replace(string(content)))
		}
		return os.WriteFile(filepath.Join(dir, relative), content, 0o600)
	})
}

func copyCA(t *testing.T) *harness.CA {
	t.Helper()
	ca, err := newCAIn(filepath.Join(t.TempDir(), "ca"))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func serve(t *testing.T, ca *harness.CA) *running {
	t.Helper()
	log := &logged{ready: make(chan struct{})}
	ready := log.ready
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--dir", ca.Dir, "--log-level", "debug"}, nil, discard{}, log)
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("serve ended: %v\n%s", err, log)
	}
	stop := sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { stop() }) //nolint:errcheck // a test that cares has asked before
	return &running{ca: ca, log: log, stop: stop}
}

func (r *running) operator(t *testing.T) *api.Client {
	t.Helper()
	client, err := r.ca.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// enrol registers a service, mints a token and enrols with it.
func (r *running) enrol(t *testing.T, service string) (token string, issued *api.Issued) {
	t.Helper()
	operator := r.operator(t)
	if _, err := operator.PutService(t.Context(), &api.Service{Name: service}, 0); err != nil {
		t.Fatal(err)
	}
	minted, err := operator.CreateToken(t.Context(), &api.TokenRequest{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	issued, err = r.spend(t, minted.Token)
	if err != nil {
		t.Fatal(err)
	}
	return minted.Token, issued
}

func (r *running) spend(t *testing.T, token string) (*api.Issued, error) {
	t.Helper()
	client, err := r.ca.Anonymous()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, csr, err := newRequest()
	if err != nil {
		t.Fatal(err)
	}
	return client.Enroll(t.Context(), &api.EnrollRequest{Token: token, CSR: csr}, "")
}
