package revocation

// scope is a set of certificates that has a full CRL and a delta CRL: all of an issuer's,
// or one partition of them.
type scope struct {
	point    string // distribution point in the CRL, "" for all certificates
	freshest string
	full     slot
	delta    slot

	// The encoded entries of the newest CRLs, to be copied into the next ones; guarded by issuerState.mu.
	fullEntries, deltaEntries encoded
}

// encoded are entries of a CRL.
type encoded struct {
	der   []byte
	count int
}

// partition divides an issuer's certificates into scopes.
type partition struct {
	shards int // 0: one scope with everything
	scopes []*scope
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
