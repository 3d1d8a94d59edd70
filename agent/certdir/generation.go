package certdir

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/atomicfile"
)

// generationPrefix begins the names of generations. ".." keeps them out of the way of
// programs that read every file of a directory, as Kubernetes' volumes do.
const generationPrefix = "..generation-"

func marshalKey(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, errors.New("the private key cannot be written to a file") // no detail of a key in an error
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// write makes files the newest generation, unless they are that already.
func (w *Writer) write(files []file) (bool, error) {
	// The names come first: they lead nowhere until the swap, which makes all files appear at once.
	if err := w.link(); err != nil {
		return false, err
	}
	current, _ := os.Readlink(w.path(certs.CurrentLink)) // absent: the first time
	if current != "" && w.same(current, files) {
		return false, nil
	}
	next, err := w.makeGeneration(files)
	if err != nil {
		return false, err
	}
	if err := w.swap(next); err != nil {
		return false, errors.Join(err, os.RemoveAll(w.path(next)))
	}
	w.removeOld(next, current)
	return true, nil
}

// same reports whether the generation holds exactly these files.
func (w *Writer) same(generation string, files []file) bool {
	entries, err := os.ReadDir(w.path(generation))
	if err != nil || len(entries) != len(files) {
		return false
	}
	for _, f := range files {
		data, err := os.ReadFile(w.path(generation, f.name))
		if err != nil || !bytes.Equal(data, f.data) {
			return false
		}
		info, err := os.Stat(w.path(generation, f.name))
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

// makeGeneration writes files into a new directory and makes them durable.
func (w *Writer) makeGeneration(files []file) (string, error) {
	dir, err := os.MkdirTemp(w.cfg.Dir, generationPrefix)
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if err = w.writeFile(filepath.Join(dir, f.name), f); err != nil {
			break
		}
	}
	if err == nil {
		err = w.own(dir, w.dirMode())
	}
	if err == nil {
		err = atomicfile.SyncDir(dir)
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return filepath.Base(dir), nil
}

// writeFile opens with the narrow mode: a key must not be readable for others even for a moment.
func (w *Writer) writeFile(path string, f file) error {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(f.data)
	if err == nil {
		err = w.own(path, w.modeOf(f))
	}
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// swap points ..current at the generation, in one step.
func (w *Writer) swap(generation string) error {
	return w.replaceLink(certs.CurrentLink, generation)
}

// link makes the names that programs are configured with. They stay the same from then on.
func (w *Writer) link() error {
	for _, name := range links {
		target := filepath.Join(certs.CurrentLink, name)
		if now, err := os.Readlink(w.path(name)); err == nil && now == target {
			continue
		}
		if info, err := os.Lstat(w.path(name)); err == nil && info.Mode()&fs.ModeSymlink == 0 {
			return fmt.Errorf("%s is there and not this agent's: move it away", w.path(name))
		}
		if err := w.replaceLink(name, target); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) replaceLink(name, target string) error {
	temp := w.path(".." + name + ".new")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, temp); err != nil {
		return err
	}
	if err := os.Rename(temp, w.path(name)); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return atomicfile.SyncDir(w.cfg.Dir)
}

// removeOld removes every generation but the newest two. What cannot be removed is
// logged and tried again at the next change.
func (w *Writer) removeOld(keep ...string) {
	entries, err := os.ReadDir(w.cfg.Dir)
	if err != nil {
		w.cfg.Logger.Warn("old certificate files cannot be looked for", "directory", w.cfg.Dir, "cause", err)
		return
	}
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasPrefix(name, generationPrefix) || name == keep[0] || name == keep[1] {
			continue
		}
		if err := os.RemoveAll(w.path(name)); err != nil {
			w.cfg.Logger.Warn("old certificate files cannot be removed", "path", w.path(name), "cause", err)
		}
	}
}
