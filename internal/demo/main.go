// Command demo shows the whole life of a certificate with the real binaries, on
// loopback: it starts a CA and two small services with their agents, and exits 0 only if
// each step did what it says.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo failed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	bin := flags.String("bin", "bin", "directory of the three binaries")
	if err := flags.Parse(args); err != nil {
		return err
	}
	binaries, err := filepath.Abs(*bin)
	if err != nil {
		return err
	}
	// The demo's promise is a minute; one that hangs ends by itself, later than any on a busy machine.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "handfast-demo-")
	if err != nil {
		return err
	}
	d := &demo{bin: binaries, dir: dir, say: newNarrator(stdout)}
	defer func() { err = errors.Join(err, d.close(), os.RemoveAll(dir)) }()

	begin := time.Now()
	for _, step := range d.steps() {
		d.say.title(step.title)
		if err := step.do(ctx); err != nil {
			d.showLogs()
			return fmt.Errorf("step %q: %w", step.title, err)
		}
	}
	d.say.end(time.Since(begin))
	return nil
}
