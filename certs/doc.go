// Package certs is what a service imports to talk to other services over mutual TLS,
// with identities instead of host names. It depends on the standard library only.
//
// A process has a Source, which hands out its current Snapshot: certificate and key,
// the roots it trusts, its policy and what is revoked. The agent beside the process keeps
// a Source's place up to date: a directory (FileSource) or a local socket (SocketSource).
//
//	src := certs.FileSource("/run/handfast/api")
//	defer src.Close()
//	if err := src.Wait(ctx); err != nil { // the first certificate has arrived
//		return err
//	}
//
// A server takes a tls.Config that asks the Source at every handshake, and an
// Authorizer that says who may come in. There is no default: a nil one refuses everybody.
// AllowPolicy allows whom the CA's operator has allowed (handfast service add --callers).
//
//	server := &http.Server{
//		Addr:      ":8443",
//		Handler:   certs.Handler(mux), // certs.PeerFromContext(r.Context()) says who calls
//		TLSConfig: certs.ServerConfig(src, certs.AllowPolicy(src)),
//	}
//	err := server.ListenAndServeTLS("", "")
//
// A client says whom it dials by SPIFFE ID; the host's name decides only where the packets go.
//
//	api, err := certs.ParseID("spiffe://prod.example.org/api")
//	client := &http.Client{Transport: &http.Transport{
//		TLSClientConfig:   certs.ClientConfig(src, api),
//		ForceAttemptHTTP2: true,
//	}}
//
// Nothing has to be restarted or reloaded when certificates, roots, policy or
// revocation change: the next handshake uses what is current then.
//
// # What is checked
//
// Everything is checked in tls.Config's VerifyConnection, which runs on resumed
// sessions too (VerifyPeerCertificate does not): the chain by RFC 5280, the one SPIFFE ID of
// an X.509-SVID, its trust domain, revocation and its freshness, what is stapled, then policy. Verify
// does it, but for the staple, for programs that do not use crypto/tls. This process's own certificate is checked as well: an
// expired one is never shown.
//
// A handshake happens once, a connection may last for days. Enforce checks each HTTP
// request again; Peer.Check does so for any other long connection.
//
// # When something is missing
//
// Everything fails closed. No snapshot, no policy, no revocation data, a stale CRL or one
// with a wrong signature, a feed of revocations that was silent for too long: the peer is refused, and the Refusal tells the cause, both
// identities, the certificate and this host's clock. OnRefusal hears each. While the
// agent or the CA is away the last good snapshot stays in force, until its certificate, its
// CRLs or its feed run out.
package certs
