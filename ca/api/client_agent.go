package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
)

// Enroll exchanges a one-time token for a first certificate. idem is the idempotency
// key: "" is none; with one the request may be repeated after a lost answer.
func (c *Client) Enroll(ctx context.Context, request *EnrollRequest, idem string) (*Issued, error) {
	return c.issue(ctx, PathEnroll, request, idem)
}

// Rekey asks for a certificate after the old one has expired, within the grace.
func (c *Client) Rekey(ctx context.Context, request *RekeyRequest, idem string) (*Issued, error) {
	return c.issue(ctx, PathRekey, request, idem)
}

// Renew asks for a certificate of the identity in the connection's client certificate.
func (c *Client) Renew(ctx context.Context, request *RenewRequest, idem string) (*Issued, error) {
	return c.issue(ctx, PathRenew, request, idem)
}

func (c *Client) issue(ctx context.Context, path string, body any, idem string) (*Issued, error) {
	issued, _, err := callJSON[Issued](ctx, c, call{
		method: http.MethodPost, path: path, body: body,
		header: map[string]string{HeaderIdempotencyKey: idem},
	})
	return issued, err
}

// Bundle fetches the trust domain's roots. When they are still those of etag, the bundle is nil.
func (c *Client) Bundle(ctx context.Context, etag string) (*Bundle, string, error) {
	return callJSON[Bundle](ctx, c, call{
		method: http.MethodGet, path: PathBundle, header: map[string]string{"If-None-Match": etag},
	})
}

// AgentState fetches what an agent enforces. When it is still that of etag, the state is nil.
func (c *Client) AgentState(ctx context.Context, etag string) (*AgentState, string, error) {
	return callJSON[AgentState](ctx, c, call{
		method: http.MethodGet, path: PathAgentState, header: map[string]string{"If-None-Match": etag}, limit: maxListResponse,
	})
}

// CRL fetches the newest full CRL (DER) of the issuer with this key id. When it is still
// that of etag, the CRL is nil. The caller verifies the CRL: this only carries it.
func (c *Client) CRL(ctx context.Context, issuer, etag string) (der []byte, newETag string, err error) {
	reply, err := c.do(ctx, call{
		method: http.MethodGet, path: PathCRL + escapePath(issuer), header: map[string]string{"If-None-Match": etag},
		accept: mediaCRL, limit: MaxCRL, timeout: crlTimeout,
	})
	return reply.body, reply.etag, err
}

// Health reports whether the CA's process lives.
func (c *Client) Health(ctx context.Context) error {
	_, err := c.do(ctx, call{method: http.MethodGet, path: PathHealth, accept: "text/plain"})
	return err
}

// Ready returns nil when the CA can issue. An *Error with CodeUnavailable says in its
// message what is wrong.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.do(ctx, call{method: http.MethodGet, path: PathReady, accept: "text/plain"})
	return err
}

// escapePath keeps the characters of names and key ids and the slashes between segments;
// everything else is escaped, so that a name can never reach another route's path.
func escapePath(name string) string {
	var b strings.Builder
	for i := range len(name) {
		ch := name[i]
		switch {
		case ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z', ch >= '0' && ch <= '9', strings.IndexByte("-._/", ch) >= 0:
			b.WriteByte(ch)
		default:
			b.WriteByte('%')
			b.WriteString(strings.ToUpper(strconv.FormatUint(uint64(ch)|0x100, 16)[1:]))
		}
	}
	return b.String()
}
