package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/cmd/handfast/internal/connect"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
	"github.com/handfast/handfast/cmd/handfast/internal/servicefile"
)

func newServiceRemoveCommand(a *app) *cobra.Command {
	var flags connect.Flags
	cmd := &cobra.Command{
		Use:     "remove NAME...",
		Aliases: []string{"rm"},
		Short:   "Remove services",
		Long: `Remove services. They cannot enrol or renew any more and drop out of every
other service's callers. Certificates that they hold stay valid until they
expire; "handfast revoke --service NAME" ends them at once.`,
		Example: "  handfast service remove shop\n  handfast revoke --service shop --reason cessationOfOperation && handfast service remove shop",
		Args:    cobra.MinimumNArgs(1),
	}
	flags.Add(cmd.Flags())
	cmd.RunE = a.withCA(&flags, func(ctx context.Context, s *connect.Session, args []string) error {
		for _, name := range args {
			if err := s.API.DeleteService(ctx, name, api.AnyVersion); err != nil {
				return connect.Explain("remove service "+name, err)
			}
			if err := a.say("%s is removed", name); err != nil {
				return err
			}
		}
		a.hint("certificates that are still valid: handfast list --service %s --status valid", args[0])
		return nil
	})
	return cmd
}

func newServiceApplyCommand(a *app) *cobra.Command {
	var flags connect.Flags
	var prune, dryRun bool
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Make the registered services what a YAML file says",
		Long: `Make the registered services what a YAML file says, all in one transaction: either
every change is made or none. Services that the file does not name stay as they
are, unless --prune removes them. "-" reads standard input.

The file:

` + indent(servicefile.Example) + `
What "handfast service list -o yaml" writes can be edited and applied.`,
		Example: "  handfast service apply services.yaml --dry-run\n  handfast service apply services.yaml --prune\n  generate | handfast service apply -",
		Args:    cobra.ExactArgs(1),
	}
	format := outputFlag(cmd, output.Text, output.JSON, output.YAML)
	flags.Add(cmd.Flags())
	cmd.Flags().BoolVar(&prune, "prune", false, "remove the services that the file does not name")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would change")
	cmd.RunE = a.withCA(&flags, func(ctx context.Context, s *connect.Session, args []string) error {
		services, err := servicefile.Read(args[0], a.stdin, s.Context.TrustDomain)
		if err != nil {
			return err
		}
		if len(services) == 0 && !prune {
			return errors.New("the file names no service, so there is nothing to do; with --prune every service would be removed")
		}
		result, err := s.API.Apply(ctx, &api.ApplyRequest{Services: services, Prune: prune, DryRun: dryRun})
		if err != nil {
			return connect.Explain("apply "+args[0], err)
		}
		return a.show(format.Format, result, func() error { return a.writeApplied(result) })
	})
	return cmd
}

func (a *app) writeApplied(r *api.ApplyResult) error {
	parts := []struct {
		verb   string
		names  []string
		colour output.Colour
	}{
		{"created", r.Created, output.Green},
		{"updated", r.Updated, output.Yellow},
		{"removed", r.Removed, output.Red},
		{"unchanged", r.Unchanged, output.Faint},
	}
	for _, part := range parts {
		for _, name := range part.names {
			line := a.outStyle.Paint(part.colour, fmt.Sprintf("%-9s", part.verb)) + "  " + output.Clean(name)
			if _, err := fmt.Fprintln(a.stdout, line); err != nil {
				return err
			}
		}
	}
	summary := fmt.Sprintf("%d created, %d updated, %d removed, %d unchanged", len(r.Created), len(r.Updated), len(r.Removed), len(r.Unchanged))
	if r.DryRun {
		summary += " (a dry run: nothing was changed)"
	}
	return a.say("%s", summary)
}

// indent puts two spaces before each line.
func indent(text string) string {
	out := ""
	for line := range strings.Lines(text) {
		out += "  " + line
	}
	return out
}
