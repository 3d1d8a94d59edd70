package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/handfast/handfast/ca/api"
)

// ErrNoToken says that there is no enrolment token now; there may be one later.
var ErrNoToken = errors.New("there is no enrolment token")

// TokenSource yields the enrolment token. It is asked again whenever a token is
// needed, so that a new one is picked up without a restart. It fails with
// ErrNoToken when there is none. The agent makes one call at a time; one that blocks holds up
// nothing but the enrolment.
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

// errTokenSlow says that a source has not answered yet: a pipe that nobody has written to.
var errTokenSlow = fmt.Errorf("%w yet: its source does not answer, or standard input has not ended", ErrNoToken)

// patience is how long a source may take before it counts as having no token now.
const patience = 5 * time.Second

// patientSource asks a source that may block, such as standard input, without being held up by it:
// neither a renewal nor the end of the process may wait for a person. It is used by one goroutine.
type patientSource struct {
	source TokenSource
	asked  chan tokenAnswer // nil when nothing is asked
}

type tokenAnswer struct {
	token string
	err   error
}

// ask returns what the source says. What comes later than patience is the next call's answer.
func (p *patientSource) ask(ctx context.Context) (string, error) {
	if p.asked == nil {
		p.asked = make(chan tokenAnswer, 1)
		go func(out chan<- tokenAnswer) {
			token, err := p.source.Token()
			out <- tokenAnswer{token, err}
		}(p.asked)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case answer := <-p.asked:
		p.asked = nil
		return answer.token, answer.err
	case <-timer.C:
		return "", errTokenSlow
	case <-ctx.Done():
		return "", ctx.Err()
	}
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
