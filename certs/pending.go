package certs

// Bundle is a set of roots.
type Bundle struct{}

// Policy says who may call.
type Policy struct{}

// Revocation says what is revoked.
type Revocation struct{}
