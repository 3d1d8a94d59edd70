package generation_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/handfast/handfast/internal/generation"
)

func TestSwapReplacesAllFilesAtOnce(t *testing.T) {
	d := generation.Dir{Path: t.TempDir(), Mode: 0o700}
	if name, err := d.InForce(); err != nil || name != "" {
		t.Fatalf("in force before the first: %q, %v", name, err)
	}
	must(t, d.Link(false, "cert", "key"))
	before := put(t, d, "1")
	holds(t, d, "1")
	next, err := d.Make(files("2"))
	must(t, err)
	holds(t, d, "1") // made, but not in force
	must(t, d.Swap(next))
	holds(t, d, "2")

	must(t, d.Prune(next))
	if _, err := os.Stat(filepath.Join(d.Path, before)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old generation after Prune: %v", err)
	}
	holds(t, d, "2")
	entries, err := os.ReadDir(d.Path)
	must(t, err)
	if len(entries) != 4 { // two names, ..current, one generation
		t.Errorf("left behind: %v", entries)
	}
}

func TestModesAndGroup(t *testing.T) {
	group := os.Getgid()
	d := generation.Dir{Path: t.TempDir(), Mode: 0o750, Group: &group}
	name := put(t, d, "1")
	for path, want := range map[string]os.FileMode{name: 0o750, name + "/cert": 0o644, name + "/key": 0o600} {
		info, err := os.Stat(filepath.Join(d.Path, path))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
}

func TestLinkKeepsForeignFiles(t *testing.T) {
	d := generation.Dir{Path: t.TempDir(), Mode: 0o700}
	foreign := filepath.Join(d.Path, "key")
	must(t, os.WriteFile(foreign, []byte("somebody's"), 0o600))
	if err := d.Link(false, "cert", "key"); !errors.Is(err, generation.ErrForeign) {
		t.Fatalf("Link: %v; want ErrForeign", err)
	}
	if data, err := os.ReadFile(foreign); err != nil || string(data) != "somebody's" {
		t.Fatalf("the file is %q, %v", data, err)
	}
	must(t, d.Link(true, "key"))
	put(t, d, "1")
	holds(t, d, "1", "key")
}

func TestAFailedSwapKeepsTheOldOne(t *testing.T) {
	d := generation.Dir{Path: t.TempDir(), Mode: 0o700}
	must(t, d.Link(false, "cert", "key"))
	put(t, d, "1")
	// A directory in the temporary link's place cannot be removed while it holds something.
	must(t, os.MkdirAll(filepath.Join(d.Path, "..current.new", "x"), 0o700))
	next, err := d.Make(files("2"))
	must(t, err)
	if err := d.Swap(next); err == nil {
		t.Fatal("Swap succeeded")
	}
	holds(t, d, "1")
	if _, err := os.Stat(filepath.Join(d.Path, next)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the generation that never was in force: %v", err)
	}
}

func files(state string) []generation.File {
	return []generation.File{{Name: "cert", Data: []byte("cert " + state), Mode: 0o644}, {Name: "key", Data: []byte("key " + state), Mode: 0o600}}
}

func put(t *testing.T, d generation.Dir, state string) string {
	t.Helper()
	name, err := d.Make(files(state))
	must(t, err)
	must(t, d.Swap(name))
	if now, err := d.InForce(); err != nil || now != name {
		t.Fatalf("in force: %q, %v; want %q", now, err, name)
	}
	return name
}

func holds(t *testing.T, d generation.Dir, state string, names ...string) {
	t.Helper()
	if names == nil {
		names = []string{"cert", "key"}
	}
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(d.Path, name))
		if err != nil || string(data) != name+" "+state {
			t.Errorf("%s holds %q, %v; want state %s", name, data, err, state)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
