package logging

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// bySlog is the line that slog itself writes.
func bySlog(t *testing.T, record slog.Record, more []slog.Attr) string {
	t.Helper()
	var out bytes.Buffer
	record = record.Clone()
	record.AddAttrs(more...)
	if err := slog.NewTextHandler(&out, nil).Handle(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestTextIsSlogs(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		at    time.Time
		level slog.Level
		attr  slog.Attr
		slogs bool // left to slog
	}{
		"string":             {at, slog.LevelInfo, slog.String("a", "b"), false},
		"empty string":       {at, slog.LevelInfo, slog.String("a", ""), false},
		"blank":              {at, slog.LevelInfo, slog.String("a", "b c"), false},
		"equals sign":        {at, slog.LevelInfo, slog.String("a", "b=c"), false},
		"quote":              {at, slog.LevelInfo, slog.String("a", `b"c`), false},
		"backslash":          {at, slog.LevelInfo, slog.String("a", `b\c`), false},
		"backslash, blank":   {at, slog.LevelInfo, slog.String("a", `b\c d`), false},
		"line feed":          {at, slog.LevelInfo, slog.String("a", "b\nlevel=ERROR"), false},
		"delete":             {at, slog.LevelInfo, slog.String("a", "b\x7f"), true},
		"beyond ASCII":       {at, slog.LevelInfo, slog.String("a", "bä"), true},
		"no UTF-8":           {at, slog.LevelInfo, slog.String("a", "b\xff"), true},
		"name with a blank":  {at, slog.LevelInfo, slog.String("a b", "c"), true},
		"no name":            {at, slog.LevelInfo, slog.String("", "c"), true},
		"nothing":            {at, slog.LevelInfo, slog.Attr{}, true},
		"int":                {at, slog.LevelInfo, slog.Int("a", -7), false},
		"uint64":             {at, slog.LevelInfo, slog.Uint64("a", 1<<63), false},
		"bool":               {at, slog.LevelInfo, slog.Bool("a", true), false},
		"duration":           {at, slog.LevelInfo, slog.Duration("a", 1500*time.Microsecond), false},
		"time":               {at, slog.LevelInfo, slog.Time("a", at.Add(987654321)), false},
		"time of a zone":     {at, slog.LevelInfo, slog.Time("a", at.In(time.FixedZone("", -5400))), false},
		"float":              {at, slog.LevelInfo, slog.Float64("a", 0.5), true},
		"error":              {at, slog.LevelInfo, slog.Any("a", errors.New("b c")), true},
		"group":              {at, slog.LevelInfo, slog.Group("a", slog.String("b", "c")), true},
		"no time":            {time.Time{}, slog.LevelInfo, slog.String("a", "b"), false},
		"time with nanos":    {at.Add(1_999_999), slog.LevelInfo, slog.String("a", "b"), false},
		"level":              {at, slog.LevelError, slog.String("a", "b"), false},
		"level between":      {at, slog.LevelWarn + 1, slog.String("a", "b"), false},
		"monotonic, of here": {time.Now(), slog.LevelInfo, slog.String("a", "b"), false},
	} {
		t.Run(name, func(t *testing.T) {
			record := slog.NewRecord(test.at, test.level, "a message", 0)
			record.AddAttrs(slog.String("first", "1"), test.attr)
			more := []slog.Attr{slog.String("request_id", "R"), test.attr}
			got, ok := appendText(nil, &record, more)
			if ok == test.slogs {
				t.Fatalf("written here: %v", ok)
			}
			if want := bySlog(t, record, more); ok && string(got) != want {
				t.Errorf("got  %swant %s", got, want)
			}
		})
	}
}

// FuzzText compares with slog, whatever names and values are.
func FuzzText(f *testing.F) {
	f.Add("certificate", "serial", "40ab", int64(1_700_000_000_123_456_789), int64(0))
	f.Add("a b", "k=", "line\nfeed", int64(-1), int64(-1))
	f.Add("", "", "\u2028", int64(1), int64(1<<62))
	f.Fuzz(func(t *testing.T, message, key, value string, nanos, number int64) {
		record := slog.NewRecord(time.Unix(0, nanos).UTC(), slog.LevelInfo, message, 0)
		record.AddAttrs(slog.String(key, value), slog.Int64("n", number), slog.Duration("d", time.Duration(number)))
		more := []slog.Attr{slog.String(value, key), slog.Time("t", time.Unix(0, number))}
		got, ok := appendText(nil, &record, more)
		if !ok {
			return
		}
		if want := bySlog(t, record, more); string(got) != want {
			t.Errorf("got  %swant %s", got, want)
		}
		if strings.Count(string(got), "\n") != 1 {
			t.Errorf("more than one line: %q", got)
		}
	})
}

// TestTextOrSlogsByAttribute has lines of both kinds from one logger.
func TestTextOrSlogsByAttribute(t *testing.T) {
	var out bytes.Buffer
	logger, err := New(&out, "info", "text")
	if err != nil {
		t.Fatal(err)
	}
	ctx := With(t.Context(), slog.String("request_id", "R1"))
	logger.InfoContext(ctx, "here", "a", 1)
	logger.InfoContext(ctx, "slog's", "a", errors.New("ä"))
	logger.InfoContext(ctx, "here again", "a", 2)
	logger.With("room", "ca").InfoContext(ctx, "with attributes")
	logger.WithGroup("g").InfoContext(ctx, "in a group", "a", 3)
	for i, want := range []string{
		" msg=here a=1 request_id=R1", ` msg=slog's a=ä request_id=R1`, ` msg="here again" a=2 request_id=R1`,
		` msg="with attributes" room=ca request_id=R1`, ` msg="in a group" g.a=3 g.request_id=R1`,
	} {
		line, err := out.ReadString('\n')
		if err != nil || !strings.HasSuffix(line, want+"\n") {
			t.Errorf("line %d: %q, %v; want %q", i, line, err, want)
		}
	}
}

func BenchmarkLine(b *testing.B) {
	var out bytes.Buffer
	logger, err := New(&out, "info", "text")
	if err != nil {
		b.Fatal(err)
	}
	ctx := With(context.Background(), slog.String("request_id", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
	now := time.Now().UTC()
	b.ReportAllocs()
	for b.Loop() {
		out.Reset()
		logger.LogAttrs(ctx, slog.LevelInfo, "certificate", slog.String("event", "issued"),
			slog.String("serial", "40ab1234567890abcdef40ab1234567890abcdef"), slog.String("id", "spiffe://bench.example/shop/cart"),
			slog.String("kind", "service"), slog.String("method", "token"), slog.String("by", "token abcdefghijklmnopqrstuvwx"),
			slog.String("issuer", "40ab1234567890abcdef40ab1234567890abcdef"), slog.String("profile", "default"), slog.Time("not_after", now))
	}
}
