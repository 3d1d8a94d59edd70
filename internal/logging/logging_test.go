package logging_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/handfast/handfast/internal/logging"
)

func TestNewRefuses(t *testing.T) {
	for _, bad := range [][2]string{{"loud", "text"}, {"info", "xml"}, {"", "text"}, {"info", ""}} {
		if _, err := logging.New(new(bytes.Buffer), bad[0], bad[1]); err == nil {
			t.Errorf("level %q and format %q are accepted", bad[0], bad[1])
		}
	}
}

func TestLevelAndContext(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		logger, err := logging.New(&out, "info", format)
		if err != nil {
			t.Fatal(err)
		}
		ctx := logging.With(t.Context(), slog.String("request_id", "R1"))
		sibling := logging.With(ctx, slog.String("other", "O1"))
		inner := logging.With(ctx, slog.String("step", "S1"))
		logger.DebugContext(inner, "hidden")
		logger.With("room", "ca").InfoContext(inner, "seen")
		logger.InfoContext(context.Background(), "plain")
		_ = sibling // it must not have written into inner's attributes

		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 2 {
			t.Fatalf("%s: %d lines, want 2:\n%s", format, len(lines), out.String())
		}
		for _, want := range []string{"R1", "S1", "room"} {
			if !strings.Contains(lines[0], want) {
				t.Errorf("%s: %q is not in %s", format, want, lines[0])
			}
		}
		if strings.Contains(lines[0], "O1") || strings.Contains(lines[1], "R1") {
			t.Errorf("%s: attributes of another context:\n%s", format, out.String())
		}
	}
}
