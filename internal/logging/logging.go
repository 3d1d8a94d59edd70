// Package logging makes the programs' slog.Logger from their two flags, and lets a request's
// context carry what every line about it shall say.
package logging

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// New returns a logger that writes to w. level is debug, info, warn or error; format is
// text or json. A line is written when the call that logs it returns; lines of several goroutines may share a call of w.Write, and
// no two calls overlap.
func New(w io.Writer, level, format string) (*slog.Logger, error) {
	var threshold slog.Level
	if err := threshold.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: use debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: threshold}
	var layout func(io.Writer) slog.Handler
	switch format {
	case "text":
		layout = func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, options) }
	case "json":
		layout = func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, options) }
	default:
		return nil, fmt.Errorf("log format %q: use text or json", format)
	}
	h := newHandler(&together{w: w}, threshold, layout)
	h.text = format == "text"
	return slog.New(h), nil
}

type attrsKey struct{}

// With returns a context whose log lines carry attrs, where the logger is one of New's and
// is given the context. Attributes of an enclosing With stay.
func With(ctx context.Context, attrs ...slog.Attr) context.Context {
	before, _ := ctx.Value(attrsKey{}).([]slog.Attr)
	return context.WithValue(ctx, attrsKey{}, append(before[:len(before):len(before)], attrs...))
}

// handler adds the context's attributes to each record. It lays lines out by slog's own handlers, each of which writes
// into a buffer of its own: slog would hold a lock while a line is written, so that no other could join it.
type handler struct {
	out       io.Writer
	threshold slog.Level
	layout    func(io.Writer) slog.Handler
	text      bool       // plain lines are appendText's: text, without attributes or groups of its own
	pens      *sync.Pool // of *pen
}

// pen is a handler with the buffer that it writes into. One goroutine at a time has it.
type pen struct {
	slog.Handler
	line  bytes.Buffer
	plain []byte // what appendText writes into
}

// maxKeptLine is how long a line may be whose buffer is used again.
const maxKeptLine = 16 << 10

func newHandler(out io.Writer, threshold slog.Level, layout func(io.Writer) slog.Handler) *handler {
	return &handler{out: out, threshold: threshold, layout: layout, pens: &sync.Pool{New: func() any {
		p := &pen{}
		p.Handler = layout(&p.line)
		return p
	}}}
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.threshold }

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, record slog.Record) error {
	attrs, _ := ctx.Value(attrsKey{}).([]slog.Attr)
	p := h.pens.Get().(*pen)
	defer h.put(p)
	if h.text {
		var ok bool
		if p.plain, ok = appendText(p.plain[:0], &record, attrs); ok {
			_, err := h.out.Write(p.plain)
			return err
		}
	}
	if len(attrs) > 0 {
		record = record.Clone()
		record.AddAttrs(attrs...)
	}
	if err := p.Handle(ctx, record); err != nil {
		return err
	}
	_, err := h.out.Write(p.line.Bytes())
	return err
}

func (h *handler) put(p *pen) {
	p.line.Reset()
	if max(p.line.Cap(), cap(p.plain)) <= maxKeptLine {
		h.pens.Put(p)
	}
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return newHandler(h.out, h.threshold, func(w io.Writer) slog.Handler { return h.layout(w).WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return newHandler(h.out, h.threshold, func(w io.Writer) slog.Handler { return h.layout(w).WithGroup(name) })
}
