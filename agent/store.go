package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/internal/atomicfile"
)

// Names in the state directory.
const (
	identityFile    = "identity"
	previousFile    = "identity.previous"
	enforcementFile = "enforcement"
	pendingFile     = "pending"
	feedFile        = "feed"
	agentFile       = "agent"
	lockName        = "lock"
	corruptSuffix   = ".corrupt"
)

var errLocked = errors.New("another process holds the lock")

// pending is a request whose answer has not come yet. It is durable before the request
// leaves, so that a lost answer, a crash included, is recovered by the same request:
// same key, same CSR, same idempotency key.
type pending struct {
	Purpose     string `json:"purpose"` // enrol or renew
	Key         []byte `json:"key"`     // PKCS #8, DER
	CSR         []byte `json:"csr"`
	Idempotency string `json:"idempotency"`
	For         string `json:"for"` // the token's digest, or the serial that is renewed
}

// store keeps the agent's state. A save returns after it is durable; a crash leaves the
// old content or the new. A load returns nil, nil when there is nothing usable, after it
// has logged why and set the damaged file aside; its error means that the place itself
// cannot be used. Only one goroutine at a time calls it.
type store interface {
	loadIdentity() (*credential, error)
	saveIdentity(identity) error
	loadEnforcement() (*rules, error)
	saveEnforcement(enforcement) error
	loadView() (*feed.View, error)
	saveView(*feed.View) error
	agentID() (string, error) // always the same one
	loadPending() (*pending, error)
	savePending(*pending) error // nil removes it
	close() error
}

// memoryStore keeps nothing: a restart needs a new token.
type memoryStore struct{}

func (memoryStore) loadIdentity() (*credential, error) { return nil, nil }
func (memoryStore) saveIdentity(identity) error        { return nil }
func (memoryStore) loadEnforcement() (*rules, error)   { return nil, nil }
func (memoryStore) saveEnforcement(enforcement) error  { return nil }
func (memoryStore) loadView() (*feed.View, error)      { return nil, nil }
func (memoryStore) saveView(*feed.View) error          { return nil }
func (memoryStore) agentID() (string, error)           { return newAgentID(), nil }
func (memoryStore) loadPending() (*pending, error)     { return nil, nil }
func (memoryStore) savePending(*pending) error         { return nil }
func (memoryStore) close() error                       { return nil }

// dirStore keeps the state in a directory that only its owner can enter.
type dirStore struct {
	dir    string
	lock   *os.File
	views  viewLog
	logger *slog.Logger
}

// openStore opens dir, or makes it. It fails when others can enter it, or when
// another agent runs on it.
func openStore(dir string, logger *slog.Logger) (*dirStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	err = errors.Join(checkPrivate(d, 0o077), d.Close())
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := lockFile(lock); err != nil {
		err = fmt.Errorf("state directory %s: %w: does another agent run on it? Give each its own directory", dir, err)
		return nil, errors.Join(err, lock.Close())
	}
	s := &dirStore{dir: dir, lock: lock, logger: logger}
	if err := s.removeLeftovers(); err != nil {
		return nil, errors.Join(fmt.Errorf("state directory: %w", err), lock.Close())
	}
	return s, nil
}

// removeLeftovers deletes the temporary files of a process that was killed while it wrote:
// they hold keys, and nobody else would ever delete them. The lock is held.
func (s *dirStore) removeLeftovers() error {
	for _, name := range []string{identityFile, enforcementFile, pendingFile, feedFile, agentFile, stapleFile} {
		leftovers, err := filepath.Glob(s.path("." + name + ".tmp-*"))
		if err != nil {
			return err
		}
		for _, path := range leftovers {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *dirStore) path(name string) string { return filepath.Join(s.dir, name) }

func (s *dirStore) close() error { return errors.Join(s.views.close(), s.lock.Close()) }

// loadIdentity falls back to the previous generation when the newest is damaged: its
// certificate is older, but good until it expires.
func (s *dirStore) loadIdentity() (*credential, error) {
	for _, name := range []string{identityFile, previousFile} {
		var raw identity
		err := readState(s.path(name), &raw)
		var parsed *credential
		if err == nil {
			if parsed, err = raw.parse(); err != nil {
				err = fmt.Errorf("%s: %w: %w", s.path(name), errCorrupt, err)
			}
		}
		if err == nil {
			return parsed, nil
		}
		if err := s.discard(name, err, "the previous certificate, then a new token, is tried"); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// saveIdentity keeps the old file as the previous generation: a second name for it,
// made before the new one takes its place.
func (s *dirStore) saveIdentity(raw identity) error {
	data, err := encodeState(raw)
	if err != nil {
		return err
	}
	if err := s.keepPrevious(); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if err := atomicfile.Write(s.path(identityFile), data, 0o600); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

func (s *dirStore) keepPrevious() error {
	spare := s.path(previousFile + ".new")
	if err := os.Remove(spare); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := os.Link(s.path(identityFile), spare)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Rename(spare, s.path(previousFile))
}

func (s *dirStore) loadEnforcement() (*rules, error) {
	var raw enforcement
	err := readState(s.path(enforcementFile), &raw)
	var parsed *rules
	if err == nil {
		if parsed, err = raw.parse(nil); err != nil {
			err = fmt.Errorf("%s: %w: %w", s.path(enforcementFile), errCorrupt, err)
		}
	}
	if err != nil {
		return nil, s.discard(enforcementFile, err, "every caller is refused until the CA has answered")
	}
	return parsed, nil
}

func (s *dirStore) saveEnforcement(raw enforcement) error {
	return s.save(enforcementFile, raw)
}

func (s *dirStore) loadPending() (*pending, error) {
	raw := new(pending)
	if err := readState(s.path(pendingFile), raw); err != nil {
		return nil, s.discard(pendingFile, err, "the request that was under way is made anew")
	}
	return raw, nil
}

func (s *dirStore) savePending(p *pending) error {
	if p != nil {
		return s.save(pendingFile, p)
	}
	if err := os.Remove(s.path(pendingFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

func (s *dirStore) save(name string, v any) error {
	data, err := encodeState(v)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(s.path(name), data, 0o600); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

// discard sets a damaged file aside, where it can be looked at but is not read again,
// and logs what happens instead. Other errors are returned: a file that cannot be read
// now may be readable after its permissions are corrected, and must not be replaced.
func (s *dirStore) discard(name string, cause error, instead string) error {
	if errors.Is(cause, fs.ErrNotExist) {
		return nil
	}
	if !errors.Is(cause, errCorrupt) {
		return fmt.Errorf("state: %w", cause)
	}
	aside := s.path(name) + corruptSuffix
	s.logger.Error("state file cannot be used and is set aside", "file", s.path(name), "aside", aside, "cause", cause, "instead", instead)
	if err := os.Rename(s.path(name), aside); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}
