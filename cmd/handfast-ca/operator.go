package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/ca/policy"
)

const operatorLong = `operator registers an operator and writes the credential, with nobody's permission but that of
whoever can read the CA's keys: for when every operator's credential is lost. It works beside a
running daemon. In daily life use "handfast operator add".`

func newOperatorCommand(env *environment) *cobra.Command {
	var name, role, out string
	cmd := &cobra.Command{
		Use: "operator", Short: "Register an operator locally, to recover access", Long: operatorLong, Args: noArguments,
		Example: "  handfast-ca operator --dir D --name alice --role admin --out alice.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required(cmd, "name", "out"); err != nil {
				return err
			}
			if role != string(policy.RoleAdmin) && role != string(policy.RoleReader) {
				return usageError{fmt.Errorf("role %q: use admin or reader here; an issuer's services are named with handfast operator add", role)}
			}
			cfg, err := env.load(cmd)
			if err != nil {
				return err
			}
			if err := refuseFile(out); err != nil {
				return err
			}
			if err := env.recoverOperator(cmd.Context(), cfg, name, policy.Role(role), out); err != nil {
				return err
			}
			env.printf("Operator %s (%s) is registered; the credential is %s (mode 0600).\n\nNext:\n  export HANDFAST_CONTEXT=%s\n  handfast status\n", name, role, out, out)
			return nil
		},
	}
	addDir(cmd)
	cmd.Flags().StringVar(&name, "name", "", "the operator's `name`, new")
	cmd.Flags().StringVar(&role, "role", string(policy.RoleAdmin), "admin or reader")
	cmd.Flags().StringVar(&out, "out", "", "`file` for the operator's context, new")
	return cmd
}

// recoverOperator opens the CA's keys for as long as it takes.
func (env *environment) recoverOperator(ctx context.Context, cfg *home.Config, name string, role policy.Role, path string) (err error) {
	material, err := cfg.Open(ctx, env.now())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, material.Close()) }()
	return env.bootstrap(ctx, cfg, material, name, role, path)
}
