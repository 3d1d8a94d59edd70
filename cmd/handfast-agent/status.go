package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/agent/statusapi"
)

const statusLong = `status asks the agent that runs on this host how it is: identity and certificate, policy, the CA's feed of
revocations, staple, listeners, the programs that follow it, what is wrong and what to do about it. The agent has to run
with --status HOST:PORT; where it listens is told by the same flag, variable (HANDFAST_STATUS) or configuration file.

It ends with an error when the agent is not ready to make and take calls, or does not answer.`

const statusExample = `  handfast-agent status --status 127.0.0.1:9100
  handfast-agent status --config /etc/handfast/web.yaml -o json`

// errNoStatusAddress says that nobody has said whom to ask.
var errNoStatusAddress = errors.New("which agent? Give --status HOST:PORT, or --config FILE with status.listen, as the agent has it; an agent without a status address cannot be asked")

func newStatusCommand(env environment) *cobra.Command {
	var flags flagSettings
	var format string
	cmd := &cobra.Command{
		Use: "status", Short: "Ask the running agent how it is", Long: statusLong, Example: statusExample, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "text" && format != "json" {
				return fmt.Errorf("output %q: use text or json", format)
			}
			address, err := flags.statusAddress(cmd.Flags(), env.lookup)
			if err != nil {
				return err
			}
			page, raw, err := statusapi.Ask(cmd.Context(), address)
			if err != nil {
				return err
			}
			out := raw
			if format == "text" {
				out = []byte(report(page, address))
			}
			if _, err := env.stdout.Write(out); err != nil {
				return err
			}
			if !page.Ready {
				return fmt.Errorf("the agent is not ready: %s", printable(page.Problem))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&flags.config, "config", "", "YAML `FILE` with the agent's settings")
	cmd.Flags().StringVar(&flags.status, "status", "", "`HOST:PORT` of the agent's status server")
	cmd.Flags().StringVarP(&format, "output", "o", "text", "text, or json for machines")
	return cmd
}
