//go:build e2e

package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var (
	exported   = regexp.MustCompile(`(?m)^# HELP (handfast_[a-z_]+) `)
	documented = regexp.MustCompile("`(handfast_[a-z_]+)[`{]")
)

// What the programs export and what docs/operations.md lists is the same, but for
// metrics with labels that nothing has counted yet.
func TestEveryMetricIsDocumented(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	ctx := within(t)
	ca := startCA(ctx, t)
	status, inbound := freeAddress(t), freeAddress(t)
	handfast(ctx, t, ca, "service", "add", "web")
	startAgent(ctx, t, ca, "web", t.TempDir(), "--status", status, "--inbound", inbound+"="+serveIdentity(t), "--files", t.TempDir()+"/files")

	operator := client(t, ca.Client)
	ofCA, err := operator.Metrics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ofAgent := run(ctx, t, "curl", "-sSf", "http://"+status+"/metrics")
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, match := range documented.FindAllStringSubmatch(string(page), -1) {
		known[match[1]] = true
	}
	found := exported.FindAllStringSubmatch(string(ofCA)+"\n"+ofAgent, -1)
	if len(found) < 25 {
		t.Fatalf("only %d metrics are exported:\n%s", len(found), ofAgent)
	}
	for _, match := range found {
		if !known[match[1]] {
			t.Errorf("%s is not in docs/operations.md", match[1])
		}
	}
	if !strings.Contains(string(ofCA), "\nhandfast_ca_ready 1\n") {
		t.Error("handfast_ca_ready is not 1")
	}
}
