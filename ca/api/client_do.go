package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Limits of responses, in bytes. A CA that answers more is not believed.
const (
	maxResponse     = 1 << 20
	maxListResponse = 16 << 20
	maxRetryAfter   = time.Hour
	maxErrorText    = 2 << 10 // of a message or a hint
)

// call is one request, before it is made.
type call struct {
	method  string
	path    string
	query   url.Values
	header  map[string]string // those with an empty value are not sent
	body    any               // nil is none
	accept  string            // the media type of a good answer
	limit   int64             // of the answer, in bytes; 0 is maxResponse
	timeout time.Duration     // 0 is the client's
	wait    time.Duration     // that the CA is asked to let pass; added to the timeout
}

// reply is an answer with status 200, 204 or 304, read to its end.
type reply struct {
	status int
	etag   string
	body   []byte
}

const (
	mediaJSON = "application/json"
	mediaCRL  = "application/pkix-crl"
)

// callJSON makes the call and decodes the answer into a T; nil stands for 304.
func callJSON[T any](ctx context.Context, c *Client, call call) (*T, string, error) {
	call.accept = mediaJSON
	reply, err := c.do(ctx, call)
	if err != nil || reply.status == http.StatusNotModified {
		return nil, reply.etag, err
	}
	answer := new(T)
	if err := json.Unmarshal(reply.body, answer); err != nil {
		return nil, "", fmt.Errorf("%s %s%s: the answer is not what the API promises: %w", call.method, c.base, call.path, err)
	}
	return answer, reply.etag, nil
}

func (c *Client) do(ctx context.Context, call call) (reply, error) {
	timeout := call.timeout
	if timeout == 0 {
		timeout = c.timeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout+call.wait)
	defer cancel()
	request, err := c.request(ctx, call)
	if err != nil {
		return reply{}, err
	}
	response, err := c.http.Load().Do(request)
	if err != nil {
		return reply{}, err // a *url.Error: it names method and URL
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	answer, err := readAnswer(response, call)
	if err == nil {
		return answer, nil
	}
	c.reconnectAfter(err)
	return reply{}, fmt.Errorf("%s %s%s: %w", call.method, c.base, call.path, err)
}

// reconnectAfter gives up the connection when its certificate was what the CA refused.
func (c *Client) reconnectAfter(err error) {
	var refused *Error
	if errors.As(err, &refused) && certificateRefused(refused.Code) {
		c.Reconnect()
	}
}

// certificateRefused says whether another certificate might be accepted where the one of
// the connection was not: connections outlive certificates.
func certificateRefused(code Code) bool {
	return code == CodeUnauthenticated || code == CodeExpired || code == CodeRevoked
}

func (c *Client) request(ctx context.Context, call call) (*http.Request, error) {
	target := c.base + call.path
	if len(call.query) > 0 {
		target += "?" + call.query.Encode()
	}
	var body io.Reader
	if call.body != nil {
		data, err := json.Marshal(call.body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: encode the request: %w", call.method, call.path, err)
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, call.method, target, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", c.agent)
	request.Header.Set("Accept", call.accept)
	if call.body != nil {
		request.Header.Set("Content-Type", mediaJSON)
	}
	for name, value := range call.header {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	return request, nil
}

func readAnswer(response *http.Response, call call) (reply, error) {
	limit := call.limit
	if limit == 0 {
		limit = maxResponse
	}
	switch response.StatusCode {
	case http.StatusOK, http.StatusCreated:
	case http.StatusNoContent, http.StatusNotModified:
		return reply{status: response.StatusCode, etag: response.Header.Get("ETag")}, nil
	default:
		return reply{}, readError(response)
	}
	if got := mediaType(response); got != call.accept {
		return reply{}, fmt.Errorf("the answer is %q instead of %q: is this the address of a Handfast CA?", got, call.accept)
	}
	body, err := readLimited(response.Body, limit)
	if err != nil {
		return reply{}, err
	}
	return reply{status: response.StatusCode, etag: response.Header.Get("ETag"), body: body}, nil
}

func readLimited(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("the answer is longer than %d bytes", limit)
	}
	return body, nil
}

// readError makes an *Error out of whatever came: the API's own body, or another
// program's between the CA and here.
func readError(response *http.Response) error {
	result := foreignError(response)
	if mediaType(response) == mediaJSON {
		var body ErrorBody
		data, err := readLimited(response.Body, maxResponse)
		if err == nil && json.Unmarshal(data, &body) == nil && body.Error != nil && body.Error.Code != "" {
			result = body.Error
		}
	}
	if result.RequestID == "" {
		result.RequestID = response.Header.Get(HeaderRequestID)
	}
	result.clean()
	result.Status = response.StatusCode
	result.RetryAfter = retryAfter(response.Header.Get("Retry-After"), time.Now())
	return result
}

// clean makes what another program sent fit for a log and a terminal.
func (e *Error) clean() {
	e.Code = Code(printable(string(e.Code)))
	e.Message = printable(e.Message)
	e.Hint = printable(e.Hint)
	e.RequestID = printable(e.RequestID)
}

func foreignError(response *http.Response) *Error {
	e := &Error{
		Message: fmt.Sprintf("HTTP status %d without the API's error", response.StatusCode),
		Hint:    "check that the address is a Handfast CA's and that nothing stands between",
	}
	switch status := response.StatusCode; {
	case status == http.StatusTooManyRequests:
		e.Code = CodeRateLimited
	case status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		e.Code = CodeUnavailable
	case status == http.StatusNotFound:
		e.Code = CodeNotFound
	case status == http.StatusUnauthorized:
		e.Code = CodeUnauthenticated
	case status == http.StatusForbidden:
		e.Code = CodeForbidden
	case status == http.StatusRequestEntityTooLarge:
		e.Code = CodeTooLarge
	case status >= 500:
		e.Code = CodeInternal
	default:
		e.Code = CodeBadRequest
	}
	return e
}

// retryAfter reads the header (RFC 9110, section 10.2.3): seconds or a date. What it
// cannot read is 0; more than an hour is an hour.
func retryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// printable drops what could rewrite a terminal or a log line, and cuts.
func printable(s string) string {
	if len(s) > maxErrorText {
		s = s[:maxErrorText]
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

func mediaType(response *http.Response) string {
	media, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return media
}
