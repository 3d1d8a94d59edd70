package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/handfast/handfast/internal/atomicfile"
)

// maker makes files that were not there before, and takes back all of them when
// something fails half way. What was there before is never touched.
type maker struct {
	made []string // in the order of making
}

// expect registers a path that somebody else is about to make. It must not exist.
func (m *maker) expect(paths ...string) error {
	for _, path := range paths {
		_, err := os.Lstat(path)
		if err == nil {
			return fmt.Errorf("%s: %w; nothing is ever overwritten", path, fs.ErrExist)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		m.made = append(m.made, path)
	}
	return nil
}

// dir makes a directory for its owner only; one that exists already stays as it is.
func (m *maker) dir(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		if info, statErr := os.Stat(path); statErr == nil && info.IsDir() {
			return nil
		}
	}
	if err == nil {
		m.made = append(m.made, path)
	}
	return err
}

func (m *maker) file(path string, data []byte, perm fs.FileMode) error {
	if err := m.expect(path); err != nil {
		return err
	}
	return atomicfile.Create(path, data, perm)
}

// present lists what was made and is still there: not a database's side files, say.
func (m *maker) present() []string {
	return slices.DeleteFunc(slices.Clone(m.made), func(path string) bool {
		_, err := os.Lstat(path)
		return err != nil
	})
}

// undo removes what was made, the last first. A directory that holds something else by
// now stays.
func (m *maker) undo() error {
	var errs []error
	for _, path := range slices.Backward(m.made) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("clean up: %w", err))
		}
	}
	m.made = nil
	return errors.Join(errs...)
}
