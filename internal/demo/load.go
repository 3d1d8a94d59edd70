package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// load calls a service without a pause from a few clients until it is stopped. Half of
// them open a new connection for each call, so that every call is a new handshake
// between the agents; the others keep theirs.
type load struct {
	calls  atomic.Int64
	failed atomic.Int64
	first  atomic.Pointer[error]
	stop   context.CancelFunc
	done   sync.WaitGroup
}

func startLoad(ctx context.Context, url string, clients int) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{stop: cancel}
	for i := range clients {
		client := &http.Client{
			Timeout:   patience,
			Transport: &http.Transport{DisableKeepAlives: i%2 == 0},
		}
		l.done.Go(func() { l.call(ctx, client, url) })
	}
	return l
}

func (l *load) call(ctx context.Context, client *http.Client, url string) {
	for ctx.Err() == nil {
		err := get(client, url)
		l.calls.Add(1)
		if err != nil {
			l.failed.Add(1)
			l.first.CompareAndSwap(nil, &err)
		}
		// A pause of some milliseconds leaves the two cores of a small machine to the programs on show.
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// end stops the load and says how many calls were made, and what failed first.
func (l *load) end() (calls int64, err error) {
	l.stop()
	l.done.Wait()
	if first := l.first.Load(); first != nil {
		return l.calls.Load(), fmt.Errorf("%d of %d calls failed, the first with: %w", l.failed.Load(), l.calls.Load(), *first)
	}
	return l.calls.Load(), nil
}

func get(client *http.Client, url string) error {
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	_ = response.Body.Close() // read to its end
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d: %s", response.StatusCode, body)
	}
	return nil
}
