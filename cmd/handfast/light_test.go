package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The CLI stands on every operator's desk: it stays small, and builds without a C compiler.
func TestTheCLIStaysLight(t *testing.T) {
	list := exec.Command("go", "list", "-deps", ".")
	list.Env = append(list.Environ(), "CGO_ENABLED=0")
	output, err := list.Output()
	fatal(t, err)
	deps := strings.Fields(string(output))
	if !slices.Contains(deps, "github.com/handfast/handfast/ca/api") {
		t.Fatal("the list is not this command's")
	}
	denied := []struct{ prefix, reason string }{
		{"database/sql", "the ledger is the CA's alone; the CLI asks over the API"},
		{"github.com/mattn/go-sqlite3", "a C library would end CGO_ENABLED=0"},
		{"github.com/jackc/pgx", "the ledger is the CA's alone"},
		{"github.com/smallstep/", "13 MB of provisioners that only the CA needs"},
		{"go.step.sm/", "CA keys and KMS clients have no place on a desk"},
		{"google.golang.org/grpc", "the API is plain HTTP"},
		{"github.com/prometheus/", "a command that ends has no metrics"},
		{"github.com/handfast/handfast/issuer", "the only user of CA keys is the CA"},
		{"github.com/handfast/handfast/revocation", "what publishes revocation is the CA's; the CLI checks it with certs"},
		{"github.com/handfast/handfast/ca/store", "stores stand behind the CA"},
		{"github.com/handfast/handfast/agent", "the agent is a program of its own"},
	}
	for _, dep := range deps {
		for _, d := range denied {
			if strings.HasPrefix(dep, d.prefix) {
				t.Errorf("handfast must not depend on %s: %s", dep, d.reason)
			}
		}
	}
}
