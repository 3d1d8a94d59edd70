package certs

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const (
	longPoll      = 30 * time.Second       // how long the agent may hold a request when nothing changes
	socketTimeout = 30 * time.Second       // beyond longPoll: connecting, and a large snapshot's way
	firstRetry    = 100 * time.Millisecond // then doubling, up to followOptions.every
)

// SocketSource follows an agent over its local Unix socket at path: it learns each change
// at once, and tells the agent when it is in force here: what the agent tells the CA to be enforced waits for that.
// OnLoad's function has returned by then, so a program that ends connections in it has ended them. While the agent is away
// the last snapshot stays in force until its certificate expires. Who may write to the socket's directory decides what
// this process is and whom it trusts, so it belongs to the agent's user alone.
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
	p := newPoller(&http.Client{
		Transport: transport,
		Timeout:   longPoll + socketTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the agent's socket answered with a redirect")
		},
	})
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
	me     FollowRequest // who this program is
	etag   string
	old    bool // the agent knows SnapshotPath only, where asking with an ETag is what confirms it
}

func newPoller(client *http.Client) *poller {
	var id [followerIDSize]byte
	rand.Read(id[:]) //nolint:errcheck // never fails (crypto/rand documents it)
	me := FollowRequest{Follower: hex.EncodeToString(id[:]), PID: os.Getpid()}
	if len(os.Args) > 0 {
		me.Program = printable(filepath.Base(os.Args[0]))
	}
	return &poller{client: client, me: me}
}

// poll tells the agent that inForce is, and returns the agent's snapshot when it is another one; nil when not.
func (p *poller) poll(ctx context.Context, inForce *Snapshot) (*Snapshot, error) {
	response, err := p.ask(ctx, inForce)
	if err != nil {
		p.old = false // another agent may answer next
		return nil, fmt.Errorf("asking the agent: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end, or given up
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotModified:
		return nil, nil
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		if !p.old {
			p.old, p.etag = true, ""
			return p.poll(ctx, inForce)
		}
		fallthrough
	default:
		return nil, p.refused(response)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, MaxSnapshotSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the agent's snapshot: %w", err)
	}
	decode := decodeUpdate
	if p.old {
		decode = decodeSnapshot
	}
	snap, err := decode(body, inForce)
	if err != nil {
		p.etag = "" // so that the agent sends it whole once it is mended
		return nil, err
	}
	p.etag = response.Header.Get("ETag")
	return snap, nil
}

// refused is an answer that brings nothing.
func (p *poller) refused(response *http.Response) error {
	p.old = false
	return fmt.Errorf("asking the agent: it answered %s; its log says why", response.Status)
}

// ask sends the request that waits for what is new.
func (p *poller) ask(ctx context.Context, inForce *Snapshot) (*http.Response, error) {
	if p.old {
		return p.askOld(ctx)
	}
	question := p.me
	question.Known = p.etag
	if p.etag != "" {
		question.WaitSeconds = int(longPoll / time.Second)
	}
	if inForce != nil {
		position := inForce.Position()
		question.Enforces = &position
	}
	body, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent"+FollowPath, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	return p.client.Do(request)
}

// askOld asks an agent from before FollowPath.
func (p *poller) askOld(ctx context.Context) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+SnapshotPath, nil)
	if err != nil {
		return nil, err
	}
	if p.etag != "" {
		request.Header.Set("If-None-Match", p.etag)
		request.Header.Set("Prefer", fmt.Sprintf("wait=%d", int(longPoll/time.Second)))
	}
	return p.client.Do(request)
}
