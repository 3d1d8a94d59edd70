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

// Every benchmark that leaves figures needs its place in the document, or keeping them fails
// after minutes of work.
func TestDocumentHasAPlaceForEachBenchmark(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range benchmarks {
		if b.name == "profile" || b.of != "" {
			continue
		}
		if !strings.Contains(string(text), "<!-- begin "+b.name+" -->\n") || !strings.Contains(string(text), "<!-- end "+b.name+" -->") {
			t.Errorf("docs/performance.md has no place for the figures of %q", b.name)
		}
	}
}
