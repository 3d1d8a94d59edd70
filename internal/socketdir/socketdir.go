// Package socketdir gives tests directories for Unix sockets, whose paths must be short.
package socketdir

import (
	"os"
	"testing"
)

// longest is what a directory for temporary files may have so that its own name, the socket's and what
// stands for it while it is made fit into the 107 octets that a socket's path may have (unix(7)).
const longest = 50

// New returns an empty directory with a short path, which is removed with the test: t.TempDir's path has the test's
// name in it and begins with TMPDIR, which may be long.
func New(t testing.TB) string {
	t.Helper()
	base := os.TempDir()
	if len(base) > longest {
		base = "/tmp"
	}
	dir, err := os.MkdirTemp(base, "hf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
