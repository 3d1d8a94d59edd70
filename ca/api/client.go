package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Defaults of a Client.
const (
	defaultTimeout = 30 * time.Second // of one request, without the time that it asks to wait
	crlTimeout     = 5 * time.Minute  // of fetching a CRL, which may be large
	dialTimeout    = 10 * time.Second
	idleTimeout    = 30 * time.Second // without a request; who polls always has one, and agents renew seldom
	pingAfter      = 5 * time.Second  // of silence on a connection
	pingTimeout    = 5 * time.Second  // until a connection that does not answer a ping is dead
)

// Client talks to one CA. It keeps an HTTP/2 connection for as long as there are requests,
// and one more for each stream of the feed. It is safe for concurrent use. It follows no redirect and uses no proxy: the CA's address is the only place
// that a token or a CSR goes to.
//
// Every failure that the CA reports is an *Error, to be had with errors.As; every other
// error means that no answer came (the network, TLS, the context) or that what came is
// not the API's.
type Client struct {
	base    string // https://host:port
	tls     *tls.Config
	timeout time.Duration
	agent   string
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	http    atomic.Pointer[http.Client]
}

// Option changes a Client's defaults.
type Option func(*Client)

// WithTimeout bounds each request, without the time that it asks the CA to wait and
// except the fetch of a CRL, which may take 5 minutes. A context's own deadline holds as
// well. The default is 30 seconds.
func WithTimeout(d time.Duration) Option { return func(c *Client) { c.timeout = d } }

// WithUserAgent sets the User-Agent header; the CA logs it.
func WithUserAgent(agent string) Option { return func(c *Client) { c.agent = agent } }

// NewClient makes a client for the CA at baseURL ("https://host:port" or "host:port").
// No connection is made yet.
//
// tlsConfig says whom to trust and which certificate to show; it is required, because a
// private CA is never verified against the system's roots. A certificate that changes is
// given by GetClientCertificate: it is asked at each new connection, and Reconnect makes
// the next request use a new one.
func NewClient(baseURL string, tlsConfig *tls.Config, options ...Option) (*Client, error) {
	base, err := parseBase(baseURL)
	if err != nil {
		return nil, err
	}
	if tlsConfig == nil {
		return nil, errors.New("API client: no TLS configuration, so no CA to trust")
	}
	if tlsConfig.InsecureSkipVerify && tlsConfig.VerifyConnection == nil {
		return nil, errors.New("API client: the TLS configuration verifies nothing (InsecureSkipVerify without VerifyConnection)")
	}
	c := &Client{base: base, tls: tlsConfig.Clone(), timeout: defaultTimeout, agent: "handfast"}
	c.dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext
	c.tls.MinVersion = tls.VersionTLS13
	for _, option := range options {
		option(c)
	}
	if c.timeout <= 0 {
		return nil, fmt.Errorf("API client: a timeout of %v; use a positive one", c.timeout)
	}
	c.http.Store(c.newHTTP())
	return c, nil
}

// BaseURL returns the CA's address as "https://host:port".
func (c *Client) BaseURL() string { return c.base }

// Reconnect makes the next request use a new connection, and so the certificate that
// the TLS configuration gives then. Requests in flight end on the old connection. The
// client does it by itself after the CA has refused its certificate.
func (c *Client) Reconnect() {
	c.http.Swap(c.newHTTP()).CloseIdleConnections()
}

// Close drops the connection. Requests in flight end on it; the client stays usable.
func (c *Client) Close() { c.http.Load().CloseIdleConnections() }

// newHTTP makes the transport. A new one for each Reconnect, because Go's closes a
// connection for new requests only when none is in flight.
func (c *Client) newHTTP() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Client{
		Transport: &http.Transport{
			Protocols:              protocols,
			TLSClientConfig:        c.tls.Clone(), // net/http writes into its own
			DialContext:            c.dial,
			TLSHandshakeTimeout:    dialTimeout,
			IdleConnTimeout:        idleTimeout,
			MaxIdleConnsPerHost:    2,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
			HTTP2: &http.HTTP2Config{
				SendPingTimeout:  pingAfter,
				PingTimeout:      pingTimeout,
				WriteByteTimeout: pingAfter + pingTimeout,
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func parseBase(s string) (string, error) {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", fmt.Errorf("CA address %q: use https://HOST:PORT", s)
	}
	plain := u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == "" && (u.Path == "" || u.Path == "/")
	if u.Scheme != "https" || u.Hostname() == "" || !plain {
		return "", fmt.Errorf("CA address %q: use https://HOST:PORT, without a path", u.Redacted())
	}
	return "https://" + u.Host, nil
}
