package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
)

// On a terminal there is one line, written over and wiped out before the receipt; elsewhere a
// line for each change.
func TestProgressLine(t *testing.T) {
	for over, want := range map[bool]string{
		true:  "\r1 of 3 agents enforce it, 2 to go\r3 of 3 agents enforce it         \r                        \r",
		false: "1 of 3 agents enforce it, 2 to go\n3 of 3 agents enforce it\n",
	} {
		var b bytes.Buffer
		l := &progressLine{app: &app{stderr: &b, now: time.Now}, over: over}
		l.show(progressWords(&api.Progress{Agents: 3, Enforcing: 1, PendingTotal: 2}))
		l.show(progressWords(&api.Progress{Agents: 3, Enforcing: 1, PendingTotal: 2})) // nothing new
		l.show(progressWords(&api.Progress{Agents: 3, Enforcing: 3}))
		l.end()
		if b.String() != want {
			t.Errorf("written over %v: %q, want %q", over, b.String(), want)
		}
	}
}

func TestReceiptWords(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	silent := make([]api.AgentRef, 12)
	for i := range silent {
		silent[i] = api.AgentRef{Service: "orders", Agent: "0123456789abcdef0123456789abcdef", Since: at.Add(-time.Hour)}
	}
	tests := map[string]struct {
		progress api.Progress
		want     string
	}{
		"nobody":          {api.Progress{}, "no agent follows the feed, so there is nobody to enforce it but by CRL and OCSP\n"},
		"one":             {api.Progress{Agents: 1, Enforcing: 1, Measured: 1, MedianMS: 0.84, SlowestMS: 12_345}, "1 of 1 agent enforces it; median 0.8 ms, slowest 12.3 s\n"},
		"after a restart": {api.Progress{Agents: 2, Enforcing: 2}, "2 of 2 agents enforce it; how long they took is not known\n"},
		"hostile": {
			api.Progress{Agents: 1, Pending: []api.AgentRef{{Service: "a\x1b[2J", Agent: "b", Since: at}}, PendingTotal: 1},
			"0 of 1 agent enforce it\nlagging  a\\x1b[2J, agent b, connected since 2026-03-01T12:00:00Z (now)\n",
		},
	}
	for name, test := range tests {
		var b bytes.Buffer
		a := &app{stdout: &b, now: func() time.Time { return at }}
		fatal(t, a.writeReceipt(&test.progress))
		if b.String() != test.want {
			t.Errorf("%s: %q, want %q", name, b.String(), test.want)
		}
	}
	var b bytes.Buffer
	a := &app{stdout: &b, now: func() time.Time { return at }}
	fatal(t, a.writeReceipt(&api.Progress{Agents: 20, Enforcing: 0, Silent: silent, SilentTotal: 20}))
	if got := b.String(); !bytes.HasSuffix(b.Bytes(), []byte("and 10 more: handfast agents --state silent\n")) || bytes.Count(b.Bytes(), []byte("\n")) != 12 {
		t.Errorf("many silent ones: %q", got)
	}
}
