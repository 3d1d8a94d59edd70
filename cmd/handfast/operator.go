package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/cmd/handfast/internal/connect"
	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/cmd/handfast/internal/issuance"
	"github.com/handfast/handfast/cmd/handfast/internal/keys"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
	"github.com/handfast/handfast/internal/operctx"
)

func newOperatorCommand(a *app) *cobra.Command {
	return group("operator", "Manage who may operate the CA",
		"  handfast operator add alice --role reader --out alice.yaml\n  handfast operator renew",
		newOperatorAddCommand(a), newOperatorListCommand(a), newOperatorRemoveCommand(a), newOperatorRenewCommand(a))
}

func newOperatorAddCommand(a *app) *cobra.Command {
	var flags connect.Flags
	var role, out string
	var services []string
	cmd := &cobra.Command{
		Use:   "add NAME --role ROLE",
		Short: "Register an operator and write a context for it",
		Long: `Register an operator, make its key here, and write its context file (mode 0600),
which is all that it needs. Roles:

  reader  reads everything, changes nothing
  issuer  also makes tokens, issues and revokes, for the services named
  admin   everything

Whoever holds the file is the operator: hand it over on a channel that you trust,
and keep no copy.`,
		Example: `  handfast operator add alice --role admin --out alice.yaml
  handfast operator add ci --role issuer --services shop,gateway --out ci.yaml`,
		Args: cobra.ExactArgs(1),
	}
	flags.Add(cmd.Flags())
	cmd.Flags().StringVar(&role, "role", "", "admin, issuer or reader")
	cmd.Flags().StringSliceVar(&services, "services", nil, "for an issuer: the `SERVICES` it may act for")
	cmd.Flags().StringVar(&out, "out", "", "`FILE` for its context (default NAME.yaml)")
	complete(cmd, "role", []string{"admin", "issuer", "reader"})
	must(cmd.MarkFlagRequired("role"), cmd.MarkFlagFilename("out", "yaml"))
	cmd.RunE = a.withCA(&flags, func(ctx context.Context, s *connect.Session, args []string) error {
		request := &api.OperatorRequest{Name: args[0], Role: role, Services: services}
		path := orDefault(out, args[0]+".yaml")
		if err := a.addOperator(ctx, s, request, path); err != nil {
			return err
		}
		a.hint("hand %s over, then: handfast --context %s status", path, path)
		return a.say("operator %s is registered as %s; its context is in %s", request.Name, request.Role, path)
	})
	return cmd
}

func (a *app) addOperator(ctx context.Context, s *connect.Session, request *api.OperatorRequest, path string) error {
	// Asked first, because a registered operator whose context cannot be written is of no use.
	if _, err := os.Lstat(path); err == nil {
		return fault.New(fault.Failure, "name another with --out FILE", "%s exists and is never overwritten", path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := keys.Generate(keys.Default)
	if err != nil {
		return err
	}
	if request.CSR, err = keys.Request(key); err != nil {
		return err
	}
	issued, err := s.API.AddOperator(ctx, request)
	if err != nil {
		if connect.Lost(err) {
			a.warn(fmt.Sprintf("the answer was lost: if handfast operator list shows %[1]s, run handfast operator remove %[1]s before you repeat this", request.Name))
		}
		return connect.Explain("add operator "+request.Name, err)
	}
	fresh, err := newContext(s.Context, issued, key, a.now())
	if err == nil {
		err = operctx.Create(path, fresh)
	}
	if err != nil {
		return fault.New(fault.Failure, "handfast operator remove "+request.Name, "operator %s is registered, but has no context: %w", request.Name, err)
	}
	return nil
}

// newContext is old's CA with another certificate and key.
func newContext(old operctx.Context, issued *api.Issued, key crypto.Signer, now time.Time) (operctx.Context, error) {
	result, err := issuance.Check(issued, key.Public(), old.TrustDomain, now)
	if err != nil {
		return operctx.Context{}, err
	}
	return operctx.Context{CA: old.CA, TrustDomain: old.TrustDomain, Roots: result.Roots, Chain: result.Chain, Key: key}, nil
}

func newOperatorListCommand(a *app) *cobra.Command {
	var flags connect.Flags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the operators",
		Example: "  handfast operator list\n  handfast operator list -o json",
		Args:    cobra.NoArgs,
	}
	format := outputFlag(cmd, output.Table, output.Wide, output.JSON, output.YAML)
	flags.Add(cmd.Flags())
	cmd.RunE = a.withCA(&flags, func(ctx context.Context, s *connect.Session, _ []string) error {
		list, err := s.API.Operators(ctx)
		if err != nil {
			return connect.Explain("list operators", err)
		}
		return a.show(format.Format, list, func() error {
			return operatorGrid(list.Operators, format.Format == output.Wide, a.now()).Write(a.stdout, a.outStyle)
		})
	})
	return cmd
}

func operatorGrid(operators []api.Operator, wide bool, now time.Time) *output.Grid {
	g := &output.Grid{Header: []string{"NAME", "ROLE", "SERVICES", "REGISTERED"}}
	if wide {
		g.Header = append(g.Header, "ID")
	}
	for _, o := range operators {
		row := []output.Cell{{Text: o.Name}, {Text: o.Role}, {Text: strings.Join(o.Services, ",")}, {Text: output.Short(o.Created, now)}}
		if wide {
			row = append(row, output.Cell{Text: o.ID.String()})
		}
		g.Add(row...)
	}
	return g
}

func newOperatorRemoveCommand(a *app) *cobra.Command {
	var flags connect.Flags
	cmd := &cobra.Command{
		Use:     "remove NAME",
		Aliases: []string{"rm"},
		Short:   "Remove an operator and revoke its certificates",
		Example: "  handfast operator remove alice",
		Args:    cobra.ExactArgs(1),
	}
	flags.Add(cmd.Flags())
	cmd.RunE = a.withCA(&flags, func(ctx context.Context, s *connect.Session, args []string) error {
		if err := s.API.DeleteOperator(ctx, args[0]); err != nil {
			return connect.Explain("remove operator "+args[0], err)
		}
		return a.say("operator %s is removed, and its certificates are revoked", args[0])
	})
	return cmd
}

func newOperatorRenewCommand(a *app) *cobra.Command {
	var flags connect.Flags
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Renew your own certificate, with a fresh key",
		Long: `Renew the certificate in your operator context, with a fresh key. The file is
replaced in one step; a failure leaves the old one. It takes over the CA's
current roots. A certificate that has expired cannot renew: an admin adds the
operator again.`,
		Example: "  handfast operator renew\n  handfast operator renew --context ci.yaml",
		Args:    cobra.NoArgs,
	}
	flags.Add(cmd.Flags())
	cmd.RunE = a.withCA(&flags, func(ctx context.Context, s *connect.Session, _ []string) error {
		key, err := keys.Generate(keys.Default)
		if err != nil {
			return err
		}
		request, err := keys.Request(key)
		if err != nil {
			return err
		}
		issued, err := connect.Issued(ctx, a.warn, func(idem string) (*api.Issued, error) {
			return s.API.RenewOperator(ctx, &api.RenewRequest{CSR: request}, idem)
		})
		if err != nil {
			return connect.Explain("renew the operator certificate", err)
		}
		fresh, err := newContext(s.Context, issued, key, a.now())
		if err != nil {
			return err
		}
		if fresh.Name() != s.Context.Name() {
			return fmt.Errorf("the CA answered with a certificate of %s, not of %s; nothing was changed", fresh.Name(), s.Context.Name())
		}
		if err := operctx.Save(s.Path, fresh); err != nil {
			return err
		}
		return a.say("%s: renewed, expires %s", s.Path, output.Moment(fresh.Chain[0].NotAfter, a.now()))
	})
	return cmd
}
