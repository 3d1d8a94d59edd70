package privatesocket_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/handfast/handfast/agent/internal/privatesocket"
	"github.com/handfast/handfast/internal/socketdir"
)

func TestSocketStandsUnderItsNameUntilItIsClosed(t *testing.T) {
	path := filepath.Join(socketdir.New(t), "a.sock")
	for range 2 { // the second time nothing is left of the first
		listener, err := privatesocket.Listen(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if got := listener.Addr().String(); got != path {
			t.Errorf("address %s; want %s", got, path)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
		}
		if _, err := privatesocket.Listen(t.Context(), path); err == nil || !strings.Contains(err.Error(), "another program") {
			t.Errorf("a second listener: %v", err)
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		for range 2 {
			if err := listener.Close(); err != nil {
				t.Error(err)
			}
		}
		if left, _ := os.ReadDir(filepath.Dir(path)); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestPathsThatCannotBeUsedAreNamed(t *testing.T) {
	dir := socketdir.New(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "nowhere", "s"):           "make it",
		filepath.Join(dir, strings.Repeat("x", 200)): "shorter path",
		file: "no socket",
	} {
		if _, err := privatesocket.Listen(t.Context(), path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: err = %v; want %q in it", path, err, want)
		}
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "precious" {
		t.Error("the file was touched")
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}
