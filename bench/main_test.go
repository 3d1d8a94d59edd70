package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	all, err := choose(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range all {
		if b.name == "profile" || b.of != "" {
			t.Errorf("%s runs without being asked for", b.name)
		}
	}
	two, err := choose([]string{"proxy", "issue"})
	if err != nil || len(two) != 2 || two[0].name != "proxy" || two[1].name != "issue" {
		t.Errorf("choose(proxy, issue) = %v, %v", two, err)
	}
	if part, err := choose([]string{"proxy-idle"}); err != nil || len(part) != 1 || part[0].of != "proxy" {
		t.Errorf("choose(proxy-idle) = %v, %v", part, err)
	}
	if _, err := choose([]string{"speed"}); err == nil || !strings.Contains(err.Error(), `"speed"`) {
		t.Errorf("choose(speed) fails with %v, want an error that names it", err)
	}
}

// Every benchmark of `make bench` needs its place in the document, or none of them can be kept.
func TestDocumentHasAPlaceForEachBenchmark(t *testing.T) {
	all, err := choose(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&session{repo: ".."}).checkPlaces(all); err != nil {
		t.Error(err)
	}
}

func TestFiguresWithoutAPlaceAreRefusedBeforeTheWork(t *testing.T) {
	repo := t.TempDir()
	if err := os.Mkdir(filepath.Join(repo, "docs"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := "<!-- begin issue -->\n<!-- end issue -->\n"
	if err := os.WriteFile(filepath.Join(repo, "docs", "performance.md"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s := &session{repo: repo}
	if err := s.checkPlaces([]benchmark{{name: "issue"}, {name: "profile"}}); err != nil {
		t.Error(err)
	}
	if err := s.checkPlaces([]benchmark{{name: "issue"}, {name: "renew"}}); err == nil || !strings.Contains(err.Error(), `"renew"`) {
		t.Errorf("got %v, want an error that names renew", err)
	}
}
