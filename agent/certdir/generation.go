package certdir

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"

	"github.com/handfast/handfast/internal/generation"
)

func marshalKey(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, errors.New("the private key cannot be written to a file") // no detail of a key in an error
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// write makes files the newest generation, unless they are that already.
func (w *Writer) write(files []file) (bool, error) {
	d := generation.Dir{Path: w.cfg.Dir, Mode: w.dirMode(), Group: w.cfg.Group}
	// The names come first: they lead nowhere until the swap, which makes all files appear at once.
	if err := d.Link(false, links...); err != nil {
		return false, err
	}
	current, err := d.InForce()
	if err != nil {
		return false, err
	}
	if current != "" && w.same(current, files) {
		return false, nil
	}
	next, err := d.Make(w.modes(files))
	if err != nil {
		return false, err
	}
	if err := d.Swap(next); err != nil {
		return false, err
	}
	// The one before stays, for readers in the middle. What cannot be removed is tried
	// again at the next change.
	if err := d.Prune(next, current); err != nil {
		w.cfg.Logger.Warn("old certificate files cannot be removed", "directory", w.cfg.Dir, "cause", err)
	}
	return true, nil
}

func (w *Writer) modes(files []file) []generation.File {
	out := make([]generation.File, len(files))
	for i, f := range files {
		out[i] = generation.File{Name: f.name, Data: f.data, Mode: w.modeOf(f)}
	}
	return out
}

// same reports whether the generation holds exactly these files.
func (w *Writer) same(current string, files []file) bool {
	entries, err := os.ReadDir(w.path(current))
	if err != nil || len(entries) != len(files) {
		return false
	}
	for _, f := range files {
		data, err := os.ReadFile(w.path(current, f.name))
		if err != nil || !bytes.Equal(data, f.data) {
			return false
		}
		info, err := os.Stat(w.path(current, f.name))
		if err != nil || info.Mode().Perm() != w.modeOf(f) {
			return false
		}
	}
	return true
}

func (w *Writer) modeOf(f file) fs.FileMode {
	if f.key {
		return w.cfg.KeyMode
	}
	return 0o644
}
