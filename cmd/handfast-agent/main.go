// Command handfast-agent is the sidecar beside a service: it enrols the service, rotates
// its certificate, puts mutual TLS in front of it and behind it, and hands certificates to
// programs over files or a local socket.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once, in the middle of draining
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "handfast-agent:", err) //nolint:errcheck // nowhere else to say it
		os.Exit(1)
	}
}
