package revocation

import "time"

// scope is a set of certificates that has a full CRL and a delta CRL: all of an issuer's,
// or one partition of them.
type scope struct {
	point    string // distribution point in the CRL, "" for all certificates
	freshest string
	full     slot
	delta    slot

	// What the newest CRLs tell, to be shared by the next ones; guarded as the partition is.
	lists       [2]blocks // full, delta
	end         int       // they tell of the records before this position
	rules       rules     // by which they were made
	generation  int       // of the positions
	number      uint64
	publishedAt time.Time // if it was ahead of the others
}

// lately reports whether the newest CRLs were published ahead of the others so recently
// that the next ones can wait for the others.
func (s *scope) lately(now time.Time) bool {
	age := now.Sub(s.publishedAt)
	return age >= 0 && age < pace
}

// partition divides an issuer's certificates into scopes. What follows scopes is guarded by
// authority.mu, and for the partition of one scope by authority.complete.
type partition struct {
	shards int // 0: one scope with everything
	scopes []*scope

	end        int    // every scope tells of the records before this position
	tick       uint64 // the renewal that every scope was part of
	generation int
}

// suits reports whether v adds records to what the scopes tell, and nothing else: it is no
// renewal, which every scope is part of.
func (p *partition) suits(v view) bool {
	return p.tick == v.tick().sequence && p.generation == v.generation
}

// settle notes that every scope tells what v holds.
func (p *partition) settle(v view) {
	p.tick, p.generation, p.end = v.tick().sequence, v.generation, v.count
}

// together returns the entries of all scopes, one scope behind the other: those of a CRL of
// everything, whose order means nothing (RFC 5280 asks for none).
func (p *partition) together() (lists [2]blocks) {
	for _, s := range p.scopes {
		for list := range lists {
			lists[list] = append(lists[list], s.lists[list]...)
		}
	}
	return lists
}

func newPartition(base, issuer string, shards int, routes map[string]*slot) *partition {
	p := &partition{shards: shards}
	for n := range max(shards, 1) {
		path := fullPath(issuer)
		s := &scope{}
		if shards > 0 {
			path = shardPath(issuer, shards, n)
			s.point = base + path
		}
		s.freshest = base + deltaOf(path)
		routes[path], routes[deltaOf(path)] = &s.full, &s.delta
		p.scopes = append(p.scopes, s)
	}
	return p
}

func (p *partition) of(r *record) int {
	if p.shards == 0 {
		return 0
	}
	return r.shard(p.shards)
}
