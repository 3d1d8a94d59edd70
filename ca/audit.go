package ca

import (
	"context"
	"log/slog"

	"github.com/handfast/handfast/ca/api"
)

// auditLine is what each event of a certificate's life says in the log, in the same fields. The first is the event.
type auditLine [9]slog.Attr

func auditLineOf(certificate *Certificate) *auditLine {
	return &auditLine{
		slog.String("event", ""),
		slog.String("serial", certificate.Serial.String()),
		slog.String("id", certificate.ID.String()),
		slog.String("kind", string(certificate.Kind)),
		slog.String("method", string(certificate.Method)),
		slog.String("by", certificate.By),
		slog.String("issuer", certificate.Issuer),
		slog.String("profile", certificate.Profile),
		slog.Time("not_after", certificate.NotAfter),
	}
}

// audit logs one event.
func (c *CA) audit(ctx context.Context, event string, line *auditLine) {
	line[0].Value = slog.StringValue(event)
	c.log.LogAttrs(ctx, slog.LevelInfo, "certificate", line[:]...)
}

// change logs what an operator changed.
func (c *CA) change(ctx context.Context, event, actor, subject string, more ...slog.Attr) {
	attrs := append([]slog.Attr{slog.String("event", event), slog.String("by", actor), slog.String("subject", subject)}, more...)
	c.log.LogAttrs(ctx, slog.LevelInfo, "change", attrs...)
}

// who names an asker for the log of a refusal.
type who struct {
	name   string
	method Method
	by     string
}

// answer makes err fit for the caller and logs and counts it: the one place where the cause
// of a refusal is logged. A nil err stays nil.
func (c *CA) answer(ctx context.Context, w who, err error) error {
	if err == nil {
		return nil
	}
	err = ledgerError(err)
	code := codeOf(err)
	c.metrics.refuse(code)
	level := slog.LevelWarn
	if code == api.CodeInternal || code == api.CodeLedgerUnavailable {
		level = slog.LevelError
	}
	c.log.LogAttrs(ctx, level, "certificate", slog.String("event", "refused"), slog.String("name", w.name),
		slog.String("method", string(w.method)), slog.String("by", w.by), slog.String("code", string(code)), slog.Any("cause", err))
	return err
}
