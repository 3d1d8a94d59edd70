// Package creddir keeps a certificate, its key and the roots in a directory for programs
// that read files.
//
// The three are replaced together, as generations (see package generation): a reader, a
// crash or a power cut finds the old certificate with the old key or the new one with the
// new, never a mixture.
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
	"syscall"

	"github.com/handfast/handfast/internal/generation"
)

// The files' names.
const (
	CertFile  = "cert.pem"  // the leaf, then the intermediates
	KeyFile   = "key.pem"   // PKCS #8; mode 0600
	RootsFile = "roots.pem" // whom to trust
)

const maxFile = 1 << 20 // bytes

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
	target, err := os.Readlink(filepath.Join(dir, generation.Current))
	if err == nil {
		from = filepath.Join(dir, filepath.Base(target))
	}
	f, err := readFrom(from)
	if err != nil {
		return Files{}, err
	}
	if now, _ := os.Readlink(filepath.Join(dir, generation.Current)); f.Cert == nil || now != target {
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
	return put(dir, f)
}

// put makes f the generation in force, and the only one: old keys must not pile up.
func put(dir string, f Files) error {
	// Other users may enter the generation and read the certificate and the roots.
	d := generation.Dir{Path: dir, Mode: 0o755}
	var files []generation.File
	for _, file := range names {
		if data := *f.field(file.name); data != nil {
			files = append(files, generation.File{Name: file.name, Data: data, Mode: file.mode})
		}
	}
	next, err := d.Make(files)
	if err != nil {
		return err
	}
	if err := d.Swap(next); err != nil {
		return err
	}
	if err := link(d, f); err != nil {
		return err
	}
	return d.Prune(next)
}

// link makes the names of what f holds lead to it, and removes the others.
func link(d generation.Dir, f Files) error {
	var held []string
	for _, file := range names {
		if *f.field(file.name) != nil {
			held = append(held, file.name)
			continue
		}
		if err := os.Remove(filepath.Join(d.Path, file.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return d.Link(true, held...)
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
	return put(dir, f)
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
