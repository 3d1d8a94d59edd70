package certs_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/handfast/handfast/certs"
)

// A server that lets in whom the CA's policy allows, and knows who calls.
func ExampleServerConfig() {
	src := certs.FileSource("/run/handfast/api")
	defer src.Close()

	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, _ := certs.PeerFromContext(r.Context())
		fmt.Fprintf(w, "hello, %s\n", peer.ID)
	})
	server := &http.Server{
		Addr:              ":8443",
		Handler:           certs.Handler(hello),
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: certs.ServerConfig(src, certs.AllowPolicy(src), certs.OnRefusal(func(r *certs.Refusal) {
			slog.Warn("refused a peer", "peer", r.Peer, "cause", r.Cause, "err", r.Err)
		})),
	}
	log.Print(server.ListenAndServeTLS("", ""))
}

// A client that talks to the service api, whatever host it runs on, and to nobody else.
func ExampleClientConfig() {
	src := certs.SocketSource("/run/handfast/web.sock")
	defer src.Close()

	api, err := certs.ParseID("spiffe://prod.example.org/api")
	if err != nil {
		log.Print(err)
		return
	}
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:   certs.ClientConfig(src, api),
		ForceAttemptHTTP2: true,
		// Connections are made anew now and then, so that both ends judge each other again.
		IdleConnTimeout: time.Minute,
	}}
	response, err := client.Get("https://10.0.0.7:8443/")
	if err != nil {
		log.Print(err)
		return
	}
	defer response.Body.Close()
}

// A server whose callers keep connections for days: each request is judged again, so a
// revocation or a change of policy shows at once.
func ExampleEnforce() {
	src := certs.FileSource("/run/handfast/api")
	defer src.Close()

	allow := certs.AllowPolicy(src)
	server := &http.Server{
		Addr:              ":8443",
		Handler:           certs.Enforce(src, allow, http.DefaultServeMux),
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         certs.ServerConfig(src, allow),
	}
	log.Print(server.ListenAndServeTLS("", ""))
}

// A program that may start before its agent waits for the first certificate.
func ExampleFollower_Wait() {
	src := certs.FileSource("/run/handfast/api", certs.OnLoad(func(s *certs.Snapshot, err error) {
		if err != nil {
			slog.Error("certificate files", "err", err)
		}
	}))
	defer src.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := src.Wait(ctx); err != nil {
		log.Print(err)
	}
}

// IDs are compared as values; a path alone says nothing.
func ExampleParseID() {
	a, _ := certs.ParseID("spiffe://prod.example.org/payments/api")
	b, _ := certs.ParseID("spiffe://test.example.org/payments/api")
	fmt.Println(a.TrustDomain(), a.Path(), a == b)
	_, err := certs.ParseID("spiffe://prod.example.org/../admin")
	fmt.Println(err)
	// Output:
	// prod.example.org payments/api false
	// SPIFFE ID "spiffe://prod.example.org/../admin": path has a relative segment
}
