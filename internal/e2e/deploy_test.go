//go:build e2e

package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What deploy/ holds is what the binaries and systemd accept.
func TestDeployedFilesAreSound(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	run(ctx, t, filepath.Join(binaries(t), "handfast-agent"), "check", "--config", "../../deploy/agent.yaml", "--state", t.TempDir(), "--token-file", "token")
	need(t, "systemd-analyze")
	units, err := filepath.Glob("../../deploy/systemd/*.service")
	if err != nil || len(units) == 0 {
		t.Fatalf("no units: %v", err)
	}
	for _, unit := range units {
		out, _ := exec.CommandContext(ctx, "systemd-analyze", "verify", unit).CombinedOutput() // fails where the binary is not installed
		for line := range strings.Lines(string(out)) {
			// What it says of other units is the machine's.
			if strings.Contains(line, "handfast") && !strings.Contains(line, "is not executable") {
				t.Errorf("%s: %s", unit, line)
			}
		}
	}
}
