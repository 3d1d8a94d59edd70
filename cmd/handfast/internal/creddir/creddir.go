// Package creddir keeps a certificate, its key and the roots in a directory for programs
// that read files.
//
// The three are replaced together. DIR/cert.pem, DIR/key.pem and DIR/roots.pem are symbolic
// links into DIR/..current, itself a link to a generation directory (DIR/..gen-*), the way
// Kubernetes mounts secrets. A write makes a complete new generation, flushes it, and renames
// a new ..current over the old one: one step, so a reader, a crash or a power
// cut finds the old certificate with the old key or the new one with the new, never a mixture.
//
// A directory with plain files is turned into this shape first: their content becomes a
// generation of its own before the links replace them, so that no step of it can mix either.
package creddir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/handfast/handfast/internal/atomicfile"
)

// The files' names.
const (
	CertFile  = "cert.pem"  // the leaf, then the intermediates
	KeyFile   = "key.pem"   // PKCS #8; mode 0600
	RootsFile = "roots.pem" // whom to trust
)

const (
	current   = "..current"
	genPrefix = "..gen-"
	maxFile   = 1 << 20 // bytes
)

// Files is what the directory holds, as PEM. Key is nil when the key is kept elsewhere.
type Files struct {
	Cert, Key, Roots []byte
}

// names lists the files with their permissions.
var names = [...]struct {
	name string
	mode fs.FileMode
}{{CertFile, 0o644}, {KeyFile, 0o600}, {RootsFile, 0o644}}

func (f *Files) field(name string) *[]byte {
	switch name {
	case CertFile:
		return &f.Cert
	case KeyFile:
		return &f.Key
	default:
		return &f.Roots
	}
}

// Occupied returns the first of the three names that exists in dir, or "".
func Occupied(dir string) (string, error) {
	for _, file := range names {
		path := filepath.Join(dir, file.name)
		if _, err := os.Lstat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", nil
}

// readTries is how often Read begins anew when a writer removes the generation under it.
const readTries = 5

// Read returns one generation. It resolves the link once, so what it returns belongs together even
// while another process writes.
func Read(dir string) (Files, error) {
	for try := 1; ; try++ {
		f, err := readOnce(dir)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || try == readTries {
			return f, err
		}
	}
}

func readOnce(dir string) (Files, error) {
	from := dir
	target, err := os.Readlink(filepath.Join(dir, current))
	if err == nil {
		from = filepath.Join(dir, filepath.Base(target))
	}
	f, err := readFrom(from)
	if err != nil {
		return Files{}, err
	}
	if now, _ := os.Readlink(filepath.Join(dir, current)); f.Cert == nil || now != target {
		return Files{}, fmt.Errorf("%s: %w", filepath.Join(dir, CertFile), fs.ErrNotExist)
	}
	return f, nil
}

func readFrom(dir string) (Files, error) {
	var f Files
	for _, file := range names {
		data, err := readLimited(filepath.Join(dir, file.name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Files{}, err
		}
		*f.field(file.name) = data
	}
	return f, nil
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: over %d bytes", path, maxFile)
	}
	return data, nil
}

// Write makes dir hold f and nothing else of the three; dir (0755) is made when there is none. It
// returns after everything is on stable storage. On failure what was there is still there, whole.
// Writers wait for each other.
func Write(dir string, f Files) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	unlock, err := lock(dir)
	if err != nil {
		return fmt.Errorf("lock %s: %w", dir, err)
	}
	defer unlock()
	if err := adopt(dir); err != nil {
		return fmt.Errorf("turn %s into generations: %w", dir, err)
	}
	generation, err := newGeneration(dir, f)
	if err != nil {
		return err
	}
	if err := swap(dir, generation); err != nil {
		return errors.Join(err, os.RemoveAll(filepath.Join(dir, generation)))
	}
	if err := link(dir, f); err != nil {
		return err
	}
	return clean(dir, generation)
}

// lock keeps other writers out until the returned function is called, or the process ends.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return func() { _ = d.Close() }, nil // closing gives the lock back; a directory has nothing to lose
}

// adopt gives plain files a generation of their own, and links in their place.
func adopt(dir string) error {
	if !hasPlain(dir) {
		return nil
	}
	f, err := readFrom(dir)
	if err != nil {
		return err
	}
	generation, err := newGeneration(dir, f)
	if err != nil {
		return err
	}
	if err := swap(dir, generation); err != nil {
		return errors.Join(err, os.RemoveAll(filepath.Join(dir, generation)))
	}
	return link(dir, f)
}

func hasPlain(dir string) bool {
	for _, file := range names {
		info, err := os.Lstat(filepath.Join(dir, file.name))
		if err == nil && info.Mode()&fs.ModeSymlink == 0 {
			return true
		}
	}
	return false
}

func newGeneration(dir string, f Files) (string, error) {
	path, err := os.MkdirTemp(dir, genPrefix)
	if err != nil {
		return "", err
	}
	for _, file := range names {
		data := *f.field(file.name)
		if data == nil {
			continue
		}
		if err := atomicfile.Create(filepath.Join(path, file.name), data, file.mode); err != nil {
			return "", errors.Join(err, os.RemoveAll(path))
		}
	}
	// MkdirTemp makes it 0700; other users may read the certificate and the roots.
	if err := os.Chmod(path, 0o755); err != nil {
		return "", errors.Join(err, os.RemoveAll(path))
	}
	return filepath.Base(path), nil
}

// swap makes generation the current one.
func swap(dir, generation string) error {
	if err := replaceLink(dir, current, generation); err != nil {
		return err
	}
	return atomicfile.SyncDir(dir)
}

// link makes the three names point into the current generation. Where one already does, it is left alone.
func link(dir string, f Files) error {
	for _, file := range names {
		path := filepath.Join(dir, file.name)
		if *f.field(file.name) == nil {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		target := filepath.Join(current, file.name)
		if is, err := os.Readlink(path); err == nil && is == target {
			continue
		}
		if err := replaceLink(dir, file.name, target); err != nil {
			return err
		}
	}
	return atomicfile.SyncDir(dir)
}

// replaceLink puts a link at dir/name by renaming one made under a free name.
func replaceLink(dir, name, target string) error {
	temp := filepath.Join(dir, ".."+strings.TrimLeft(name, ".")+".tmp")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, temp); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, name)); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// clean removes every generation but keep: the one before, and what a crash left behind.
func clean(dir, keep string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), genPrefix) || entry.Name() == keep {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
