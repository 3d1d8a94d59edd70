// Package importrules keeps the direction of imports that docs/architecture.md draws.
// It holds only this test.
package importrules

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/handfast/handfast/"

// A rule says what the packages it covers must not reach, and why. Patterns are
// import paths; a trailing "..." covers everything below, and "./" stands for this
// module. "thirdparty" is all that is neither ours nor the standard library's.
type rule struct {
	packages []string // whom the rule binds
	except   []string // who among them may, after all
	deny     []string // what they must not import
	indirect bool     // nor reach through others
	reason   string
}

var rules = []rule{
	{
		packages: []string{"./certs..."},
		deny:     []string{"thirdparty", "./ca...", "./agent...", "./issuer...", "./revocation...", "./internal..."},
		indirect: true,
		reason:   "every service imports certs: it must bring no dependency of ours along",
	},
	{
		packages: []string{"./ca/api"},
		deny:     []string{"thirdparty", "./ca", "./ca/policy", "./issuer...", "./revocation...", "./agent..."},
		indirect: true,
		reason:   "the wire is shared by the agent and the CLI, which stay light",
	},
	{
		packages: []string{"./agent...", "./cmd/handfast-agent...", "./cmd/handfast", "./cmd/handfast/..."},
		deny: []string{
			"./ca", "./ca/enroll", "./ca/home", "./ca/policy", "./ca/server", "./ca/acme", "./ca/store/...", "./issuer...", "./revocation...",
			"github.com/smallstep/...", "go.step.sm/...", "database/sql...", "github.com/mattn/go-sqlite3", "github.com/jackc/pgx/...",
			"github.com/zmap/zlint/...", "github.com/valyala/fasthttp...",
		},
		indirect: true,
		reason:   "agent and CLI run beside every service and on every desk: no SQL driver, no KMS, none of the CA",
	},
	{
		packages: []string{"./agent...", "./cmd/handfast-agent...", "./ca...", "./certs...", "./issuer...", "./revocation..."},
		except:   []string{"./agent/workloadapi", "./agent/sds"},
		deny:     []string{"google.golang.org/grpc..."},
		reason:   "gRPC serves the Workload API and SDS only; the CA's own API is plain HTTP",
	},
	{
		packages: []string{"./..."},
		except:   []string{"./revocation", "./ca/server"},
		deny:     []string{"github.com/valyala/fasthttp..."},
		reason:   "fasthttp serves OCSP and CRLs, where its speed counts; everything else is net/http",
	},
	{
		packages: []string{"./issuer..."},
		deny:     []string{"./ca...", "./agent...", "./revocation..."},
		indirect: true,
		reason:   "the only user of CA keys knows nothing of who asks, how it is stored or how it is published",
	},
	{
		packages: []string{"./revocation..."},
		deny:     []string{"./ca...", "./agent...", "./issuer..."},
		indirect: true,
		reason:   "publishing what is revoked needs a log and a signer, no more",
	},
	{
		packages: []string{"./..."},
		except:   []string{"./ca/enroll", "./ca/acme", "./ca/server/stepapi", "./issuer/keystore", "./issuer/keystore/keystoretest"},
		deny:     []string{"github.com/smallstep/...", "go.step.sm/..."},
		reason:   "smallstep is a library of parts at the edges, not a frame",
	},
	{
		packages: []string{"./..."},
		except:   []string{"./cmd/handfast-ca..."},
		deny:     []string{"./ca/store/sqlite", "./ca/store/postgres"},
		reason:   "stores stand behind interfaces; one place wires them",
	},
	{
		packages: []string{"./..."},
		except:   []string{"./ca/store/sqlite", "./ca/store/postgres"},
		deny:     []string{"database/sql...", "github.com/mattn/go-sqlite3", "github.com/jackc/pgx/...", "github.com/pressly/goose/..."},
		reason:   "SQL stands in the stores only",
	},
	{
		packages: []string{"./..."},
		except:   []string{"./cmd/..."},
		deny:     []string{"github.com/spf13/cobra"},
		reason:   "commands are the business of main packages",
	},
	{
		packages: []string{"./ca/policy"},
		deny:     []string{"os", "net/http", "crypto/...", "context", "log/slog", "database/sql..."},
		reason:   "policy is pure: no I/O, no keys",
	},
}

type listed struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

func TestImportRules(t *testing.T) {
	packages := list(t)
	used := make([]bool, len(rules))
	for path, pkg := range packages {
		own, ok := ours(path)
		if !ok {
			continue
		}
		for i, r := range rules {
			if !matchAny(r.packages, own) || matchAny(r.except, own) {
				continue
			}
			used[i] = true
			for _, chain := range r.violations(packages, pkg) {
				t.Errorf("%s must not import %s: %s\n\tby way of %s", own, chain[len(chain)-1], r.reason, strings.Join(chain, " -> "))
			}
		}
	}
	for i, r := range rules {
		if !used[i] {
			t.Errorf("rule for %v binds no package: is a name misspelt?", r.packages)
		}
	}
}

// violations returns the shortest import chain to each denied package.
func (r rule) violations(packages map[string]listed, from listed) [][]string {
	var found [][]string
	queue := [][]string{{from.ImportPath}}
	seen := map[string]bool{from.ImportPath: true}
	for len(queue) > 0 {
		chain := queue[0]
		queue = queue[1:]
		for _, imported := range packages[chain[len(chain)-1]].Imports {
			if seen[imported] {
				continue
			}
			seen[imported] = true
			longer := append(slices.Clone(chain), imported)
			if r.denies(packages, imported) {
				found = append(found, longer)
				continue
			}
			if r.indirect {
				queue = append(queue, longer)
			}
		}
	}
	return found
}

func (r rule) denies(packages map[string]listed, path string) bool {
	name := path
	if own, ok := ours(path); ok {
		name = own
	} else if slices.Contains(r.deny, "thirdparty") && !packages[path].Standard {
		return true
	}
	return matchAny(r.deny, name)
}

// ours returns the path of a package of this module with "./" for the module's own.
func ours(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, module)
	return "./" + rest, ok
}

func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		prefix, below := strings.CutSuffix(pattern, "...")
		if !below {
			return pattern == name
		}
		return strings.HasPrefix(name, strings.TrimSuffix(prefix, "/")+"/") || name == prefix
	})
}

func list(t *testing.T) map[string]listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Standard", module+"...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // with cgo the standard library imports "C"
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	packages := make(map[string]listed)
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg listed
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages[pkg.ImportPath] = pkg
	}
}
