package operctx

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/handfast/handfast/internal/atomicfile"
)

// EnvContext names the variable that says where the context is, when no flag does.
const EnvContext = "HANDFAST_CONTEXT"

// fileMode is what Save and Create give, and the most that Load accepts.
const fileMode fs.FileMode = 0o600

// Resolve returns the context's path: flag if it is set, else $HANDFAST_CONTEXT, else
// DefaultPath. It does not look whether anything is there.
func Resolve(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if path := os.Getenv(EnvContext); path != "" {
		return path, nil
	}
	return DefaultPath()
}

// DefaultPath returns $XDG_CONFIG_HOME/handfast/operator.yaml, or the same below
// ~/.config when the variable is unset or, as its specification demands, not absolute.
func DefaultPath() (string, error) {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("no place for the operator context: %w; name the file with --context or %s", err, EnvContext)
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "handfast", "operator.yaml"), nil
}

// Load reads the context at path. It fails with fs.ErrNotExist when there is none, and when
// anyone but the owner may read or write the file, because then its key is no secret.
func Load(path string) (Context, error) {
	f, err := os.Open(path)
	if err != nil {
		return Context{}, fmt.Errorf("operator context: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	info, err := f.Stat()
	if err != nil {
		return Context{}, fmt.Errorf("operator context: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Context{}, fmt.Errorf("operator context %s: not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&^fileMode != 0 {
		return Context{}, fmt.Errorf("operator context %s: its mode %04o lets others than its owner at the key; run: chmod 600 %s",
			path, mode, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Context{}, fmt.Errorf("operator context: %w", err)
	}
	return Parse(path, data)
}

// Save replaces the file at path atomically, with mode 0600, and makes its directory (0700)
// when there is none. On failure the old file stays.
func Save(path string, c Context) error {
	return store(path, c, atomicfile.Write)
}

// Create is Save for a path that must not exist yet: it fails with fs.ErrExist when
// something is there.
func Create(path string, c Context) error {
	return store(path, c, atomicfile.Create)
}

func store(path string, c Context, write func(string, []byte, fs.FileMode) error) error {
	data, err := Marshal(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("operator context: %w", err)
	}
	err = write(path, data, fileMode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("operator context %s: %w; it is never overwritten", path, fs.ErrExist)
	}
	if err != nil {
		return fmt.Errorf("operator context: %w", err)
	}
	return nil
}
