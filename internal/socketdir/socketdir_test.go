package socketdir_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/handfast/handfast/internal/socketdir"
)

func TestSocketsFitWhateverTMPDIRIs(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 200))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", long)
	var dir string
	t.Run("inner", func(t *testing.T) {
		dir = socketdir.New(t)
		listener, err := net.Listen("unix", filepath.Join(dir, strings.Repeat("s", 30)))
		if err != nil {
			t.Fatal(err)
		}
		listener.Close()
	})
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("it is left behind: %v", err)
	}
}
