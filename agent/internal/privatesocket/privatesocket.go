// Package privatesocket listens on Unix sockets that nobody but the own user can connect to, not
// even for a moment while they are made.
package privatesocket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
)

const maxPath = 107 // of sockaddr_un on Linux

// Listen binds a socket of mode 0600 at path, whose directory must exist. A stale one, which
// nobody answers on, is replaced; anything else that is there is left alone and an error. Closing the
// listener removes the socket.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	// It is bound in a directory that nobody else can enter, narrowed there and moved to its place.
	dir := filepath.Dir(path)
	private, err := os.MkdirTemp(dir, ".handfast-")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the directory %s does not exist: make it, for this user alone", dir)
	}
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private) //nolint:errcheck // empty by then
	temp := filepath.Join(private, "s")
	if longest := max(len(path), len(temp)); longest > maxPath {
		return nil, fmt.Errorf("%s needs %d bytes and a socket's path may have %d: choose a shorter path", path, longest, maxPath)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", temp)
	if err != nil {
		return nil, err
	}
	if unix, ok := listener.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false) // its name changes
	}
	if err := errors.Join(os.Chmod(temp, 0o600), os.Rename(temp, path)); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return &renamed{Listener: listener, path: path}, nil
}

// renamed is a listener under its last name, which it removes when it is closed.
type renamed struct {
	net.Listener
	path string
	once sync.Once
	err  error
}

// Addr implements net.Listener.
func (r *renamed) Addr() net.Addr { return &net.UnixAddr{Name: r.path, Net: "unix"} }

// Close implements net.Listener. It may be called again.
func (r *renamed) Close() error {
	r.once.Do(func() { r.err = errors.Join(os.Remove(r.path), r.Listener.Close()) })
	return r.err
}

// removeStale removes what a killed process left behind, and nothing that is not a socket or that
// someone answers on.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s is there and is no socket: move it away", path)
	}
	if conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path); err == nil {
		return errors.Join(fmt.Errorf("another program listens on %s: choose another path", path), conn.Close())
	}
	return os.Remove(path)
}
