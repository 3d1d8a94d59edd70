// Package proxy puts mutual TLS in front of a service that speaks plaintext, and behind
// one that dials plaintext.
//
// An inbound listener terminates TLS 1.3, refuses every peer that identity, policy and
// revocation do not allow, and forwards to the local service: bytes (tcp), or HTTP
// requests that carry the verified identity (http, h2c). An outbound listener takes
// local plaintext and dials a peer that must show the identity that was asked for.
//
// Both fail closed: without a valid certificate, policy or revocation data nothing is
// let through. Connections are kept by peer, and are cut when a newer snapshot
// revokes or forbids the peer, and when the peer's certificate expires.
package proxy
