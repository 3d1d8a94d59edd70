package holder

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/handfast/handfast/ca/api"
)

// errSilent ends a stream that says nothing.
var errSilent = errors.New("the CA's stream says nothing: something between it and this agent holds it back")

// Run follows the feed over conn until ctx ends.
func (h *Holder) Run(ctx context.Context, conn Connection) {
	defer h.setMode(ModeNone)
	for ctx.Err() == nil {
		polling := h.cfg.Now().Before(h.streamAt)
		follow := h.stream
		if polling {
			follow = h.poll
		}
		err := follow(ctx, conn)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			h.failures = 0
			continue
		}
		switch {
		case polling:
		case unfit(err):
			h.strike(err)
		case errors.Is(err, api.ErrNoHandshake):
			h.doubt(ctx, conn, err)
		}
		h.wait(ctx, err)
	}
}

// wait waits as long as the end of a stream or of a question asks for.
func (h *Holder) wait(ctx context.Context, err error) {
	h.setMode(ModeNone)
	h.failures++
	delay := h.cfg.Delay(h.failures, err)
	if errors.Is(err, io.EOF) && h.failures == 1 {
		h.cfg.Logger.Debug("the CA has ended the feed's stream; it is followed again", "retry_in", delay)
	} else {
		h.cfg.Failed(err, delay)
	}
	sleep(ctx, delay)
}

// unfit reports whether err says that streams do not get through, where questions may.
func unfit(err error) bool {
	var refused *api.Error
	return errors.Is(err, errSilent) || errors.Is(err, api.ErrNoStream) || errors.As(err, &refused) && !refused.Retryable()
}

// strike counts a stream that was of no use; after some in a row polling takes its place.
func (h *Holder) strike(err error) {
	h.strikes++
	if h.strikes < strikesMax {
		return
	}
	h.strikes = strikesMax - 1 // one more is enough when the stream is tried again
	h.shun(err)
}

// doubt counts a handshake that was cut: by a CA that is away behind a balancer, or by something in between that does
// not let the stream's protocol through. A question tells them apart, and so that a CA that came back just before
// the question is not polled for long, the stream is tried once more after it.
func (h *Holder) doubt(ctx context.Context, conn Connection, err error) {
	h.doubts++
	switch {
	case h.doubts == strikesMax:
		if h.ask(ctx, conn, 0) != nil {
			h.doubts = 0
		}
	case h.doubts > strikesMax:
		h.doubts = strikesMax // as with strikes
		h.shun(err)
	}
}

// shun lets polling take the stream's place for a while.
func (h *Holder) shun(err error) {
	wait := streamAgain + time.Duration(h.cfg.Jitter()*float64(streamAgain/4))
	if h.streamAt.IsZero() {
		h.cfg.Logger.Warn("the feed cannot be streamed; the CA is polled instead",
			"cause", err, "stream_again_in", wait.Round(time.Second),
			"advice", "let what stands between this agent and the CA pass TLS through unchanged, with the protocol (ALPN) "+api.FeedProtocol)
	}
	h.streamAt = h.cfg.Now().Add(wait)
}

// streaming notes that the stream lives: it has said more than its first word.
func (h *Holder) streaming() {
	if !h.streamAt.IsZero() {
		h.cfg.Logger.Info("the feed is streamed again")
	}
	h.strikes, h.doubts, h.failures, h.streamAt = 0, 0, 0, time.Time{}
}

// stream follows the stream until it ends, is silent for too long or says something that is refused.
func (h *Holder) stream(ctx context.Context, conn Connection) error {
	// Leaving needs the stream for a moment longer than ctx.
	open, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	watchdog := time.AfterFunc(silence, func() { end(errSilent) })
	defer watchdog.Stop()
	opened := context.AfterFunc(ctx, func() { end(context.Cause(ctx)) })
	stream, err := conn.Stream(open, h.begin(ctx))
	if err != nil {
		opened()
		return ended(open, err)
	}
	if opened() {
		defer context.AfterFunc(ctx, func() { leave(ctx, stream); end(context.Cause(ctx)) })()
	}
	defer stream.Close()                                       //nolint:errcheck // it is given up
	defer context.AfterFunc(open, func() { stream.Close() })() //nolint:errcheck // likewise
	go h.acknowledge(open, end, stream)
	return h.listen(open, stream, watchdog)
}

// leave says that this agent stops, unless it comes back at once.
func leave(ctx context.Context, stream Stream) {
	if !errors.Is(context.Cause(ctx), context.Canceled) {
		return
	}
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	stream.Leave(brief) //nolint:errcheck // then the CA counts it as silent
}

// listen takes what the stream says.
func (h *Holder) listen(open context.Context, stream Stream, watchdog *time.Timer) error {
	for statements := 0; ; {
		message, err := stream.Next()
		if err != nil {
			return h.broken(ended(open, err))
		}
		fresh, err := h.take(message.Kind, message.Payload)
		if err != nil {
			return err
		}
		if !fresh {
			continue // what was said before is as good as silence
		}
		watchdog.Reset(silence)
		h.setMode(ModeStream)
		if statements++; statements > 1 {
			h.streaming()
		}
	}
}

// ended is why an operation failed: the reason to give up, if there was one.
func ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// acknowledge tells the CA what is enforced, as it rises, until ctx ends.
func (h *Holder) acknowledge(ctx context.Context, end context.CancelCauseFunc, stream Stream) {
	var told uint64
	for {
		sequence, more := h.Acknowledged()
		if sequence > told {
			if err := stream.Ack(sequence); err != nil {
				end(err)
				return
			}
			told = sequence
		}
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}

// poll asks once, and not again at once: a CA that does not wait must not keep this host busy.
func (h *Holder) poll(ctx context.Context, conn Connection) error {
	defer sleep(ctx, pollPause)
	if err := h.ask(ctx, conn, min(pollWait, h.cfg.Patience()/3).Truncate(time.Second)); err != nil {
		return err
	}
	h.setMode(ModePoll)
	return nil
}

// ask asks what is new, and lets the CA wait for that.
func (h *Holder) ask(ctx context.Context, conn Connection, wait time.Duration) error {
	// Who lags must not make this agent wait for its next statement until the last one may not be relied on.
	since := h.settled(ctx, min(pollWait, h.cfg.Patience()/3))
	ctx, cancel := context.WithTimeout(ctx, wait+pollTimeout)
	defer cancel()
	messages, err := conn.Poll(ctx, since, wait)
	if err != nil {
		return h.broken(err)
	}
	fresh := false
	for _, message := range messages {
		news, err := h.take(message.Kind, message.Payload)
		if err != nil {
			return err
		}
		fresh = fresh || news
	}
	if !fresh {
		return errSilent
	}
	return nil
}

// begin is where a stream begins: at the position that is enforced, or at 0 when a new snapshot is due.
func (h *Holder) begin(ctx context.Context) uint64 {
	view := h.view.Load()
	due := renewAfter + time.Duration(h.cfg.Jitter()*float64(renewAfter/4))
	if view.Len() >= renewFrom && h.cfg.Now().Sub(view.Based()) > due {
		return 0
	}
	return h.settled(ctx, settleTime)
}

// settled returns the position that is enforced, once that is all that is known: it is acknowledged by naming
// it. What is not enforced after a while is asked for again.
func (h *Holder) settled(ctx context.Context, patience time.Duration) uint64 {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		sequence, more := h.Acknowledged()
		if sequence >= h.position() {
			return sequence
		}
		select {
		case <-more:
		case <-timer.C:
			return sequence
		case <-ctx.Done():
			return sequence
		}
	}
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
