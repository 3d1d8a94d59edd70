//go:build unix

package agent

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// checkOwner refuses what belongs to another user, who could change it at any time. Root's
// own files are accepted: root can do that anyway.
func checkOwner(path string, info os.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid == 0 || int(stat.Uid) == os.Geteuid() {
		return nil
	}
	return fmt.Errorf("%s belongs to user %d and this process runs as user %d: run as its owner or chown it", path, stat.Uid, os.Geteuid())
}

// lockFile takes an exclusive lock that ends with the process, however it ends.
func lockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return err
}
