package revocation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"sync"
)

// responseCache keeps signed responses by the CertID that was asked for, at most limit of
// them. A full cache lets go of a random one: what is asked for often is soon
// back, and nobody can drive everything out in an order of his choice. It is safe for
// concurrent use.
//
// A response takes about 0.6 KB: 300 octets of DER without the certificate, which is
// shared, and the rest for the reply and the map. The CertID is not kept by itself: it stands in the
// response. Each allocation less is also a place of memory less that an answer has to wait for.
type responseCache struct {
	seed maphash.Seed

	mu      sync.Mutex
	limit   int
	replies map[uint64]*reply // by the hash of the CertID: of two with the same hash, which nobody can find, the newer one
}

func newResponseCache(limit int) *responseCache {
	return &responseCache{seed: maphash.MakeSeed(), limit: max(limit, 0), replies: make(map[uint64]*reply)}
}

func (c *responseCache) get(id []byte) *reply {
	hash := maphash.Bytes(c.seed, id)
	c.mu.Lock()
	kept := c.replies[hash]
	c.mu.Unlock()
	if kept == nil || !bytes.Equal(kept.id, id) {
		return nil
	}
	return kept
}

// put keeps r, which nobody else has yet, and returns how many responses are held.
func (c *responseCache) put(id []byte, r *reply) int {
	if c.limit == 0 {
		return 0
	}
	r.head = bytes.Clone(r.head) // lets go of the longer array that it was assembled in
	at := bytes.Index(r.head, id)
	if at >= 0 { // it is echoed as it was sent
		r.id = r.head[at : at+len(id)]
	}
	hash := maphash.Bytes(c.seed, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, replaces := c.replies[hash]; !replaces && len(c.replies) >= c.limit {
		for random := range c.replies {
			delete(c.replies, random)
			break
		}
	}
	c.replies[hash] = r
	return len(c.replies)
}

// etag is an entity tag, quotes included.
type etag [2 + 2*16]byte

// etagOfResponse follows RFC 9919: a hash of the response.
func etagOfResponse(response []byte) (tag etag) {
	sum := sha256.Sum256(response)
	hex.Encode(tag[1:], sum[:16])
	tag[0], tag[len(tag)-1] = '"', '"'
	return tag
}
