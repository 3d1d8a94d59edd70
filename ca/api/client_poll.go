package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/handfast/handfast/certs/feed"
)

const maxPoll = 72 << 20 // bytes of a poll's answer: one snapshot, and what came after it

// FeedPoll asks for what is new after since, for where no stream is possible. It waits up to
// wait (at most MaxWait, in whole seconds) for news; when none came the answer is a
// statement that says so. Naming since acknowledges it.
func (c *Client) FeedPoll(ctx context.Context, since uint64, agent string, wait time.Duration) ([]FeedMessage, error) {
	if !ValidAgentID(agent) {
		return nil, errForeignID
	}
	wait = wholeSeconds(wait)
	reply, err := c.do(ctx, call{
		method: http.MethodGet, path: PathFeed, query: feedQuery(since, agent), header: preferWait(wait),
		accept: MediaFeed, limit: maxPoll, timeout: crlTimeout, wait: wait,
	})
	if err != nil {
		return nil, err
	}
	var list []FeedMessage
	for reader := feed.NewReader(bytes.NewReader(reply.body)); ; {
		kind, payload, err := reader.Next()
		switch {
		case errors.Is(err, io.EOF) && len(list) > 0:
			return list, nil
		case err != nil:
			return nil, fmt.Errorf("%s %s%s: the answer is not what the API promises: %w", http.MethodGet, c.base, PathFeed, err)
		}
		list = append(list, FeedMessage{Kind: kind, Payload: payload})
	}
}

// RevocationOf asks the ledger about one certificate, by the key id of its issuer and its
// serial in hexadecimal. CodeNotFound says that the CA has never heard of it.
func (c *Client) RevocationOf(ctx context.Context, issuer, serial string) (*RevocationState, error) {
	return get[RevocationState](ctx, c, PathRevocations+"/"+escapePath(issuer)+"/"+escapePath(serial), nil)
}

func feedQuery(since uint64, agent string) url.Values {
	return url.Values{"since": {strconv.FormatUint(since, 10)}, "agent": {agent}}
}

// wholeSeconds is what of a wait can be asked for.
func wholeSeconds(wait time.Duration) time.Duration {
	return min(max(wait, 0), MaxWait).Truncate(time.Second)
}

func preferWait(wait time.Duration) map[string]string {
	if wait == 0 {
		return nil
	}
	return map[string]string{HeaderPrefer: "wait=" + strconv.Itoa(int(wait/time.Second))}
}
