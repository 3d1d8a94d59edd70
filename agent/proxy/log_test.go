package proxy

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/agent/internal/testpki"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/logtest"
)

// A caller that is refused a thousand times a second fills no disk and hides no other.
func TestLogTakesAFewOfEachKind(t *testing.T) {
	pki := testpki.New(t, "test.example", nil)
	source := testpki.NewSource(pki.Snapshot(pki.ID("orders"), 24*time.Hour))
	synctest.Test(t, func(t *testing.T) {
		var log logtest.Buffer
		j := newJournal(&Config{
			Source: source, Now: time.Now, CATime: func() (time.Time, bool) { return time.Time{}, false },
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		refuse := func(peer string) {
			j.note("connection refused", ":8443", "192.0.2.1:1", "policy_denied", certs.Peer{ID: pki.ID(peer)}, errors.New("no"))
		}
		for range 60 * 1000 {
			refuse("noisy")
			time.Sleep(time.Millisecond)
		}
		refuse("quiet")
		text := log.String()
		if n := strings.Count(text, "noisy"); n < 6 || n > 15 {
			t.Errorf("%d lines about the noisy caller in a minute; want some ten", n)
		}
		if !strings.Contains(text, "quiet") {
			t.Error("the quiet caller is hidden")
		}
		if !strings.Contains(text, "suppressed_before=9") { // some 9999
			t.Errorf("the log does not say how many it left out:\n%s", text)
		}
		// Identities that are made up for each connection.
		before := len(log.String())
		for i := range 60 * 1000 {
			refuse(fmt.Sprintf("made-up-%d", i))
			time.Sleep(time.Millisecond)
		}
		if n := strings.Count(log.String()[before:], "made-up"); n < 100 || n > 200 {
			t.Errorf("%d lines about made-up callers in a minute; want about two a second", n)
		}
		if n := len(j.kinds); n > keptKinds {
			t.Errorf("%d kinds are kept", n)
		}
	})
}
