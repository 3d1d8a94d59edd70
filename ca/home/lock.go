package home

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ErrLocked means that another process uses the directory.
var ErrLocked = errors.New("another handfast-ca is using it")

// Lock takes the directory for this process until release is called or the process
// ends, however it ends. It fails with ErrLocked when another one has it.
func (d Dir) Lock() (release func() error, err error) {
	f, err := os.OpenFile(d.LockFile(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("%w; stop that one first, or give another --dir", ErrLocked)
		}
		return nil, errors.Join(fmt.Errorf("lock %s: %w", d, err), f.Close())
	}
	return f.Close, nil
}

// lockCertificates waits for its turn to change what the certificates' directory and
// root.crl hold. It is another lock than the daemon's: root-crl works beside it.
func (d Dir) lockCertificates() (release func() error, err error) {
	f, err := os.Open(filepath.Dir(d.RootCert()))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return f.Close, nil
}
