package revocation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"sync"
)

// responseCache keeps signed responses by the CertID that was asked for. It holds at
// most limit of them in two generations: when the young one is full it becomes the old
// one, and what is asked for again moves over. That approximates "least recently
// used" with two maps. It is safe for concurrent use.
//
// A response takes about 0.7 KB: 300 octets of DER without the certificate, which is
// shared, 100 of key, and the rest for the reply and the map.
type responseCache struct {
	mu         sync.Mutex
	half       int // of the limit; 0 keeps nothing
	young, old map[string]*reply
}

func newResponseCache(limit int) *responseCache {
	return &responseCache{half: max(limit, 0) / 2, young: make(map[string]*reply)}
}

func (c *responseCache) get(id []byte) *reply {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.young[string(id)]; r != nil {
		return r
	}
	r := c.old[string(id)]
	if r != nil {
		c.add(id, r)
	}
	return r
}

// put keeps r and returns how many responses are held. They are counted twice while
// they stand in both generations.
func (c *responseCache) put(id []byte, r *reply) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.half == 0 {
		return 0
	}
	kept := *r
	kept.head = bytes.Clone(r.head) // lets go of the longer array that it was assembled in
	c.add(id, &kept)
	return len(c.young) + len(c.old)
}

func (c *responseCache) add(id []byte, r *reply) {
	if len(c.young) >= c.half {
		c.old, c.young = c.young, make(map[string]*reply, c.half)
	}
	c.young[string(id)] = r
}

// etagOfResponse follows RFC 9919: a hash of the response.
func etagOfResponse(response []byte) string {
	sum := sha256.Sum256(response)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}
