package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	// The commands, their help and their shell completion: what git-like tools in Go use.
	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/cmd/handfast/internal/connect"
	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
)

// app is what the commands of one run share.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	outStyle       output.Style
	errStyle       output.Style
	now            func() time.Time
	started        bool // a command's own code runs: from here on, failures are not about the command line
}

// run executes one command line. The error goes to report.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	return runBy(ctx, time.Now, args, stdin, stdout, stderr)
}

// runBy is run by another clock.
func runBy(ctx context.Context, now func() time.Time, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	a := &app{
		stdin: stdin, stdout: stdout, stderr: stderr, now: now,
		outStyle: output.NewStyle(stdout, os.Getenv), errStyle: output.NewStyle(stderr, os.Getenv),
	}
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err != nil && !a.started {
		return fault.New(fault.Usage, command.CommandPath()+" --help", "%w", err)
	}
	return err
}

// report says on stderr what went wrong and returns the exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return int(fault.OK)
	}
	if errors.Is(err, fs.ErrNotExist) && fault.CodeOf(err) == fault.Failure {
		err = fault.New(fault.NotFound, "", "%w", err)
	}
	// When not even standard error can be written, the exit code is all that is left.
	_ = fault.Print(stderr, output.NewStyle(stderr, os.Getenv), err)
	return int(fault.CodeOf(err))
}

// command is the shape of every command's own code.
type command func(cmd *cobra.Command, args []string) error

// does marks the moment when the command line has been understood.
func (a *app) does(f command) command {
	return func(cmd *cobra.Command, args []string) error {
		a.started = true
		return f(cmd, args)
	}
}

// withCA is does for commands that talk to the CA as an operator.
func (a *app) withCA(flags *connect.Flags, f func(ctx context.Context, s *connect.Session, args []string) error) command {
	return a.does(func(cmd *cobra.Command, args []string) error {
		session, err := flags.Open(a.now, a.warn)
		if err != nil {
			return err
		}
		defer session.Close()
		return explainOwn(session, f(cmd.Context(), session, args))
	})
}

// explainOwn gives the operator's way out when it is the operator's own certificate that
// the CA refuses; the CA's hint is written for services.
func explainOwn(s *connect.Session, err error) error {
	var refused *api.Error
	if !errors.As(err, &refused) || refused.Code != api.CodeRevoked && refused.Code != api.CodeExpired {
		return err
	}
	return fault.New(fault.Refused, "the certificate is the one in "+s.Path+"; an admin makes you another context: handfast operator add", "%w", err)
}

// warn tells the operator something that is no failure.
func (a *app) warn(text string) {
	a.note(a.errStyle.Paint(output.Yellow, "warning: ") + output.Clean(text))
}

// note writes a line to standard error, which is for people. It has no one to tell when that fails.
func (a *app) note(line string) { _, _ = fmt.Fprintln(a.stderr, line) }

// hint is note for a person at a terminal; scripts do not get it.
func (a *app) hint(format string, args ...any) {
	if output.IsTerminal(a.stderr) {
		a.note(a.errStyle.Paint(output.Faint, fmt.Sprintf(format, args...)))
	}
}

// say writes a line of the answer.
func (a *app) say(format string, args ...any) error {
	_, err := fmt.Fprintln(a.stdout, output.Clean(fmt.Sprintf(format, args...)))
	return err
}

// confirm asks a person. Without one to ask it says so: what needs confirmation never
// happens unasked.
func (a *app) confirm(question string) error {
	if !output.IsTerminal(a.stdin) {
		return fault.New(fault.Usage, "repeat it with --yes, or with --dry-run first", "%s: nobody to ask, since standard input is no terminal", question)
	}
	if _, err := fmt.Fprintf(a.stderr, "%s Type yes to go on: ", output.Clean(question)); err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(a.stdin, 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !strings.EqualFold(strings.TrimSpace(line), "yes") {
		return fault.New(fault.Failure, "", "not confirmed, so nothing was done")
	}
	return nil
}

// show writes v as data, or calls words for people.
func (a *app) show(f output.Format, v any, words func() error) error {
	if f.IsData() {
		return output.WriteData(a.stdout, f, v)
	}
	return words()
}

// outputFlag registers -o.
func outputFlag(cmd *cobra.Command, choices ...output.Format) *output.Value {
	v := output.NewValue(choices...)
	cmd.Flags().VarP(v, "output", "o", "one of "+v.List())
	complete(cmd, "output", strings.Split(v.List(), ", "))
	return v
}

// complete gives the shell the values of a flag.
func complete(cmd *cobra.Command, flag string, values []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag does not exist or has completions: a mistake in this program
	}
}
