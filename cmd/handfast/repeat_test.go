package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/handfast/handfast/cmd/handfast/internal/fault"
)

// An answer that is lost on its way leaves no certificate behind that nobody holds: the
// command asks again with the same idempotency key and gets the very same one.
func TestLostAnswersOrphanNoCertificate(t *testing.T) {
	for _, tt := range []struct {
		name, line string
		lose       int
		asked      int
		want       fault.Code
		says       string
	}{
		{"issue", "issue gateway --out new", 1, 2, fault.OK, "serial"},
		{"renew", "renew --dir live", 1, 2, fault.OK, "serial"},
		{"rekey", "renew --dir old", 1, 2, fault.OK, "serial"},
		{"operator renew", "operator renew", 1, 2, fault.OK, "renewed"},
		{"nothing lost", "issue gateway --out new", 0, 1, fault.OK, "serial"},
		{"lost twice", "issue gateway --out new", 2, 2, fault.Unreachable, "handfast list"},
		{"refused", "issue none --out new", 0, 1, fault.NotFound, "none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ca := newFakeCA(t)
			t.Cleanup(ca.close)
			path := contextAt(t, ca, "admin")
			t.Chdir(filepath.Dir(path))
			fatal(t, ca.expiredCredential(t, "old"))
			if _, stderr, code := runs(t, "issue", "gateway", "--out", "live"); code != fault.OK {
				t.Fatal(stderr)
			}
			ca.mu.Lock()
			rows := len(ca.rows)
			ca.lose, ca.asked = tt.lose, nil
			ca.mu.Unlock()

			stdout, stderr, code := runs(t, strings.Fields(tt.line)...)
			if code != tt.want || !strings.Contains(stdout+stderr, tt.says) {
				t.Fatalf("exit code %d; want %d and %q\nstdout: %s\nstderr: %s", code, tt.want, tt.says, stdout, stderr)
			}
			ca.mu.Lock()
			defer ca.mu.Unlock()
			if len(ca.asked) != tt.asked || ca.asked[0] == "" || ca.asked[0] != ca.asked[len(ca.asked)-1] {
				t.Errorf("asked with the keys %q; want one key, %d times", ca.asked, tt.asked)
			}
			if made := len(ca.rows) - rows; tt.want != fault.NotFound && made != 1 {
				t.Errorf("%d certificates were issued; want 1", made)
			}
		})
	}
}

// Adding an operator has no idempotency key: it is asked once, and the way out is told.
func TestLostAnswerToAddingAnOperator(t *testing.T) {
	ca := newFakeCA(t)
	t.Cleanup(ca.close)
	t.Chdir(filepath.Dir(contextAt(t, ca, "admin")))
	ca.lose = 1
	_, stderr, code := runs(t, "operator", "add", "bob", "--role", "reader")
	if code != fault.Unreachable || !strings.Contains(stderr, "handfast operator remove bob") || len(ca.asked) != 1 {
		t.Errorf("exit code %d, asked %d times, stderr %s; want the way out", code, len(ca.asked), stderr)
	}
}
