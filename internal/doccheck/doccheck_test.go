// Package doccheck keeps the documents true where a program can: tests and files that they
// name exist. It holds only these tests.
package doccheck

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// A test, named as `path/of/package.TestName`.
var namedTest = regexp.MustCompile("`([a-z][a-z0-9/-]*)\\.((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]+)`")

func TestNamedTestsExist(t *testing.T) {
	found := 0
	for path, text := range documents(t) {
		for _, match := range namedTest.FindAllStringSubmatch(text, -1) {
			found++
			if !declares(t, filepath.Join(root, match[1]), match[2]) {
				t.Errorf("%s names %s.%s, which does not exist", path, match[1], match[2])
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d tests are named: has the spelling changed?", found)
	}
}

func declares(t *testing.T, dir, function string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), "func "+function+"(") {
			return true
		}
	}
	return false
}

// A link to another file of the project.
var link = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	for path, text := range documents(t) {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target := filepath.Join(filepath.Dir(path), match[1])
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", path, match[1], err)
			}
		}
	}
}

// documents returns every Markdown file by its path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "certs/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found[file] = string(content)
		}
	}
	return found
}
