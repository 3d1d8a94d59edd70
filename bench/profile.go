package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/handfast/handfast/bench/internal/report"
	"github.com/handfast/handfast/internal/harness"
)

// shown are the functions that a summary names: our rooms' and the doors to what is below them.
const shown = `handfast/(ca|issuer|revocation|internal)|net/http\.\(\*conn\)\.serve|crypto/tls\.\(\*Conn\)\.(Read|Write|HandshakeContext)|` +
	`ecdsa\.(Sign|Verify)|checkSignature|sqlite3\._Cfunc|database/sql\.\(\*(DB|Stmt|Rows|Row|Tx)\)|encoding/json\.(Marshal|\(\*Decoder\))|log/slog|gcBgMarkWorker$|schedule$`

// profile loads a CA that profiles itself, first with enrolments, then another with
// renewals, and prints where the time goes. What it measures besides is thrown away.
func (s *session) profile(ctx context.Context) error {
	for _, what := range []string{"issue", "renew"} {
		if err := s.profileOf(ctx, what); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

func (s *session) profileOf(ctx context.Context, what string) error {
	s.now = "profile-" + what
	if err := os.MkdirAll(s.path(), 0o700); err != nil {
		return err
	}
	ca, err := s.initCA(ctx, s.bin(), report.Ours)
	if err != nil {
		return err
	}
	file := filepath.Join(s.repo, "bench", what+".prof")
	if file, err = filepath.Abs(file); err != nil {
		return err
	}
	if ca.Process, err = s.start(ctx, nil, "ready", s.program("profiled"), ca.Dir, file); err != nil {
		return err
	}
	if err := s.profiling(ctx, ca, what); err != nil {
		return err
	}
	if err := s.end(); err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-cum", "-nodecount=60", "-show="+shown, file)
	command.Stdout, command.Stderr = s.log, s.log
	if err := command.Run(); err != nil {
		return err
	}
	s.printf("the whole profile is in %s", file)
	return nil
}

func (s *session) profiling(ctx context.Context, ca *authority, what string) error {
	if err := waitTCP(ctx, ca.Process, ca.API); err != nil {
		return err
	}
	if err := ca.register(ctx); err != nil {
		return err
	}
	who := ca.enrolment(s.clients)
	if what == "renew" {
		credentials, err := ca.enrol(ctx, service, s.clients)
		if err != nil {
			return err
		}
		who = ca.renewal(credentials, false)
	}
	if _, err := s.turn(ctx, who, s.units(500)); err != nil {
		return err
	}
	if err := startProfile(ctx, ca.Process); err != nil {
		return err
	}
	result, err := s.turn(ctx, who, s.units(8000))
	if err != nil {
		return err
	}
	s.printf("  %s: %.0f us of CPU a certificate while profiled", what, result.cpu)
	return nil
}

func startProfile(ctx context.Context, process *harness.Process) error {
	from := process.Lines()
	if err := process.Signal(syscall.SIGUSR1); err != nil {
		return err
	}
	_, err := process.WaitLog(ctx, from, "profiling")
	return err
}
