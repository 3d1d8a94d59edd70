package revocation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"sync"
)

// responseCache keeps signed responses by the CertID that was asked for, at most limit of
// them. A full cache lets go of a random one: what is asked for often is soon
// back, and nobody can drive everything out in an order of his choice. It is safe for
// concurrent use.
//
// A response takes about 0.8 KB: 300 octets of DER without the certificate, which is
// shared, 100 of key, and the rest for the reply and the map.
type responseCache struct {
	mu      sync.Mutex
	limit   int
	replies map[string]*reply
}

func newResponseCache(limit int) *responseCache {
	return &responseCache{limit: max(limit, 0), replies: make(map[string]*reply)}
}

func (c *responseCache) get(id []byte) *reply {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.replies[string(id)]
}

// put keeps r and returns how many responses are held.
func (c *responseCache) put(id []byte, r *reply) int {
	if c.limit == 0 {
		return 0
	}
	kept := *r
	kept.head = bytes.Clone(r.head) // lets go of the longer array that it was assembled in
	kept.demand = new(demand)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, replaces := c.replies[string(id)]; !replaces && len(c.replies) >= c.limit {
		for random := range c.replies {
			delete(c.replies, random)
			break
		}
	}
	c.replies[string(id)] = &kept
	return len(c.replies)
}

// etagOfResponse follows RFC 9919: a hash of the response.
func etagOfResponse(response []byte) string {
	sum := sha256.Sum256(response)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}
