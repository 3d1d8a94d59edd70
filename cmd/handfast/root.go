package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/internal/version"
)

const rootLong = `handfast talks to a Handfast CA: it registers services, makes enrolment tokens,
issues, renews and revokes certificates, and explains what it finds.

Who you are and which CA you talk to stands in an operator context, a file that
"handfast-ca init" or "handfast operator add" has written. It is looked for at
--context, then $HANDFAST_CONTEXT, then $XDG_CONFIG_HOME/handfast/operator.yaml
(by default ~/.config/handfast/operator.yaml).`

const rootExample = `  handfast service add shop --dns shop.example.org --callers gateway
  handfast token shop > shop.token
  handfast list --expiring 2h
  handfast inspect shop.example.org:8443
  handfast revoke --service shop --reason keyCompromise`

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:               "handfast",
		Short:             "Operate a Handfast CA",
		Long:              rootLong,
		Example:           rootExample,
		SilenceErrors:     true, // report prints them
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true}, // newCompletionCommand refuses an unknown shell
		Version:           version.String(),
		Args:              cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return needCommand(cmd, args)
		},
	}
	root.SetVersionTemplate(version.Line("handfast") + "\n")
	root.AddCommand(
		newServiceCommand(a), newTokenCommand(a), newIssueCommand(a), newRenewCommand(a), newRevokeCommand(a),
		newListCommand(a), newInspectCommand(a), newVerifyCommand(a), newOperatorCommand(a), newAgentsCommand(a), newStatusCommand(a), newBenchCommand(a),
		newCompletionCommand(a), newVersionCommand(a), newExitCodesTopic(),
	)
	root.SetHelpCommand(newHelpCommand(a))
	return root
}

// group is a command that only holds others.
func group(use, short, example string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Example: example, Args: cobra.ArbitraryArgs, RunE: needCommand}
	cmd.AddCommand(children...)
	return cmd
}

// needCommand is what a group does by itself. Left to itself cobra would print help and succeed.
func needCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		var names []string
		for _, child := range cmd.Commands() {
			if child.IsAvailableCommand() {
				names = append(names, child.Name())
			}
		}
		return fmt.Errorf("%s needs a command: %s", cmd.CommandPath(), strings.Join(names, ", "))
	}
	text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2 // as cobra's own messages
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return fmt.Errorf("%s", text)
}

func newHelpCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]...",
		Short:   "Help about a command or a topic",
		Example: "  handfast help service add\n  handfast help exit-codes",
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return fmt.Errorf("no help about %q", strings.Join(args, " "))
			}
			a.started = true
			return target.Help()
		},
	}
}

// newExitCodesTopic is a help topic: a command that does nothing but have a text.
func newExitCodesTopic() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "The exit codes and what they mean", Long: fault.Explanation}
}

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print which build this is",
		Example: "  handfast version",
		Args:    cobra.NoArgs,
		RunE: a.does(func(*cobra.Command, []string) error {
			return a.say("%s", version.Line("handfast"))
		}),
	}
}

func newCompletionCommand(a *app) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a completion script for " + strings.Join(shells, ", "),
		Example: `  source <(handfast completion bash)
  handfast completion zsh > "${fpath[1]}/_handfast"
  handfast completion fish > ~/.config/fish/completions/handfast.fish`,
		ValidArgs: shells,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: a.does(func(cmd *cobra.Command, args []string) error {
			switch root := cmd.Root(); args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			default:
				return root.GenPowerShellCompletionWithDesc(a.stdout)
			}
		}),
	}
}
