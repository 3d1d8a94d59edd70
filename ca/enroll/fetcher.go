package enroll

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

const (
	fetchTimeout = 10 * time.Second
	maxFetch     = 1 << 20 // bytes of a discovery document or a key set
)

// fetcher gets an identity provider's documents. It goes to the configured hosts over
// HTTPS only and never follows a redirect: neither a token nor a document that an
// attacker controls can send the CA's requests elsewhere in the network.
type fetcher struct {
	client *http.Client
	hosts  []string // host or host:port as they stand in URLs
}

func newFetcher(hosts []string, roots []byte) (*fetcher, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(roots) > 0 {
		pool, err := parseRoots(roots)
		if err != nil {
			return nil, fmt.Errorf("roots: %w", err)
		}
		config.RootCAs = pool
	}
	return &fetcher{
		hosts: hosts,
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

// Get fetches one document; the body ends with an error at maxFetch bytes. A status
// other than 200 is an error, so that an outage is never read as an empty set of keys.
func (f *fetcher) Get(url string) (*http.Response, error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return f.Do(request)
}

// Do is Get with a request. provisioner.HTTPClient asks for both.
func (f *fetcher) Do(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme != "https" || request.URL.User != nil {
		return nil, fmt.Errorf("%s is not fetched: https only", request.URL.Redacted())
	}
	if !slices.Contains(f.hosts, request.URL.Host) {
		return nil, fmt.Errorf("host %q is not allowed; add it to the provider's hosts if its keys do live there", request.URL.Host)
	}
	response, err := f.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s answered %s", request.URL.Host, response.Status), response.Body.Close())
	}
	response.Body = &limitedBody{ReadCloser: response.Body, left: maxFetch}
	return response, nil
}

// limitedBody fails instead of ending early, so that half a document is not taken for
// a whole one.
type limitedBody struct {
	io.ReadCloser
	left int
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("document over %d bytes", maxFetch)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
