package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// caPath is the path of the SPIFFE ID of every CA server.
const caPath = certs.ReservedPrefix + "/ca"

// CA is what an agent asks its CA. Refusals are *api.Error; any other error means that
// no answer came. Methods are safe for concurrent use. *api.Client is one.
type CA interface {
	Enroll(ctx context.Context, request *api.EnrollRequest, idem string) (*api.Issued, error)
	Renew(ctx context.Context, request *api.RenewRequest, idem string) (*api.Issued, error)
	Rekey(ctx context.Context, request *api.RekeyRequest, idem string) (*api.Issued, error)
	// AgentState waits up to wait for something else than etag's state; nil when none came.
	AgentState(ctx context.Context, etag string, wait time.Duration) (*api.AgentState, string, error)
	// CRL returns the newest full CRL of the issuer, DER; nil when it is still etag's.
	CRL(ctx context.Context, issuer, etag string) ([]byte, string, error)
	// Close drops the connections. Requests in flight may end.
	Close()
}

// Connector reaches the CA at address; tlsConfig says whom to trust there and which
// certificate to show.
type Connector func(address string, tlsConfig *tls.Config) (CA, error)

func connectHTTPS(address string, tlsConfig *tls.Config) (CA, error) {
	return api.NewClient(address, tlsConfig, api.WithUserAgent("handfast-agent"))
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
			return a.verifyCA(cred.id.TrustDomain(), cs.PeerCertificates)
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
// CRL must not stand in its way.
func (a *Agent) verifyCA(td certs.TrustDomain, chain []*x509.Certificate) error {
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
	if _, err := certs.VerifyChain(chain, bundle, x509.ExtKeyUsageServerAuth, now); err != nil {
		return err
	}
	if revocation == nil {
		return nil
	}
	_, err = certs.Verify(chain, &certs.Snapshot{Bundle: bundle, Revocation: revocation}, x509.ExtKeyUsageServerAuth, now)
	var refusal *certs.Refusal
	if errors.As(err, &refusal) && refusal.Cause == certs.CauseRevoked {
		return err
	}
	return nil
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
