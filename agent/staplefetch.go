package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/atomicfile"
)

// stapleFile is the staple's name in the state directory. It is no secret and needs no digest: it is signed.
const stapleFile = "staple"

// StapleFetcher asks the OCSP responder at url for the answer to request; both are DER. The
// answer need not be checked: the agent does. It returns when ctx ends.
type StapleFetcher func(ctx context.Context, url string, request []byte) ([]byte, error)

// fetchStapleHTTP returns the StapleFetcher over plain HTTP (RFC 9919, section 6: POST). It follows no
// redirect and uses no proxy: the address stands in a certificate of this agent's own CA.
func fetchStapleHTTP() StapleFetcher {
	client := &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the OCSP responder answered with a redirect")
		},
	}
	return func(ctx context.Context, url string, request []byte) ([]byte, error) {
		post, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(request))
		if err != nil {
			return nil, fmt.Errorf("ask the OCSP responder: %w", err)
		}
		post.Header.Set("Content-Type", "application/ocsp-request")
		response, err := client.Do(post)
		if err != nil {
			return nil, fmt.Errorf("ask the OCSP responder: %w", err)
		}
		defer response.Body.Close() //nolint:errcheck // read to its end, or given up
		if response.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("the OCSP responder answered %s", response.Status)
		}
		if kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err != nil || kind != "application/ocsp-response" {
			return nil, errors.New("what answered is no OCSP responder: the Content-Type is not application/ocsp-response")
		}
		body, err := io.ReadAll(io.LimitReader(response.Body, certs.MaxStapleSize+1))
		if err != nil {
			return nil, fmt.Errorf("read the OCSP response: %w", err)
		}
		return body, nil // one that is too long is refused where it is checked
	}
}

// load reads the staple of before the restart. What cannot be read is fetched anew.
func (s *stapler) load() {
	if s.file == "" {
		return
	}
	f, err := os.Open(s.file)
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // only read from
	if saved, err := io.ReadAll(io.LimitReader(f, certs.MaxStapleSize)); err == nil {
		s.saved = saved
	}
}

// save keeps the staple for a restart while the responder is away.
func (s *stapler) save(staple certs.Staple) {
	if s.file == "" || staple.DER == nil {
		return
	}
	if err := atomicfile.Write(s.file, staple.DER, 0o600); err != nil {
		s.logger.Warn("the OCSP response could not be saved; after a restart it is fetched anew", "cause", err)
	}
}

// newStapler makes the stapler of cfg, which is filled.
func newStapler(cfg Config, changed func()) *stapler {
	s := &stapler{
		now: cfg.Now, jitter: cfg.Jitter, logger: cfg.Logger, fetch: cfg.FetchStaple, changed: changed, wake: make(chan struct{}, 1),
	}
	if cfg.StateDir != "" {
		s.file = filepath.Join(cfg.StateDir, stapleFile)
	}
	s.metrics = newStapleMetrics(s)
	s.load()
	return s
}

// restaple publishes what the stapler has.
func (a *Agent) restaple() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refresh(true)
}
