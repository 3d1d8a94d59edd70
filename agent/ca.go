package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/handfast/handfast/agent/holder"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// caPath is the path of the SPIFFE ID of every CA server.
const caPath = certs.ReservedPrefix + "/ca"

// CA is what an agent asks its CA. Refusals are *api.Error; any other error means that
// no answer came. Methods are safe for concurrent use.
type CA interface {
	Enroll(ctx context.Context, request *api.EnrollRequest, idem string) (*api.Issued, error)
	Renew(ctx context.Context, request *api.RenewRequest, idem string) (*api.Issued, error)
	Rekey(ctx context.Context, request *api.RekeyRequest, idem string) (*api.Issued, error)
	// AgentState returns what to enforce; nil when it is still etag's.
	AgentState(ctx context.Context, etag string) (*api.AgentState, string, error)
	// CRL returns the newest full CRL of the issuer, DER; nil when it is still etag's.
	CRL(ctx context.Context, issuer, etag string) ([]byte, string, error)
	// Feed opens a stream of the feed after since, which it acknowledges for the agent with this ID.
	Feed(ctx context.Context, since uint64, agent string) (holder.Stream, error)
	// FeedPoll asks what came after since, which it acknowledges; the CA waits up to wait for news.
	FeedPoll(ctx context.Context, since uint64, agent string, wait time.Duration) ([]api.FeedMessage, error)
	// RevocationOf asks about one certificate, by its issuer's key id and its serial in hexadecimal.
	RevocationOf(ctx context.Context, issuer, serial string) (*api.RevocationState, error)
	// Close drops the connections. Requests in flight may end.
	Close()
}

// Connector reaches the CA at address; tlsConfig says whom to trust there and which
// certificate to show.
type Connector func(address string, tlsConfig *tls.Config) (CA, error)

func connectHTTPS(address string, tlsConfig *tls.Config) (CA, error) {
	client, err := api.NewClient(address, tlsConfig, api.WithUserAgent("handfast-agent"))
	if err != nil {
		return nil, err
	}
	return overHTTPS{client}, nil
}

// overHTTPS is the API's client, with the stream behind an interface.
type overHTTPS struct{ *api.Client }

func (c overHTTPS) Feed(ctx context.Context, since uint64, agent string) (holder.Stream, error) {
	stream, err := c.Client.Feed(ctx, since, agent)
	if err != nil {
		return nil, err // not a nil stream in an interface
	}
	return stream, nil
}

// door opens a connection that shows cred's certificate, or, for a rekey, none.
func (a *Agent) door(cred *credential, show bool) (CA, error) {
	config := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		// A private CA is not verified against names and the system's roots, but by
		// verifyCA: against the roots that came over a verified connection.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(cs tls.ConnectionState) error {
			return a.verifyCA(cred.id.TrustDomain(), cs.PeerCertificates, cs.OCSPResponse)
		},
	}
	if show {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return cred.cert, nil
		}
	}
	return a.connect(a.address(cred), config)
}

// address is the configured one, so that a CA can move, or the one that issued.
func (a *Agent) address(cred *credential) string {
	if a.ca != "" {
		return a.ca
	}
	return cred.raw.CA
}

// verifyCA accepts the CA's own identity under the roots of now. Revocation is asked
// when it is known: what says so travels over this very connection, so that a stale or missing
// CRL must not stand in its way. Nor must a staple that cannot be used, by a wrong clock say; one that is
// sound and says revoked counts.
func (a *Agent) verifyCA(td certs.TrustDomain, chain []*x509.Certificate, staple []byte) error {
	wanted, err := td.ID(caPath)
	if err != nil {
		return err
	}
	if len(chain) == 0 {
		return errors.New("the CA showed no certificate")
	}
	id, err := certs.IDFromCertificate(chain[0])
	if err != nil {
		return fmt.Errorf("this is not the CA: %w", err)
	}
	if id != wanted {
		return fmt.Errorf("this is not the CA: it shows the identity %s instead of %s", id, wanted)
	}
	bundle, revocation := a.trust()
	now := a.now()
	path, err := certs.VerifyChain(chain, bundle, x509.ExtKeyUsageServerAuth, now)
	if err != nil {
		return err
	}
	if len(staple) > 0 {
		if _, err := certs.CheckStaple(staple, path[0], path[1], now); isRevoked(err) {
			return err
		}
	}
	if revocation == nil {
		return nil
	}
	_, err = certs.Verify(chain, &certs.Snapshot{Bundle: bundle, Revocation: revocation}, x509.ExtKeyUsageServerAuth, now)
	if isRevoked(err) {
		return err
	}
	return nil
}

func isRevoked(err error) bool {
	var refusal *certs.Refusal
	return errors.As(err, &refusal) && refusal.Cause == certs.CauseRevoked
}

// enrolDoor opens a connection to a CA that is known by its root's fingerprint only.
func (a *Agent) enrolDoor(token string) (CA, doorplate, error) {
	plate, err := a.readToken(token)
	if err != nil {
		return nil, doorplate{}, err
	}
	config, err := certs.PinnedConfig(plate.fingerprint)
	if err != nil {
		return nil, doorplate{}, err
	}
	client, err := a.connect(plate.address, config)
	return client, plate, err
}

// doorplate is where a token is to be brought.
type doorplate struct {
	address, fingerprint string
}

func (a *Agent) readToken(token string) (doorplate, error) {
	plate := doorplate{a.ca, a.fingerprint}
	hints, err := api.TokenHints(token)
	switch {
	case err == nil:
		if plate.fingerprint != "" && plate.fingerprint != hints.Fingerprint {
			return doorplate{}, errors.New("the token names another root than the configured fingerprint: it was made by another CA")
		}
		plate.fingerprint = hints.Fingerprint
		if plate.address == "" {
			plate.address = hints.CA
		}
	case errors.Is(err, api.ErrForeignToken) && plate.address != "" && plate.fingerprint != "":
	default:
		return doorplate{}, err
	}
	plate.fingerprint = strings.ToLower(plate.fingerprint)
	return plate, nil
}
