package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
)

// caller is one client with one connection, HTTP/1.1, kept alive.
type caller struct {
	http   *http.Client
	buffer bytes.Buffer // the last response's body
}

func newCaller(config *tls.Config) *caller {
	return &caller{http: &http.Client{Transport: &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: 1, MaxConnsPerHost: 1, DisableCompression: true}}}
}

// callers makes n clients; config gives each its TLS configuration, nil for plaintext.
func callers(n int, config func(i int) *tls.Config) []*caller {
	all := make([]*caller, n)
	for i := range all {
		var c *tls.Config
		if config != nil {
			c = config(i)
		}
		all[i] = newCaller(c)
	}
	return all
}

// call sends a request and reads the response, whose status must be 200 or 201.
func (c *caller) call(ctx context.Context, method, url string, body []byte, header http.Header) error {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if header != nil {
		request.Header = header
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was read to its end
	c.buffer.Reset()
	if _, err := io.Copy(&c.buffer, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusCreated {
		return fmt.Errorf("%s %s: %s: %.300s", method, url, response.Status, c.buffer.Bytes())
	}
	return nil
}
