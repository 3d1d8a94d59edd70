// Package revstatus asks whether a certificate is revoked, the way a stranger would: at the OCSP
// responder and the CRL that the certificate itself names. Answers are bounded in size and
// time, no redirect is followed, and nothing counts that the certificate's issuer has not vouched for.
package revstatus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/handfast/handfast/ca/api"
)

// Limits of answers, in bytes.
const (
	maxOCSP = 64 << 10
	maxCRL  = api.MaxCRL
)

const (
	dialTimeout = 5 * time.Second
	// DefaultTimeout bounds one question with its answer.
	DefaultTimeout = 15 * time.Second
)

// skew is how far the clocks of this host and of a responder may differ.
const skew = 5 * time.Minute

// Status is the answer in one word.
type Status string

// The answers.
const (
	Good        Status = "good"        // not revoked, says an answer that is fresh and signed
	Revoked     Status = "revoked"     // revoked
	Unknown     Status = "unknown"     // the responder has never heard of the certificate
	Unavailable Status = "unavailable" // no answer that counts; Answer.Problem says why
	NotNamed    Status = "not_named"   // the certificate names no place to ask
)

// Answer is what one source says of one certificate.
type Answer struct {
	Status     Status     `json:"status"`
	URL        string     `json:"url,omitempty"`
	RevokedAt  *time.Time `json:"revoked_at,omitempty"`
	Reason     string     `json:"reason,omitempty"`
	ThisUpdate *time.Time `json:"this_update,omitempty"`
	NextUpdate *time.Time `json:"next_update,omitempty"`
	Number     string     `json:"number,omitempty"`  // the CRLNumber
	Problem    string     `json:"problem,omitempty"` // why the status is unavailable
}

// Client asks. It is safe for concurrent use.
type Client struct {
	http *http.Client
	now  func() time.Time
}

// New makes a client with the clock now; each question takes at most timeout.
func New(now func() time.Time, timeout time.Duration) *Client {
	return &Client{
		now: now,
		http: &http.Client{
			Timeout: timeout,
			Transport: &http.Transport{
				DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
				MaxResponseHeaderBytes: 64 << 10,
				DisableKeepAlives:      true, // a handful of questions, each to another place
				DisableCompression:     true, // so that the limits count what is allocated
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// unavailable turns an error into an answer.
func unavailable(source string, err error) Answer {
	return Answer{Status: Unavailable, URL: source, Problem: err.Error()}
}

// get fetches what is at source, at most limit bytes.
func (c *Client) get(ctx context.Context, source string, limit int64) ([]byte, error) {
	return c.do(ctx, http.MethodGet, source, nil, "", limit)
}

// do makes one request. mediaType is the stem of the request's and the answer's type, as
// "application/ocsp"; with an empty one any type of answer will do: web servers know few.
func (c *Client) do(ctx context.Context, method, source string, body []byte, mediaType string, limit int64) ([]byte, error) {
	if err := checkURL(source); err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, source, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if mediaType != "" {
		request.Header.Set("Content-Type", mediaType+"-request")
	}
	response, err := c.http.Do(request)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err // the URL stands in the answer already
		}
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP status %s", response.Status)
	}
	if mediaType != "" {
		if got, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); got != mediaType+"-response" {
			return nil, fmt.Errorf("the answer is of type %q", got)
		}
	}
	return readLimited(response.Body, limit)
}

func readLimited(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("the answer is longer than %d bytes", limit)
	}
	return data, nil
}

// checkURL keeps a certificate from sending this program elsewhere than to a web server.
func checkURL(source string) error {
	u, err := url.Parse(source)
	if err != nil {
		return errors.New("not a URL")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("a URL of scheme %q is not asked", u.Scheme)
	}
	return nil
}

// window reports whether an answer of this validity counts now. A zero nextUpdate is none.
func window(thisUpdate, nextUpdate, now time.Time) error {
	switch {
	case now.Add(skew).Before(thisUpdate):
		return fmt.Errorf("the answer is from the future (%s); is the clock right?", thisUpdate.UTC().Format(time.RFC3339))
	case nextUpdate.IsZero():
		return errors.New("the answer does not say until when it counts")
	case now.After(nextUpdate.Add(skew)):
		return fmt.Errorf("the answer is stale: the next was due at %s", nextUpdate.UTC().Format(time.RFC3339))
	default:
		return nil
	}
}

// at copies a time for an optional field.
func at(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
