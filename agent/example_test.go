package agent_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/handfast/handfast/agent"
	"github.com/handfast/handfast/certs"
)

// A service that enrols by itself, without an agent beside it, and serves HTTPS with its identity. The
// configuration follows rotation; Enforce judges each request by policy and revocation as they are then,
// also on connections that were made before.
func ExampleAgent() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	a, err := agent.New(agent.Config{
		Token:    agent.TokenFile("/run/secrets/handfast-token"), // needed once; made with: handfast token orders
		StateDir: "/var/lib/orders/handfast",
	})
	if err != nil {
		log.Print(err)
		return
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	if err := a.WaitReady(ctx); err != nil {
		log.Print(err)
		return
	}

	greet := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, _ := certs.PeerFromContext(r.Context()) // always there behind Enforce
		fmt.Fprintf(w, "hello %s\n", peer.ID)
	})
	server := &http.Server{
		Addr:              ":8443",
		TLSConfig:         certs.ServerConfig(a, certs.AllowPolicy(a)),
		Handler:           certs.Enforce(a, certs.AllowPolicy(a), greet),
		ReadHeaderTimeout: 10 * time.Second,
	}
	context.AfterFunc(ctx, func() { server.Shutdown(context.Background()) })
	if err := server.ListenAndServeTLS("", ""); !errors.Is(err, http.ErrServerClosed) {
		log.Print(err)
		return
	}
	if err := <-ended; err != nil { // the state directory is free again
		log.Print(err)
	}
}

// Calling another service from the same process: whoever answers must be billing.
func ExampleAgent_client() {
	billing, err := certs.ParseID("spiffe://prod.example.org/billing")
	if err != nil {
		log.Fatal(err)
	}
	a, err := agent.New(agent.Config{StateDir: "/var/lib/orders/handfast"})
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close() // instead of Run: what is stored is used as it is
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: certs.ClientConfig(a, billing), ForceAttemptHTTP2: true},
		Timeout:   10 * time.Second,
	}
	response, err := client.Get("https://10.0.0.7:8443/invoices")
	if err != nil {
		log.Print(err) // a *certs.Refusal inside of it says why, if identity or trust was the matter
		return
	}
	defer response.Body.Close()
	fmt.Println(response.Status)
}
