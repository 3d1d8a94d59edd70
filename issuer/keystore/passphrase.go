package keystore

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"

	"github.com/handfast/handfast/internal/atomicfile"
)

// maxPassphrase is the longest passphrase that is read, in bytes.
const maxPassphrase = 1024

// PassphraseSource says where the passphrase of keys and secrets comes from. Env wins
// over File; both empty is an error.
type PassphraseSource struct {
	Env  string // the name of an environment variable
	File string // a path; the first and only line is the passphrase
}

// Read returns the passphrase, without the line's end. A file that others can read is ErrPermissions.
func (s PassphraseSource) Read() ([]byte, error) {
	switch {
	case s.Env != "":
		value, ok := os.LookupEnv(s.Env)
		if !ok {
			return nil, fmt.Errorf("passphrase: the environment variable %s is not set", s.Env)
		}
		return checkPassphrase("environment variable "+s.Env, []byte(value))
	case s.File != "":
		content, err := readSecretFile(s.File)
		if err != nil {
			return nil, fmt.Errorf("passphrase: %w", err)
		}
		return checkPassphrase(s.File, content)
	default:
		return nil, errors.New("passphrase: neither a file nor an environment variable is named")
	}
}

func checkPassphrase(where string, content []byte) ([]byte, error) {
	content = bytes.TrimSuffix(bytes.TrimSuffix(content, []byte("\n")), []byte("\r"))
	switch {
	case len(content) == 0:
		return nil, fmt.Errorf("passphrase: %s is empty", where)
	case len(content) > maxPassphrase:
		return nil, fmt.Errorf("passphrase: %s has over %d bytes", where, maxPassphrase)
	case bytes.ContainsAny(content, "\n\r\x00"):
		return nil, fmt.Errorf("passphrase: %s has more than one line", where)
	}
	return content, nil
}

// CreatePassphrase makes a random passphrase of 256 bits, writes it to path and returns it.
// It fails with fs.ErrExist when something is at path.
func CreatePassphrase(path string) ([]byte, error) {
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return nil, fmt.Errorf("create passphrase %s: %w", path, err)
	}
	passphrase := []byte(base64.RawURLEncoding.EncodeToString(random))
	if err := atomicfile.Create(path, append(bytes.Clone(passphrase), '\n'), filePermissions); err != nil {
		return nil, fmt.Errorf("create passphrase %s: %w", path, err)
	}
	return passphrase, nil
}
