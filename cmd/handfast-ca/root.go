package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra" // commands, flags, help and completion as users know them
	"github.com/spf13/pflag"

	"github.com/handfast/handfast/ca/home"
)

// Exit codes.
const (
	exitFailure = 1
	exitUsage   = 2
)

// usageError is a mistake in the command line itself.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// report says on stderr what went wrong and returns the exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	code := exitFailure
	hint := ""
	if _, ok := errors.AsType[usageError](err); ok {
		code, hint = exitUsage, " (see handfast-ca --help)"
	}
	// Joined errors are one line each; every line says which program speaks.
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "handfast-ca: %s%s\n", line, hint) //nolint:errcheck // the exit code remains
	}
	return code
}

// environment is what the commands of one run share.
type environment struct {
	stdout, stderr io.Writer
	lookup         func(string) (string, bool)
	now            func() time.Time
}

// run executes one command line. Standard input is not read by any command.
func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	env := &environment{stdout: stdout, stderr: stderr, lookup: os.LookupEnv, now: time.Now}
	root := newRootCommand(env)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

const rootLong = `handfast-ca makes and runs a certificate authority for mutual TLS between services.

Settings stand in DIR/config.yaml. These variables override it, and flags of "serve" override them:
  HANDFAST_DIR              the directory, where --dir is not given
  HANDFAST_PASSPHRASE       the passphrase of the keys; wins over a file
  HANDFAST_PASSPHRASE_FILE  where it is instead
  HANDFAST_ADDRESS, HANDFAST_PUBLIC_ADDRESS, HANDFAST_METRICS_ADDRESS,
  HANDFAST_API_URL, HANDFAST_PUBLIC_URL, HANDFAST_LOG_LEVEL, HANDFAST_LOG_FORMAT

Exit codes: 0 done, 1 failed, 2 wrong usage.`

const rootExample = `  handfast-ca init --dir /var/lib/handfast-ca --trust-domain prod.example.org \
      --address ca.example.org:9000 --public-address ca.example.org:9001
  handfast-ca serve --dir /var/lib/handfast-ca`

func newRootCommand(env *environment) *cobra.Command {
	root := &cobra.Command{
		Use:           "handfast-ca",
		Short:         "Make and run a certificate authority for mutual TLS between services",
		Long:          rootLong,
		Example:       rootExample,
		SilenceErrors: true, // report prints them
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newInitCommand(env), newServeCommand(env), newCheckCommand(env), newOperatorCommand(env),
		newRootCRLCommand(env), newBackupCommand(env), newRestoreCommand(env), newMigrateCommand(env), newVersionCommand(env))
	return root
}

// noArguments is cobra.NoArgs with the exit code of a usage error.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q", args[0])}
	}
	return nil
}

// addDir declares --dir.
func addDir(cmd *cobra.Command) {
	cmd.Flags().String("dir", "", "the CA's directory (default $HANDFAST_DIR)")
}

// dir returns --dir, or the variable's value.
func (env *environment) dir(cmd *cobra.Command) (home.Dir, error) {
	dir, err := cmd.Flags().GetString("dir")
	if err != nil {
		return "", err
	}
	if dir == "" {
		dir, _ = env.lookup("HANDFAST_DIR")
	}
	if dir == "" {
		return "", usageError{errors.New("no directory: give --dir DIR, or set HANDFAST_DIR")}
	}
	return home.Dir(dir), nil
}

// load reads the configuration with the variables' overrides.
func (env *environment) load(cmd *cobra.Command) (*home.Config, error) {
	dir, err := env.dir(cmd)
	if err != nil {
		return nil, err
	}
	return home.Load(dir, home.FromEnvironment(env.lookup))
}

// printf writes to standard output; a reader that went away is no reason to fail.
func (env *environment) printf(format string, args ...any) {
	fmt.Fprintf(env.stdout, format, args...) //nolint:errcheck // see above
}

// required refuses a command line without one of the flags.
func required(cmd *cobra.Command, names ...string) error {
	missing := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return cmd.Flags().Changed(name) })
	if len(missing) > 0 {
		return usageError{fmt.Errorf("%s: --%s is needed", cmd.CommandPath(), strings.Join(missing, ", --"))}
	}
	return nil
}

// notWith refuses the named flags beside flag, where they would do nothing.
func notWith(cmd *cobra.Command, flag, why string, names ...string) error {
	for _, name := range names {
		if cmd.Flags().Changed(name) {
			return usageError{fmt.Errorf("--%s does not go with --%s: %s", name, flag, why)}
		}
	}
	return nil
}

// onlyWith is notWith for every flag but the named ones.
func onlyWith(cmd *cobra.Command, flag, why string, names ...string) error {
	var others []string
	cmd.Flags().Visit(func(given *pflag.Flag) {
		if !slices.Contains(names, given.Name) {
			others = append(others, given.Name)
		}
	})
	return notWith(cmd, flag, why, others...)
}
