package certs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The last good certificate is served while nothing better comes, until it expires, and
// never after (invariant 22).
func TestLastGoodUntilExpiryNeverAfter(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, w *world, dir string){
		"nothing new": func(*testing.T, *world, string) {},
		"a generation with another's key": func(t *testing.T, w *world, dir string) {
			bad := files(t, w.snapshot(t, "api"))
			bad[KeyFile] = files(t, w.snapshot(t, "api"))[KeyFile]
			publishFiles(t, dir, "..2", bad)
		},
		"a half-written certificate": func(t *testing.T, w *world, dir string) {
			bad := files(t, w.snapshot(t, "api"))
			bad[CertFile] = bad[CertFile][:100]
			publishFiles(t, dir, "..2", bad)
		},
		"a malformed list": func(t *testing.T, w *world, dir string) {
			bad := files(t, w.snapshot(t, "api"))
			bad[CRLFile] = pemOf("X509 CRL", []byte("no"))
			publishFiles(t, dir, "..2", bad)
		},
		"no roots": func(t *testing.T, w *world, dir string) {
			bad := files(t, w.snapshot(t, "api"))
			bad[RootsFile] = nil
			publishFiles(t, dir, "..2", bad)
		},
		"an endless file": func(t *testing.T, w *world, dir string) {
			bad := files(t, w.snapshot(t, "api"))
			bad[CertFile] = append(bad[CertFile], make([]byte, maxPEMSize)...)
			publishFiles(t, dir, "..2", bad)
		},
		"the directory is gone": func(t *testing.T, _ *world, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "certs")
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, time.Now())
				good := w.snapshot(t, "api", "*")
				publishFiles(t, dir, "..1", files(t, good))
				var heard loads
				src := FileSource(dir, OnLoad(heard.add))
				defer src.Close()
				if err := src.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				spoil(t, w, dir)
				time.Sleep(5 * time.Second)
				if _, err := heard.last(); (err == nil) != (name == "nothing new") {
					t.Errorf("OnLoad heard %v", err)
				}
				// To the second before, and the second after.
				time.Sleep(time.Until(good.Certificate.Leaf.NotAfter))
				if got, err := src.Current(); err != nil || got.ID != good.ID {
					t.Errorf("before the expiry: %v", err)
				}
				time.Sleep(time.Second)
				_, err := src.Current()
				var refusal *Refusal
				if !errors.As(err, &refusal) || refusal.Cause != CauseOwnCertificate {
					t.Errorf("after the expiry: %v", err)
				}
				cfg := ServerConfig(src, AllowTrustDomain(w.td))
				if own, err := cfg.GetCertificate(nil); err == nil {
					t.Errorf("an expired certificate is served: %v", own.Leaf.NotAfter)
				}
				publishFiles(t, dir, "..3", files(t, newWorld(t, time.Now()).snapshot(t, "api")))
				time.Sleep(2 * time.Second)
				if _, err := src.Current(); err != nil {
					t.Errorf("after a good one: %v", err)
				}
			})
		})
	}
}

func TestFollowerWaitAndClose(t *testing.T) {
	tried := make(chan struct{})
	once := sync.OnceFunc(func() { close(tried) })
	src := FileSource(filepath.Join(t.TempDir(), "absent"), PollEvery(-1), OnLoad(func(*Snapshot, error) { once() }))
	<-tried // before it there is nothing to say
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := src.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Wait says %v", err)
	}
	for range 2 {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := src.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("after Close, Wait says %v", err)
	}
}
