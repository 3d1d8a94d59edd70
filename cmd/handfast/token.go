package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/cmd/handfast/internal/connect"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
)

func newTokenCommand(a *app) *cobra.Command {
	var flags connect.Flags
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "token NAME",
		Short: "Make a one-time token with which a service enrols",
		Long: `Make a one-time token with which an agent enrols as the service NAME. The token
carries the CA's address and the root's fingerprint, so the agent needs nothing
else. It stands alone on standard output.

Whoever holds the token is the service until it is used or expires: send it over
a channel that you trust, and do not put it on a command line.`,
		Example: `  handfast token shop | ssh shop-host 'handfast-agent run --token-file - ...'
  handfast token shop --ttl 5m > shop.token`,
		Args: cobra.ExactArgs(1),
	}
	format := outputFlag(cmd, output.Text, output.JSON, output.YAML)
	flags.Add(cmd.Flags())
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "how long the token can be used (default the CA's)")
	cmd.RunE = a.withCA(&flags, func(ctx context.Context, s *connect.Session, args []string) error {
		token, err := s.API.CreateToken(ctx, &api.TokenRequest{Service: args[0], TTL: api.Duration(ttl)})
		if err != nil {
			return connect.Explain("make a token for "+args[0], err)
		}
		a.hint("usable once, expires %s: give it to handfast-agent run --token-file", output.Ago(token.ExpiresAt, a.now()))
		return a.show(format.Format, token, func() error {
			_, err := fmt.Fprintln(a.stdout, token.Token)
			return err
		})
	})
	return cmd
}
