// Package keystore opens and makes the CA's keys and secrets: files that are encrypted
// with a passphrase, and everything that go.step.sm/crypto/kms knows by URI and that
// is built in (PKCS #11 in builds with cgo). What comes out is a crypto.Signer or
// bytes; the rest of the program does not know where they live.
//
// No error of this package holds key material or a passphrase. Nothing is ever
// overwritten, and files are made with mode 0600.
package keystore

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.step.sm/crypto/kms"
	"go.step.sm/crypto/kms/apiv1"
	// HSMs; in builds without cgo it registers a clear refusal instead.
	_ "go.step.sm/crypto/kms/pkcs11"
)

// FileScheme begins the URI of a key in a PEM file.
const FileScheme = "file:"

// Errors that callers tell apart, possibly wrapped.
var (
	// ErrPassphrase means that a file did not decrypt: the passphrase is wrong or missing, or the file is damaged.
	ErrPassphrase = errors.New("wrong passphrase, or the file is damaged")
	// ErrPermissions means that a file with a secret can be read or changed by others.
	ErrPermissions = errors.New("its permissions are too open")
)

// Open returns the key at uri and what releases it: close it when the signer is no
// longer used. "file:PATH" is a PEM file, decrypted with passphrase when it is
// encrypted; other URIs ("pkcs11:token=ca;object=issuing?pin-source=/etc/pin") are
// go.step.sm/crypto/kms's, with passphrase as the PIN where the URI names none.
// Signers are safe for concurrent use.
func Open(ctx context.Context, uri string, passphrase []byte) (crypto.Signer, io.Closer, error) {
	if path, ok := strings.CutPrefix(uri, FileScheme); ok {
		signer, err := openFile(path, passphrase)
		return signer, nothing{}, err
	}
	scheme, _, ok := strings.Cut(uri, ":")
	if !ok || scheme == "" {
		return nil, nil, errors.New("key: the URI has no scheme; a key in a file is file:PATH")
	}
	signer, manager, err := openKMS(ctx, uri, passphrase)
	if err != nil {
		return nil, nil, fmt.Errorf("open %s key: %w", scheme, err)
	}
	return signer, manager, nil
}

func openKMS(ctx context.Context, uri string, passphrase []byte) (crypto.Signer, io.Closer, error) {
	manager, err := kms.New(ctx, apiv1.Options{URI: uri, Pin: string(passphrase)})
	if err != nil {
		return nil, nil, scrub(err, uri)
	}
	signer, err := manager.CreateSigner(&apiv1.CreateSignerRequest{SigningKey: uri, Password: passphrase})
	if err != nil {
		return nil, nil, errors.Join(scrub(err, uri), manager.Close())
	}
	return signer, manager, nil
}

// scrub keeps a PIN that stands in the URI out of an error that quotes it.
func scrub(err error, uri string) error {
	if !strings.Contains(err.Error(), uri) && !strings.Contains(err.Error(), "pin") {
		return err
	}
	return errors.New("the key manager refused the URI (not quoted here: it may hold a PIN); check token, object and pin-source")
}

type nothing struct{}

func (nothing) Close() error { return nil }
