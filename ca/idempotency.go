package ca

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/handfast/handfast/ca/api"
)

const (
	idempotencyKept = 24 * time.Hour
	maxIdempotency  = 64
)

// idempotent makes the ledger's key out of the header's value. scope is the door and who
// asks there, so that nobody can fetch another's certificate by guessing a key, and place
// follows from it; parts is what must be the same when the key comes again. An empty header asks for nothing.
func (c *CA) idempotent(header string, place uint32, scope []string, parts ...[]byte) (*Idempotency, error) {
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
	return &Idempotency{Key: Placed(place, key+header), Digest: digest(parts), ExpiresAt: c.now().Add(idempotencyKept)}, nil
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

// maxRecent is how many idempotency keys each half of recentKeys holds.
const maxRecent = 16384

// recentKeys are idempotency keys that came lately, by their hash. Whether a key is new is
// for the ledger to say, in the transaction that records; a key that is here is looked up
// before that, so that a repetition costs no signature. It is bounded: the older half goes.
// The zero value is ready.
type recentKeys struct {
	mu         sync.Mutex
	young, old map[[16]byte]struct{}
}

func recentKey(key *Idempotency) [16]byte {
	sum := sha256.Sum256([]byte(key.Key))
	return [16]byte(sum[:16])
}

// seen reports whether key came lately, and remembers it.
func (r *recentKeys) seen(key *Idempotency) bool {
	if key == nil {
		return false
	}
	hash := recentKey(key)
	r.mu.Lock()
	defer r.mu.Unlock()
	_, young := r.young[hash]
	_, old := r.old[hash]
	if len(r.young) >= maxRecent || r.young == nil {
		r.old, r.young = r.young, make(map[[16]byte]struct{})
	}
	r.young[hash] = struct{}{}
	return young || old
}
