package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/handfast/handfast/ca/api"
)

// ErrNoToken says that there is no enrolment token now; there may be one later.
var ErrNoToken = errors.New("there is no enrolment token")

// TokenSource yields the enrolment token. It is asked again whenever a token is
// needed, so that a new one is picked up without a restart. It fails with
// ErrNoToken when there is none. The agent calls it from one goroutine.
type TokenSource interface {
	Token() (string, error)
}

type tokenFunc func() (string, error)

func (f tokenFunc) Token() (string, error) { return f() }

// TokenString is a token that is known from the start.
func TokenString(token string) TokenSource {
	return tokenFunc(func() (string, error) { return trimToken(token) })
}

// TokenFile reads the token from a file each time. A file that is not there is ErrNoToken.
func TokenFile(path string) TokenSource {
	return tokenFunc(func() (string, error) {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%w: %s does not exist", ErrNoToken, path)
		}
		if err != nil {
			return "", fmt.Errorf("enrolment token: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read from
		return readToken(f)
	})
}

// TokenReader reads the token once, from standard input for example.
func TokenReader(r io.Reader) TokenSource {
	return tokenFunc(sync.OnceValues(func() (string, error) { return readToken(r) }))
}

func readToken(r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, api.MaxToken+64))
	if err != nil {
		return "", fmt.Errorf("enrolment token: %w", err)
	}
	return trimToken(string(data))
}

func trimToken(token string) (string, error) {
	token = strings.TrimSpace(token)
	switch {
	case token == "":
		return "", fmt.Errorf("%w: it is empty", ErrNoToken)
	case len(token) > api.MaxToken:
		return "", fmt.Errorf("enrolment token is longer than %d bytes", api.MaxToken)
	default:
		return token, nil
	}
}

// tokenDigest names a token in state and memory without keeping the secret.
func tokenDigest(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
