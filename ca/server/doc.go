// Package server is the CA's two doors: the API over HTTPS, for agents and operators,
// and the public one over plain HTTP, for CRLs, OCSP, issuers and roots.
//
// It decides nothing about certificates. It says who is asking (once for each request,
// because connections outlive certificates), decodes strictly, bounds what a client can
// take in time, size and work, and translates. One table (see routes) lists every
// request that is answered and who may make it; whatever is not in it is refused.
package server
