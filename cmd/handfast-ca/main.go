// Command handfast-ca is the CA daemon and what is done on its host: making the CA,
// recovering an operator, renewing the root's CRL, backing up. It is the one place where
// everything is wired together.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(report(os.Stderr, err))
}
