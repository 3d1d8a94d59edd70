package certdir

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/certs"
)

// The staple stands beside its certificate, in the same generation, and goes when it ends.
func TestStapleIsAFileBesideItsCertificate(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(w.dir, certs.StapleFile)
	snap, _ := w.source.Current()
	stapled, own := *snap, *snap.Certificate
	own.OCSPStaple = w.Staple(own.Leaf, ocsp.Good, time.Hour)
	stapled.Certificate = &own

	start(t, w.config())
	eventually(t, "files", w.isCurrent)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a staple that is not there has a file: %v", err)
	}
	w.source.Set(&stapled)
	eventually(t, "the staple's file", func() bool {
		data, err := os.ReadFile(path)
		return err == nil && bytes.Equal(data, own.OCSPStaple)
	})
	follower := certs.FileSource(w.dir)
	defer follower.Close()
	if err := follower.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := follower.Current(); err != nil || !bytes.Equal(got.Certificate.OCSPStaple, own.OCSPStaple) {
		t.Errorf("who reads the files has no staple: %v", err)
	}
	w.source.Set(snap)
	eventually(t, "no file after the staple's end", func() bool {
		_, err := os.Stat(path)
		return os.IsNotExist(err)
	})
}
