package keystore

import (
	"crypto"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	// kms's own reader of encrypted PKCS #8.
	"go.step.sm/crypto/pemutil"

	"github.com/handfast/handfast/internal/atomicfile"
	"github.com/handfast/handfast/issuer"
)

// maxFile is the largest file that is read, in bytes; an encrypted RSA-4096 key has 4 KiB.
const maxFile = 64 << 10

// filePermissions of every file that holds a secret.
const filePermissions = 0o600

// Create makes a key, writes it to path as PKCS #8 encrypted with passphrase (PBES2:
// AES-256 with PBKDF2), and returns it. It fails with fs.ErrExist when something is at path.
func Create(path string, algorithm issuer.Algorithm, passphrase []byte) (crypto.Signer, error) {
	signer, err := issuer.GenerateKey(algorithm)
	if err != nil {
		return nil, fmt.Errorf("create key %s: %w", path, err)
	}
	if len(passphrase) == 0 {
		return nil, fmt.Errorf("create key %s: the passphrase is empty", path)
	}
	if err := checkFree(path); err != nil {
		return nil, fmt.Errorf("create key: %w", err)
	}
	block, err := pemutil.Serialize(signer, pemutil.WithPKCS8(true), pemutil.WithPassword(passphrase))
	if err != nil {
		return nil, fmt.Errorf("create key %s: it cannot be encoded", path)
	}
	if err := atomicfile.Create(path, pem.EncodeToMemory(block), filePermissions); err != nil {
		return nil, fmt.Errorf("create key %s: %w", path, err)
	}
	return signer, nil
}

// checkFree spares the derivation from the passphrase where it is clear that the file
// cannot be made; atomicfile.Create decides for good.
func checkFree(path string) error {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return err
	}
}

func openFile(path string, passphrase []byte) (crypto.Signer, error) {
	content, err := readSecretFile(path)
	if err != nil {
		return nil, fmt.Errorf("open key: %w", err)
	}
	signer, err := parseKey(content, passphrase)
	if err != nil {
		return nil, fmt.Errorf("open key %s: %w", path, err)
	}
	return signer, nil
}

// parseKey reads one PEM block with a private key and nothing after it.
func parseKey(content, passphrase []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(content)
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("it holds more than one PEM block; keep the key alone")
	}
	encrypted := block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != ""
	if encrypted && len(passphrase) == 0 {
		return nil, fmt.Errorf("%w: it is encrypted and no passphrase was given", ErrPassphrase)
	}
	if err := checkIterations(block.Bytes); encrypted && err != nil {
		return nil, err
	}
	value, err := decode(pem.EncodeToMemory(block), passphrase)
	switch {
	case err != nil && encrypted:
		return nil, ErrPassphrase
	case err != nil:
		return nil, errors.New("it is PEM, but holds no private key that can be read")
	}
	signer, ok := value.(crypto.Signer)
	if !ok {
		return nil, errors.New("it holds a public key or a certificate, not a private key")
	}
	return signer, nil
}

// decode keeps a truncated file from ending the program: the cipher under pemutil panics
// on a text that is not whole blocks. What it says could quote the content, so it is dropped.
func decode(block, passphrase []byte) (value any, err error) {
	defer func() {
		if recover() != nil {
			value, err = nil, errors.New("undecodable")
		}
	}()
	// An empty password and not none: with none, pemutil would prompt on the terminal.
	if passphrase == nil {
		passphrase = []byte{}
	}
	return pemutil.Parse(block, pemutil.WithPassword(passphrase))
}

// maxIterations bounds the time that a damaged or hostile file can take: some seconds.
const maxIterations = 5_000_000

// checkIterations reads as much of a PBES2 header (RFC 8018, appendix A) as holds the
// iteration count. What it cannot read is left for the decoder to refuse.
func checkIterations(der []byte) error {
	var header struct {
		Algorithm struct {
			PBES2      asn1.ObjectIdentifier
			Parameters struct {
				KDF struct {
					PBKDF2     asn1.ObjectIdentifier
					Parameters struct {
						Salt       []byte
						Iterations int
						Rest       asn1.RawValue `asn1:"optional"`
						More       asn1.RawValue `asn1:"optional"`
					}
				}
				Cipher asn1.RawValue
			}
		}
		Encrypted asn1.RawValue
	}
	if _, err := asn1.Unmarshal(der, &header); err != nil {
		return nil //nolint:nilerr // not PBES2 with PBKDF2: pemutil says so
	}
	if n := header.Algorithm.Parameters.KDF.Parameters.Iterations; n < 1 || n > maxIterations {
		return fmt.Errorf("it asks for %d iterations of PBKDF2; 1 to %d are accepted", n, maxIterations)
	}
	return nil
}

// readSecretFile reads a regular file that nobody but its owner (and, for reading, its group:
// that is how secrets are mounted into pods and units) can touch.
func readSecretFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if err := checkMode(path, info.Mode()); err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("%s has over %d bytes; it is no key or secret", path, maxFile)
	}
	return content, nil
}

func checkMode(path string, mode fs.FileMode) error {
	if perm := mode.Perm(); perm&0o027 != 0 {
		return fmt.Errorf("%s: %w: %#o (run: chmod 600 %s)", path, ErrPermissions, perm, path)
	}
	return nil
}
