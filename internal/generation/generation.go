// Package generation replaces several files of a directory together: a certificate and
// its key must never be seen apart, neither by a reader nor after a crash.
//
// All files of one state stand in a directory of their own inside of DIR, the generation.
// DIR/..current is a symbolic link to it, and DIR/NAME a link through ..current, the way
// Kubernetes mounts secrets. A new state is a new generation, complete and flushed, and one
// rename of ..current. A reader that opens several files resolves ..current once and reads there.
package generation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/handfast/handfast/internal/atomicfile"
)

// Current is the name of the link to the generation in force.
const Current = "..current"

// prefix begins the names of generations. ".." keeps them out of the way of programs
// that read every file of a directory.
const prefix = "..generation-"

// ErrForeign is Link's answer to a file in a link's place.
var ErrForeign = errors.New("it is there and no link of ours: move it away")

// File is one file of a generation.
type File struct {
	Name string
	Data []byte
	Mode fs.FileMode
}

// Dir is a directory that holds generations. Its methods are for one writer at a time.
type Dir struct {
	Path  string
	Mode  fs.FileMode // of generations
	Group *int        // that owns generations and files; nil leaves it alone
}

// InForce returns the name of the generation that ..current leads to, "" when there is none.
func (d Dir) InForce() (string, error) {
	name, err := os.Readlink(d.path(Current))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return name, err
}

// Make writes files as a new generation and returns its name. Nobody sees it before Swap;
// it is durable when Make returns.
func (d Dir) Make(files []File) (string, error) {
	dir, err := os.MkdirTemp(d.Path, prefix)
	if err != nil {
		return "", err
	}
	if err := d.fill(dir, files); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return filepath.Base(dir), nil
}

func (d Dir) fill(dir string, files []File) error {
	for _, file := range files {
		if err := d.write(filepath.Join(dir, file.Name), file); err != nil {
			return err
		}
	}
	if err := d.own(dir, d.Mode); err != nil {
		return err
	}
	return atomicfile.SyncDir(dir)
}

// write opens with the narrow mode: a key must not be readable for others even for a moment.
func (d Dir) write(path string, file File) error {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(file.Data)
	if err == nil {
		err = d.own(path, file.Mode)
	}
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

func (d Dir) own(path string, mode fs.FileMode) error {
	if d.Group != nil {
		if err := os.Lchown(path, -1, *d.Group); err != nil {
			return err
		}
	}
	return os.Chmod(path, mode)
}

// Swap puts the generation name in force, in one durable step. When it fails the one
// before still is, and the new one is removed.
func (d Dir) Swap(name string) error {
	err := d.replaceLink(Current, name)
	if err != nil {
		return errors.Join(err, os.RemoveAll(d.path(name)))
	}
	return atomicfile.SyncDir(d.Path)
}

// Link makes DIR/NAME lead through ..current, for each name. A file in its place that is no
// link is ErrForeign, unless replace is set.
func (d Dir) Link(replace bool, names ...string) error {
	for _, name := range names {
		target := filepath.Join(Current, name)
		if now, err := os.Readlink(d.path(name)); err == nil && now == target {
			continue
		}
		info, err := os.Lstat(d.path(name))
		if err == nil && !replace && info.Mode()&fs.ModeSymlink == 0 {
			return fmt.Errorf("%s: %w", d.path(name), ErrForeign)
		}
		if err := d.replaceLink(name, target); err != nil {
			return err
		}
	}
	return atomicfile.SyncDir(d.Path)
}

// replaceLink renames a link that was made under a free name.
func (d Dir) replaceLink(name, target string) error {
	temp := d.path(".." + strings.TrimLeft(name, ".") + ".new")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, temp); err != nil {
		return err
	}
	if err := os.Rename(temp, d.path(name)); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// Prune removes every generation but those to keep: old ones, and what a crash left behind.
func (d Dir) Prune(keep ...string) error {
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), prefix) && !slices.Contains(keep, entry.Name()) {
			errs = append(errs, os.RemoveAll(d.path(entry.Name())))
		}
	}
	return errors.Join(errs...)
}

func (d Dir) path(name string) string { return filepath.Join(d.Path, name) }
