package keystore

import (
	"bytes"
	"crypto/rand"
	"fmt"

	// JWE by passphrase (PBES2 and AES-GCM): authenticated, so a damaged secret is noticed.
	"go.step.sm/crypto/jose"

	"github.com/handfast/handfast/internal/atomicfile"
)

// Bounds of a secret's length in bytes.
const (
	minSecret = 16
	maxSecret = 1024
)

// CreateSecret makes n random bytes, writes them to path encrypted with passphrase (a JWE
// by PBES2 and AES-256-GCM), and returns them. It fails with fs.ErrExist when
// something is at path.
func CreateSecret(path string, n int, passphrase []byte) ([]byte, error) {
	if n < minSecret || n > maxSecret {
		return nil, fmt.Errorf("create secret %s: %d bytes is not between %d and %d", path, n, minSecret, maxSecret)
	}
	if len(passphrase) == 0 {
		return nil, fmt.Errorf("create secret %s: the passphrase is empty", path)
	}
	if err := checkFree(path); err != nil {
		return nil, fmt.Errorf("create secret: %w", err)
	}
	secret := make([]byte, n)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("create secret %s: %w", path, err)
	}
	encrypted, err := jose.Encrypt(secret, jose.WithPassword(passphrase))
	if err != nil {
		return nil, fmt.Errorf("create secret %s: it cannot be encrypted", path)
	}
	text, err := encrypted.CompactSerialize()
	if err != nil {
		return nil, fmt.Errorf("create secret %s: it cannot be encoded", path)
	}
	if err := atomicfile.Create(path, []byte(text+"\n"), filePermissions); err != nil {
		return nil, fmt.Errorf("create secret %s: %w", path, err)
	}
	return secret, nil
}

// OpenSecret returns what CreateSecret wrote.
func OpenSecret(path string, passphrase []byte) ([]byte, error) {
	content, err := readSecretFile(path)
	if err != nil {
		return nil, fmt.Errorf("open secret: %w", err)
	}
	secret, err := decryptSecret(bytes.TrimSpace(content), passphrase)
	if err != nil {
		return nil, fmt.Errorf("open secret %s: %w", path, err)
	}
	return secret, nil
}

func decryptSecret(text, passphrase []byte) ([]byte, error) {
	if len(passphrase) == 0 {
		return nil, fmt.Errorf("%w: no passphrase was given", ErrPassphrase)
	}
	// Not jose.Decrypt: that returns what it cannot parse as if it were the secret.
	encrypted, err := jose.ParseEncrypted(string(text))
	if err != nil {
		return nil, fmt.Errorf("%w: it is not an encrypted secret", ErrPassphrase)
	}
	secret, err := encrypted.Decrypt(passphrase)
	if err != nil {
		return nil, ErrPassphrase
	}
	if len(secret) < minSecret || len(secret) > maxSecret {
		return nil, fmt.Errorf("it holds %d bytes, not between %d and %d", len(secret), minSecret, maxSecret)
	}
	return secret, nil
}
