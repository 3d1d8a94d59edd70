// Package agent keeps a service's certificate alive: it enrols with a one-time token,
// rotates at about two thirds of the certificate's life, watches the CA for changes
// of policy, roots and revocation, and publishes each consistent state as one
// immutable certs.Snapshot.
//
// The sidecar (cmd/handfast-agent) is one user of it; a Go service may be another:
//
//	a, err := agent.New(agent.Config{Token: agent.TokenFile("/run/token"), StateDir: "/var/lib/orders"})
//	...
//	go a.Run(ctx)
//	err = a.WaitReady(ctx)
//	server := &http.Server{TLSConfig: certs.ServerConfig(a, certs.AllowPolicy(a))}
//
// What it promises:
//
//   - The private key is made here and never leaves: a CSR does.
//   - Certificate and key change together, in memory (one pointer) and on disk (one file).
//   - The last good certificate is served while the CA is away, until it expires, never after.
//   - Unknown or damaged policy refuses every caller.
package agent
