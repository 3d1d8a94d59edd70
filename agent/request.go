package agent

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/handfast/handfast/ca/api"
)

// Errors about tokens that are there but cannot help. They wrap ErrNoToken: what is
// needed is another one.
var (
	errTokenSpent   = fmt.Errorf("%w that is new: the one that is there has been used for the present certificate", ErrNoToken)
	errTokenRefused = fmt.Errorf("%w that is new: the CA has refused the one that is there", ErrNoToken)
)

// enrol exchanges a token for a certificate. The request is durable before it leaves.
func (a *Agent) enrol(ctx context.Context) error {
	token, err := a.freshToken(ctx)
	if err != nil {
		return err
	}
	digest := tokenDigest(token)
	a.mu.Lock()
	a.report.lastToken = digest
	a.mu.Unlock()
	client, plate, err := a.enrolDoor(token)
	if err != nil {
		return err
	}
	defer client.Close()
	request, err := a.pending(purposeEnrol, digest)
	if err != nil {
		return err
	}
	issued, err := client.Enroll(ctx, &api.EnrollRequest{Token: token, CSR: request.CSR}, request.Idempotency)
	if err != nil {
		return a.enrolFailed(digest, err)
	}
	raw := newIdentity(issued, request.Key)
	raw.CA, raw.Fingerprint, raw.TokenDigest = plate.address, plate.fingerprint, digest
	return a.adopt(purposeEnrol, raw)
}

// enrolFailed forgets what cannot succeed if repeated.
func (a *Agent) enrolFailed(digest string, err error) error {
	var refusal *api.Error
	if !errors.As(err, &refusal) {
		return err
	}
	switch refusal.Code {
	case api.CodeTokenInvalid, api.CodeTokenExpired, api.CodeTokenUsed:
		a.mu.Lock()
		a.tried = digest
		a.mu.Unlock()
	case api.CodeKeyReused, api.CodeBadCSR, api.CodeWeakKey:
	default:
		return err
	}
	return errors.Join(err, a.dropPending())
}

// renew asks for the next certificate with the present one.
func (a *Agent) renew(ctx context.Context, cred *credential) error {
	client, err := a.caSession(cred)
	if err != nil {
		return err
	}
	request, err := a.pending(purposeRenew, cred.serial.String())
	if err != nil {
		return err
	}
	issued, err := client.Renew(ctx, &api.RenewRequest{CSR: request.CSR}, request.Idempotency)
	if err != nil {
		var refusal *api.Error
		if errors.As(err, &refusal) && !refusal.Retryable() {
			err = errors.Join(err, a.dropPending())
		}
		return a.judge(cred, err)
	}
	return a.adoptFrom(cred, purposeRenew, issued, request.Key)
}

// rekey asks for a certificate after the present one has expired: the old key signs
// the request. Each attempt is a new one, because the signature is good for minutes only.
func (a *Agent) rekey(ctx context.Context, cred *credential) error {
	client, err := a.door(cred, false)
	if err != nil {
		return err
	}
	defer client.Close()
	key, csr, err := a.makeKey()
	if err != nil {
		return err
	}
	request, err := api.NewRekeyRequest(cred.id.TrustDomain(), cred.cert.PrivateKey, cred.raw.Chain, csr, a.caTime())
	if err != nil {
		return err
	}
	issued, err := client.Rekey(ctx, request, newIdempotencyKey())
	if err != nil {
		return a.judge(cred, err)
	}
	return a.adoptFrom(cred, purposeRekey, issued, key)
}

// pending returns the request that is under way for the same thing, or makes one
// and makes it durable. Without that no token is spent: a lost answer would cost it. A renewal
// goes on: a lost answer costs a certificate that nobody has, a full disk would cost the service.
func (a *Agent) pending(why purpose, subject string) (*pending, error) {
	a.saving.Lock()
	defer a.saving.Unlock()
	known := a.request // what memory has is never older than what is stored
	if known == nil {
		var err error
		if known, err = a.store.loadPending(); err != nil {
			return nil, err
		}
	}
	if known != nil && known.Purpose == string(why) && known.For == subject {
		return known, nil
	}
	key, csr, err := a.makeKey()
	if err != nil {
		return nil, err
	}
	made := &pending{Purpose: string(why), Key: key, CSR: csr, Idempotency: newIdempotencyKey(), For: subject}
	if err := a.store.savePending(made); err != nil {
		a.metrics.saveFailures.Inc()
		if why != purposeRenew {
			return nil, fmt.Errorf("nothing was asked of the CA, because the request cannot be stored: %w", err)
		}
		a.logger.Error("the request for renewal could not be saved and is made nevertheless", "cause", err)
	}
	a.request = made
	return made, nil
}

func (a *Agent) dropPending() error {
	a.saving.Lock()
	defer a.saving.Unlock()
	a.request = nil
	return a.store.savePending(nil)
}

// makeKey makes a private key, which stays here, and the CSR that proves its possession.
// The CSR names nothing: the CA takes its public key only.
func (a *Agent) makeKey() (key, csr []byte, err error) {
	signer, err := keyMakers[a.keyAlgorithm]()
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	if key, err = x509.MarshalPKCS8PrivateKey(signer); err != nil {
		return nil, nil, fmt.Errorf("encode the key: %w", err)
	}
	if csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, signer); err != nil {
		return nil, nil, fmt.Errorf("make a CSR: %w", err)
	}
	return key, csr, nil
}

func newIdempotencyKey() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // never fails (crypto/rand documents it)
	return hex.EncodeToString(b[:])
}

func newIdentity(issued *api.Issued, key []byte) identity {
	return identity{
		Chain: issued.Chain, Key: key, Roots: issued.Roots,
		RenewAfter: issued.RenewAfter, Grace: issued.Grace,
	}
}
