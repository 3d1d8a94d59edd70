package enroll

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	fetchTimeout = 10 * time.Second
	maxFetch     = 1 << 20 // bytes of a discovery document or a key set
)

const (
	// keptFor is how long a document is given out again without asking: an issuer that
	// allows no caching would otherwise be asked once for each token, forged ones too. It is
	// shorter than minRefresh, so that a refresh does ask.
	keptFor = minRefresh / 2
	// failedFor is the same for a failure: an issuer that hangs would hold up every token.
	failedFor = firstRetry
)

// fetcher gets an identity provider's documents. It goes to the configured hosts over
// HTTPS only and never follows a redirect: neither a token nor a document that an
// attacker controls can send the CA's requests elsewhere in the network. One fetch runs at a
// time; who comes meanwhile shares its outcome. It is safe for concurrent use.
type fetcher struct {
	client *http.Client
	hosts  []string // host or host:port as they stand in URLs
	now    func() time.Time

	mu     sync.Mutex         // guards recent, and is held while fetching
	recent map[string]fetched // by URL
}

// fetched is the outcome of one fetch.
type fetched struct {
	until  time.Time // when it is no longer given out
	header http.Header
	body   []byte
	err    error
}

func newFetcher(hosts []string, roots []byte, now func() time.Time) (*fetcher, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(roots) > 0 {
		pool, err := parseRoots(roots)
		if err != nil {
			return nil, fmt.Errorf("roots: %w", err)
		}
		config.RootCAs = pool
	}
	return &fetcher{
		hosts: hosts, now: now, recent: make(map[string]fetched),
		client: &http.Client{
			Timeout: fetchTimeout,
			Transport: &http.Transport{
				Proxy:                  http.ProxyFromEnvironment,
				TLSClientConfig:        config,
				TLSHandshakeTimeout:    fetchTimeout,
				ResponseHeaderTimeout:  fetchTimeout,
				MaxResponseHeaderBytes: 64 << 10,
				MaxIdleConns:           2,
				IdleConnTimeout:        time.Minute,
			},
			CheckRedirect: func(r *http.Request, _ []*http.Request) error {
				return fmt.Errorf("a redirect to %s is not followed", r.URL.Host)
			},
		},
	}, nil
}

// Get fetches one document, or gives out a recent one. A status other than 200 is an
// error, so that an outage is never read as an empty set of keys, and so is a body over maxFetch bytes.
func (f *fetcher) Get(url string) (*http.Response, error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return f.Do(request)
}

// Do is Get with a request. provisioner.HTTPClient asks for both.
func (f *fetcher) Do(request *http.Request) (*http.Response, error) {
	if request.Method != http.MethodGet {
		return nil, fmt.Errorf("%s is not allowed: documents are only read", request.Method)
	}
	if request.URL.Scheme != "https" || request.URL.User != nil {
		return nil, fmt.Errorf("%s is not fetched: https only", request.URL.Redacted())
	}
	if !slices.Contains(f.hosts, request.URL.Host) {
		return nil, fmt.Errorf("host %q is not allowed; add it to the provider's hosts if its keys do live there", request.URL.Host)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	url, now := request.URL.String(), f.now()
	got, known := f.recent[url]
	if !known || !now.Before(got.until) || got.until.Sub(now) > keptFor { // the last: the clock was set back
		got = f.fetch(request)
		// The documents name each other, so the URLs are the issuer's to choose: old ones go.
		maps.DeleteFunc(f.recent, func(_ string, old fetched) bool { return !now.Before(old.until) })
		f.recent[url] = got
	}
	if got.err != nil {
		return nil, got.err
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: request,
		Header: got.header.Clone(), Body: io.NopCloser(bytes.NewReader(got.body)), ContentLength: int64(len(got.body)),
	}, nil
}

func (f *fetcher) fetch(request *http.Request) fetched {
	header, body, err := f.ask(request)
	if err != nil {
		return fetched{err: err, until: f.now().Add(failedFor)}
	}
	return fetched{header: header, body: body, until: f.now().Add(keptFor)}
}

func (f *fetcher) ask(request *http.Request) (http.Header, []byte, error) {
	response, err := f.client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	if response.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s answered %s", request.URL.Host, response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxFetch+1))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", request.URL.Host, err)
	}
	if len(body) > maxFetch {
		return nil, nil, fmt.Errorf("%s: document over %d bytes", request.URL.Host, maxFetch)
	}
	return response.Header, body, nil
}
