package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/handfast/handfast/certs"
)

// CertificateQuery selects certificates to list; the zero value selects all.
type CertificateQuery struct {
	Service  string
	Kind     string        // service, operator, server, ocsp, feed, issuer
	Status   string        // valid, expired, revoked
	Expiring time.Duration // valid now and expired this long from now
	Search   string        // part of a name, or a serial's beginning
	Limit    int           // of the page; 0 is the CA's default, at most MaxPageSize
	Cursor   string        // Next of the page before
}

// ServiceQuery selects services to list; the zero value selects all.
type ServiceQuery struct {
	Search string // part of a name
	Limit  int    // of the page; 0 is the CA's default, at most MaxPageSize
	Cursor string // Next of the page before
}

// CreateToken mints a one-time enrolment token. The answer is a secret until used.
func (c *Client) CreateToken(ctx context.Context, request *TokenRequest) (*Token, error) {
	return post[Token](ctx, c, PathTokens, request)
}

// Issue issues a certificate for a service. idem is as with Enroll.
func (c *Client) Issue(ctx context.Context, request *IssueRequest, idem string) (*Issued, error) {
	return c.issue(ctx, PathCertificates, request, idem)
}

// Certificates returns a page of the ledger, newest first.
func (c *Client) Certificates(ctx context.Context, query CertificateQuery) (*CertificateList, error) {
	values := pageQuery(query.Search, query.Cursor, query.Limit)
	setNonEmpty(values, "service", query.Service)
	setNonEmpty(values, "kind", query.Kind)
	setNonEmpty(values, "status", query.Status)
	if query.Expiring != 0 {
		values.Set("expiring", query.Expiring.String())
	}
	return get[CertificateList](ctx, c, PathCertificates, values)
}

// Certificate returns one certificate with its DER.
func (c *Client) Certificate(ctx context.Context, serial certs.Serial) (*Certificate, error) {
	return get[Certificate](ctx, c, PathCertificates+"/"+serial.String(), nil)
}

// Revoke revokes; when it returns, the revocation is durable and OCSP shows it.
func (c *Client) Revoke(ctx context.Context, request *RevokeRequest) (*RevokeResult, error) {
	return post[RevokeResult](ctx, c, PathRevocations, request)
}

// Services returns a page of the registered services, by name.
func (c *Client) Services(ctx context.Context, query ServiceQuery) (*ServiceList, error) {
	return get[ServiceList](ctx, c, PathServices, pageQuery(query.Search, query.Cursor, query.Limit))
}

// Service returns one registered service.
func (c *Client) Service(ctx context.Context, name string) (*Service, error) {
	return get[Service](ctx, c, PathServices+"/"+escapePath(name), nil)
}

// PutService creates or replaces a service. version says what must be there: 0 nothing,
// AnyVersion whatever it is, another number exactly that version. CodeConflict says that
// something else was.
func (c *Client) PutService(ctx context.Context, service *Service, version uint64) (*Service, error) {
	stored, _, err := callJSON[Service](ctx, c, call{
		method: http.MethodPut, path: PathServices + "/" + escapePath(service.Name), body: service, header: precondition(version),
	})
	return stored, err
}

// DeleteService removes a service: its certificates cannot be renewed any more. version
// is as with PutService; 0 is AnyVersion here.
func (c *Client) DeleteService(ctx context.Context, name string, version uint64) error {
	if version == 0 {
		version = AnyVersion
	}
	_, err := c.do(ctx, call{
		method: http.MethodDelete, path: PathServices + "/" + escapePath(name), header: precondition(version), accept: mediaJSON,
	})
	return err
}

// Apply creates or replaces services in one transaction.
func (c *Client) Apply(ctx context.Context, request *ApplyRequest) (*ApplyResult, error) {
	result, _, err := callJSON[ApplyResult](ctx, c, call{
		method: http.MethodPost, path: PathApply, body: request, limit: maxListResponse,
	})
	return result, err
}

// Operators returns every operator.
func (c *Client) Operators(ctx context.Context) (*OperatorList, error) {
	return get[OperatorList](ctx, c, PathOperators, nil)
}

// AddOperator registers an operator and issues the first certificate.
func (c *Client) AddOperator(ctx context.Context, request *OperatorRequest) (*Issued, error) {
	return post[Issued](ctx, c, PathOperators, request)
}

// DeleteOperator removes an operator and revokes the certificates that it holds.
func (c *Client) DeleteOperator(ctx context.Context, name string) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: PathOperators + "/" + escapePath(name), accept: mediaJSON})
	return err
}

// RenewOperator renews the asking operator's own certificate.
func (c *Client) RenewOperator(ctx context.Context, request *RenewRequest, idem string) (*Issued, error) {
	return c.issue(ctx, PathOperatorRenew, request, idem)
}

// Status returns the CA's view of itself.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return get[Status](ctx, c, PathStatus, nil)
}

// Metrics returns the CA's metrics in Prometheus's text format.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	reply, err := c.do(ctx, call{method: http.MethodGet, path: PathMetrics, accept: "text/plain", limit: maxListResponse})
	return reply.body, err
}

// Progress says how far the revocation with this sequence number has come. The CA waits up
// to wait (at most MaxWait, in whole seconds) until every connected agent enforces it.
func (c *Client) Progress(ctx context.Context, sequence uint64, wait time.Duration) (*Progress, error) {
	wait = wholeSeconds(wait)
	answer, _, err := callJSON[Progress](ctx, c, call{
		method: http.MethodGet, path: PathFeedProgress, query: url.Values{"sequence": {strconv.FormatUint(sequence, 10)}},
		header: preferWait(wait), wait: wait,
	})
	return answer, err
}

// AgentQuery selects agents to list; the zero value selects all.
type AgentQuery struct {
	Service string
	State   string // current, lagging, silent, stopped, expired, revoked
	Search  string // part of a service's name, or an ID's beginning
	Limit   int    // of the page; 0 is the CA's default, at most MaxPageSize
	Cursor  string // Next of the page before
}

// Agents returns a page of the agents that the CA knows, by service and ID.
func (c *Client) Agents(ctx context.Context, query AgentQuery) (*AgentList, error) {
	values := pageQuery(query.Search, query.Cursor, query.Limit)
	setNonEmpty(values, "service", query.Service)
	setNonEmpty(values, "state", query.State)
	return get[AgentList](ctx, c, PathAgents, values)
}

func get[T any](ctx context.Context, c *Client, path string, query url.Values) (*T, error) {
	answer, _, err := callJSON[T](ctx, c, call{method: http.MethodGet, path: path, query: query, limit: maxListResponse})
	return answer, err
}

func post[T any](ctx context.Context, c *Client, path string, body any) (*T, error) {
	answer, _, err := callJSON[T](ctx, c, call{method: http.MethodPost, path: path, body: body, limit: maxListResponse})
	return answer, err
}

func precondition(version uint64) map[string]string {
	switch version {
	case AnyVersion:
		return nil
	case 0:
		return map[string]string{"If-None-Match": "*"}
	default:
		return map[string]string{"If-Match": `"` + strconv.FormatUint(version, 10) + `"`}
	}
}

func pageQuery(search, cursor string, limit int) url.Values {
	values := url.Values{}
	setNonEmpty(values, "q", search)
	setNonEmpty(values, "cursor", cursor)
	if limit > 0 {
		values.Set("limit", strconv.Itoa(limit))
	}
	return values
}

func setNonEmpty(values url.Values, key, value string) {
	if value != "" {
		values.Set(key, value)
	}
}
