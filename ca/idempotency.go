package ca

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"

	"github.com/handfast/handfast/ca/api"
)

const (
	idempotencyKept = 24 * time.Hour
	maxIdempotency  = 64
)

// idempotent makes the ledger's key out of the header's value. scope is the door and who
// asks there, so that nobody can fetch another's certificate by guessing a key; parts is
// what must be the same when the key comes again. An empty header asks for nothing.
func (c *CA) idempotent(header string, scope []string, parts ...[]byte) (*Idempotency, error) {
	if header == "" {
		return nil, nil
	}
	if len(header) > maxIdempotency {
		return nil, refuse(api.CodeBadRequest, "", "%s has %d octets; at most %d are allowed", api.HeaderIdempotencyKey, len(header), maxIdempotency)
	}
	for i := range len(header) {
		if header[i] <= ' ' || header[i] > '~' {
			return nil, refuse(api.CodeBadRequest, "use visible ASCII", "%s holds a character that is not allowed", api.HeaderIdempotencyKey)
		}
	}
	key := ""
	for _, part := range scope {
		key += part + "\x00"
	}
	return &Idempotency{Key: key + header, Digest: digest(parts), ExpiresAt: c.now().Add(idempotencyKept)}, nil
}

// digest is of the parts and their borders, so that no two lists share one by shifting bytes.
func digest(parts [][]byte) [32]byte {
	h := sha256.New()
	var length [8]byte
	for _, part := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write(part)
	}
	return [32]byte(h.Sum(nil))
}

// replay returns what key led to before, or nil when it is new.
func (c *CA) replay(ctx context.Context, a *authorities, key *Idempotency) (*Issued, error) {
	if key == nil {
		return nil, nil
	}
	recorded, err := c.ledger.Replay(ctx, key.Key, key.Digest)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, ledgerError(err)
	}
	return a.handOut(recorded, true)
}
