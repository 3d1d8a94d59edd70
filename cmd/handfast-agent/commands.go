package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/internal/version"
)

const rootLong = `handfast-agent stands beside a service. It enrols the service with a one-time token,
rotates its certificate, refuses callers that policy does not allow, and hands the
certificate to programs that want it themselves.`

const runExample = `  # in front of a service on port 8080, and a way out to the service orders
  handfast-agent run --token-file /run/web.token --state /var/lib/handfast/web \
    --inbound :8443=127.0.0.1:8080,mode=http \
    --outbound 127.0.0.1:9000=orders@10.0.0.7:8443,10.0.0.8:8443 \
    --status 127.0.0.1:9100

  # certificate files for nginx
  handfast-agent run --token-file web.token --state /var/lib/handfast/web \
    --files /etc/nginx/tls --reload-command "nginx -s reload"

  # the token from standard input, nothing on disk
  handfast token web | ssh host handfast-agent run --token-file - --in-memory --socket /run/web.sock`

const runLong = `run keeps the certificate alive until it is told to stop (SIGTERM or SIGINT): then open
connections may end for --drain-timeout. A second signal stops it at once.

Settings come from --config FILE, then from HANDFAST_* variables, then from flags; the
later wins. The variable of a flag is its name in upper case, such as
HANDFAST_TOKEN_FILE or HANDFAST_LOG_LEVEL; lists are separated by white space.
HANDFAST_TOKEN holds a token itself.

LISTEN is HOST:PORT, for --outbound also unix:PATH. TARGET is HOST:PORT or unix:PATH. Options
of a listener follow after commas:
  both      mode=tcp|http|h2c  max-connections=N  connect-timeout=D  idle-timeout=D
            expiry-drain=D (how long an open connection may outlive its peer's certificate; default: not at all)
  inbound   proxy-protocol (mode=tcp)  client-cert-chain (mode=http, h2c)
  outbound  allow-remote (plaintext may come from other hosts)
Use mode=h2c for gRPC.`

// run is the program without its process: everything it touches is handed to it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	env := environment{stdin: stdin, stdout: stdout, stderr: stderr, lookup: os.LookupEnv}
	root := &cobra.Command{
		Use: "handfast-agent", Short: "Mutual TLS beside a service", Long: rootLong, Example: runExample,
		SilenceErrors: true, SilenceUsage: true, Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q: use run, check, status or version", args[0])
			}
			return errors.New("a command is missing: use run, check, status or version")
		},
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddCommand(newRunCommand(env), newCheckCommand(env), newStatusCommand(env), newVersionCommand(env))
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

// environment is what a command may touch outside.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	lookup         func(string) (string, bool)
}

func newRunCommand(env environment) *cobra.Command {
	var flags flagSettings
	cmd := &cobra.Command{
		Use: "run", Short: "Run the agent", Long: runLong, Example: runExample, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := flags.resolve(cmd.Flags(), env.lookup)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), settings, env)
		},
	}
	flags.register(cmd.Flags())
	return cmd
}

func newCheckCommand(env environment) *cobra.Command {
	var flags flagSettings
	cmd := &cobra.Command{
		Use: "check", Short: "Check the settings and do nothing",
		Long:    "check reads the same settings as run and says whether they can work. It touches neither network nor state.",
		Example: "  handfast-agent check --config /etc/handfast/web.yaml", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := flags.resolve(cmd.Flags(), env.lookup); err != nil {
				return err
			}
			_, err := fmt.Fprintln(env.stdout, "the settings are sound")
			return err
		},
	}
	flags.register(cmd.Flags())
	return cmd
}

func newVersionCommand(env environment) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print which build this is", Example: "  handfast-agent version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(env.stdout, version.Line("handfast-agent"))
			return err
		},
	}
}
