package certs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Follower is a Source that keeps up with a place outside this process: a directory
// (FileSource) or an agent's socket (SocketSource). Current never does I/O. When the place
// cannot be read, the last good snapshot stays in force until its certificate expires, and
// never after. It is safe for concurrent use; Close it when it is no longer needed.
type Follower struct {
	current atomic.Pointer[Snapshot]
	onLoad  func(*Snapshot, error)

	mu      sync.Mutex
	lastErr error         // of the last attempt to load; nil after a good one
	ready   chan struct{} // closed with the first snapshot

	cancel context.CancelFunc
	done   chan struct{}
}

// FollowOption changes a detail of FileSource or SocketSource.
type FollowOption func(*followOptions)

type followOptions struct {
	every  time.Duration
	onLoad func(*Snapshot, error)
}

// PollEvery sets how often FileSource looks whether the files have changed, and how long
// SocketSource waits at most before it tries again. The default is a second.
func PollEvery(interval time.Duration) FollowOption {
	return func(o *followOptions) { o.every = interval }
}

// OnLoad calls f after each attempt to load something new: with the snapshot when one is
// in force now, and with an error when something could not be loaded. Both at once mean that the
// snapshot is in force but lacks what the error says, such as the policy. f runs on the
// source's own goroutine: log, count and return.
func OnLoad(f func(*Snapshot, error)) FollowOption {
	return func(o *followOptions) { o.onLoad = f }
}

func collectFollow(opts []FollowOption) followOptions {
	o := followOptions{every: time.Second}
	for _, opt := range opts {
		opt(&o)
	}
	if o.every <= 0 {
		o.every = time.Second
	}
	return o
}

// follow starts run on a goroutine of its own; run ends with its context.
func follow(o followOptions, run func(context.Context, *Follower)) *Follower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &Follower{onLoad: o.onLoad, ready: make(chan struct{}), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		run(ctx, f)
	}()
	return f
}

// Current returns the snapshot in force. It fails while there is none yet, and once its
// certificate has expired.
func (f *Follower) Current() (*Snapshot, error) {
	snap := f.current.Load()
	if snap == nil {
		if err := f.Err(); err != nil {
			return nil, fmt.Errorf("there is no certificate yet: %w", err)
		}
		return nil, errors.New("there is no certificate yet")
	}
	if refusal := snap.checkOwn(time.Now()); refusal != nil {
		if err := f.Err(); err != nil {
			return nil, fmt.Errorf("%w; loading another one failed: %w", refusal, err)
		}
		return nil, refusal
	}
	return snap, nil
}

// Err returns why the last attempt to load failed, nil when it did not.
func (f *Follower) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lastErr
}

// Wait returns as soon as there is a first snapshot. When ctx ends before, the error says
// why there is none.
func (f *Follower) Wait(ctx context.Context) error {
	select {
	case <-f.ready:
		return nil
	case <-f.done:
		return errors.New("the source was closed")
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("waiting for a certificate: %w", context.Cause(ctx)), f.Err())
	}
}

// Close stops following and waits until that has ended. Current goes on returning the
// last snapshot until it expires. It may be called again.
func (f *Follower) Close() error {
	f.cancel()
	<-f.done
	return nil
}

// publish is called by run only, with a snapshot, an error, or both.
func (f *Follower) publish(snap *Snapshot, err error) {
	f.mu.Lock()
	f.lastErr = err
	f.mu.Unlock()
	if snap != nil && f.current.Swap(snap) == nil {
		close(f.ready)
	}
	if f.onLoad != nil {
		f.onLoad(snap, err)
	}
}

// pause waits for d; false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
