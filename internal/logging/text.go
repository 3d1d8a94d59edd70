package logging

import (
	"log/slog"
	"strconv"
	"time"
)

// appendText appends the line that slog.TextHandler would write for record with more behind its own attributes, for a
// third of what that costs. It reports false, and what it returns is worthless, for whatever it does not know for sure how to write: groups,
// values of other kinds, names and texts outside of ASCII. Those are slog's.
func appendText(line []byte, record *slog.Record, more []slog.Attr) ([]byte, bool) {
	if !record.Time.IsZero() {
		line = append(appendTime(append(line, "time="...), record.Time), ' ')
	}
	line = append(line, "level="...)
	line = append(line, record.Level.String()...)
	line, ok := appendValue(append(line, " msg="...), record.Message)
	record.Attrs(func(attr slog.Attr) bool {
		if ok {
			line, ok = appendAttr(line, attr)
		}
		return ok
	})
	for i := 0; ok && i < len(more); i++ {
		line, ok = appendAttr(line, more[i])
	}
	return append(line, '\n'), ok
}

func appendAttr(line []byte, attr slog.Attr) ([]byte, bool) {
	if attr.Key == "" || !bare(attr.Key) {
		return line, false
	}
	line = append(line, ' ')
	line = append(line, attr.Key...)
	line = append(line, '=')
	switch attr.Value.Kind() {
	case slog.KindString:
		return appendValue(line, attr.Value.String())
	case slog.KindInt64:
		return strconv.AppendInt(line, attr.Value.Int64(), 10), true
	case slog.KindUint64:
		return strconv.AppendUint(line, attr.Value.Uint64(), 10), true
	case slog.KindBool:
		return strconv.AppendBool(line, attr.Value.Bool()), true
	case slog.KindDuration:
		return append(line, attr.Value.Duration().String()...), true
	case slog.KindTime:
		return appendTime(line, attr.Value.Time()), true
	default:
		return line, false
	}
}

// appendValue quotes what a reader could not tell from what follows it.
func appendValue(line []byte, text string) ([]byte, bool) {
	if bare(text) && text != "" {
		return append(line, text...), true
	}
	for i := range len(text) {
		if text[i] >= 0x7f {
			return line, false
		}
	}
	return strconv.AppendQuote(line, text), true
}

// bare reports whether text needs no quotes whatever stands around it.
func bare(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '=' {
			return false
		}
	}
	return true
}

// appendTime is RFC 3339 with three digits of the second, cut. The formatter leaves zeros at the end out: a fourth digit that
// is none keeps them there.
func appendTime(line []byte, t time.Time) []byte {
	const millis = len("2006-01-02T15:04:05.000")
	begin := len(line)
	line = t.Truncate(time.Millisecond).Add(time.Millisecond/10).AppendFormat(line, time.RFC3339Nano)
	return append(line[:begin+millis], line[begin+millis+1:]...)
}
