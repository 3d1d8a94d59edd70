package agent_test

import (
	"context"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/handfast/handfast/agent"
	"github.com/handfast/handfast/certs"
)

// A gRPC server and client that do mutual TLS by themselves. The configurations follow
// rotation, and judge identity, policy and revocation at each handshake.
func Example_grpc() {
	ctx := context.Background()
	a, err := agent.New(agent.Config{
		Token:    agent.TokenFile("/run/secrets/handfast-token"),
		StateDir: "/var/lib/orders/handfast",
	})
	if err != nil {
		log.Fatal(err)
	}
	go a.Run(ctx) // ends with ctx
	if err := a.WaitReady(ctx); err != nil {
		log.Fatal(err)
	}

	// Whom the CA's policy allows may call.
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(certs.ServerConfig(a, certs.AllowPolicy(a)))))
	listener, err := net.Listen("tcp", ":8443")
	if err != nil {
		log.Fatal(err)
	}
	go server.Serve(listener)

	// Only the service billing is talked to, whatever answers at the address.
	billing, err := certs.ParseID("spiffe://prod.example.org/billing")
	if err != nil {
		log.Fatal(err)
	}
	conn, err := grpc.NewClient("billing.internal:8443",
		grpc.WithTransportCredentials(credentials.NewTLS(certs.ClientConfig(a, billing))))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
}
