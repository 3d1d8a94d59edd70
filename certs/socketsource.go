package certs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	longPoll      = 30 * time.Second       // how long the agent may hold a request when nothing changes
	socketTimeout = 30 * time.Second       // beyond longPoll: connecting, and a large snapshot's way
	firstRetry    = 100 * time.Millisecond // then doubling, up to followOptions.every
)

// SocketSource follows an agent over its local Unix socket at path: it learns each change
// at once. While the agent is away the last snapshot stays in force until its
// certificate expires. Who may write to the socket's directory decides what this process is
// and whom it trusts, so it belongs to the agent's user alone.
func SocketSource(path string, opts ...FollowOption) *Follower {
	var dialer net.Dialer
	return socketSource(func(ctx context.Context) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", path)
	}, opts)
}

func socketSource(dial func(context.Context) (net.Conn, error), opts []FollowOption) *Follower {
	o := collectFollow(opts)
	transport := &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression: true,
		MaxIdleConns:       1,
	}
	p := &poller{client: &http.Client{
		Transport: transport,
		Timeout:   longPoll + socketTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the agent's socket answered with a redirect")
		},
	}}
	return follow(o, func(ctx context.Context, f *Follower) {
		defer transport.CloseIdleConnections()
		wait := min(firstRetry, o.every)
		for {
			asked := time.Now()
			snap, err := p.poll(ctx, f.current.Load())
			if ctx.Err() != nil {
				return
			}
			if err != nil || snap != nil || f.Err() != nil {
				f.publish(snap, err)
			}
			switch {
			case err != nil:
				if !pause(ctx, wait) {
					return
				}
				wait = min(2*wait, o.every)
				continue
			case p.etag == "" || snap == nil && time.Since(asked) < o.every:
				// This agent does not hold requests: ask it now and then.
				if !pause(ctx, o.every) {
					return
				}
			}
			wait = min(firstRetry, o.every)
		}
	})
}

// poller asks the agent, one request after the other.
type poller struct {
	client *http.Client
	etag   string
}

// poll returns the agent's snapshot when it is another one than before; nil when not.
func (p *poller) poll(ctx context.Context, old *Snapshot) (*Snapshot, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+SnapshotPath, nil)
	if err != nil {
		return nil, err
	}
	if p.etag != "" {
		request.Header.Set("If-None-Match", p.etag)
		request.Header.Set("Prefer", fmt.Sprintf("wait=%d", int(longPoll.Seconds())))
	}
	response, err := p.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the agent: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end, or given up
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotModified:
		return nil, nil
	default:
		return nil, fmt.Errorf("asking the agent: it answered %s; its log says why", response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, MaxSnapshotSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the agent's snapshot: %w", err)
	}
	snap, err := decodeSnapshot(body, old)
	if err != nil {
		p.etag = "" // so that the agent sends it whole once it is mended
		return nil, err
	}
	p.etag = response.Header.Get("ETag")
	return snap, nil
}
