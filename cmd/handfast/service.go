package main

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/cmd/handfast/internal/connect"
	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
)

func newServiceCommand(a *app) *cobra.Command {
	return group("service", "Register services and say who may call them",
		"  handfast service add shop --dns shop.example.org --callers gateway\n  handfast service list -o wide",
		newServiceAddCommand(a), newServiceListCommand(a), newServiceShowCommand(a), newServiceRemoveCommand(a), newServiceApplyCommand(a))
}

func newServiceAddCommand(a *app) *cobra.Command {
	var flags connect.Flags
	var service api.Service
	var ttl, silence time.Duration
	var replace bool
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Register a service",
		Long: `Register a service: what its certificates hold, and who may call it.

Its identity is spiffe://TRUST-DOMAIN/NAME. Nobody may call it until --callers
says so. With --replace a registered service becomes exactly what the flags say;
what they leave out is gone.`,
		Example: `  handfast service add gateway --dns gw.example.org --ip 10.0.0.7
  handfast service add shop --dns shop.example.org --callers gateway,billing --ttl 30m
  handfast service add shop --replace --callers '*'`,
		Args: cobra.ExactArgs(1),
	}
	format := outputFlag(cmd, output.Text, output.JSON, output.YAML)
	flags.Add(cmd.Flags())
	cmd.Flags().StringSliceVar(&service.DNSNames, "dns", nil, "DNS `NAME` in its certificates; repeat or separate by commas")
	cmd.Flags().StringSliceVar(&service.IPs, "ip", nil, "IP `ADDRESS` in its certificates; repeat or separate by commas")
	cmd.Flags().StringSliceVar(&service.Callers, "callers", nil, "`SERVICES` that may call it, or '*' for all of the trust domain")
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "lifetime of its certificates, at most the profile's (default the profile's)")
	cmd.Flags().DurationVar(&silence, "max-silence", 0, "how long its agents go on without word from the CA before they refuse everybody (default until the nextUpdate of what the CA said last)")
	cmd.Flags().StringVar(&service.Profile, "profile", "", "`NAME` of the profile (default the CA's default profile)")
	cmd.Flags().BoolVar(&replace, "replace", false, "replace the service if it is registered")
	cmd.RunE = a.withCA(&flags, func(ctx context.Context, s *connect.Session, args []string) error {
		service.Name, service.TTL, service.MaxSilence = args[0], api.Duration(ttl), api.Duration(silence)
		var version uint64
		if replace {
			version = api.AnyVersion
		}
		stored, err := s.API.PutService(ctx, &service, version)
		if err != nil {
			return explainAdd(service.Name, replace, err)
		}
		return a.show(format.Format, stored, func() error {
			a.hint("next: handfast token %s", stored.Name)
			return a.say("%s is registered as %s", stored.Name, stored.ID)
		})
	})
	return cmd
}

func explainAdd(name string, replace bool, err error) error {
	err = connect.Explain("add service "+name, err)
	var refused *api.Error
	if errors.As(err, &refused) && refused.Code == api.CodeConflict && !replace {
		return fault.New(fault.Refused, "see handfast service show "+name+"; replace it with --replace", "%w", err)
	}
	return err
}

func newServiceListCommand(a *app) *cobra.Command {
	var flags connect.Flags
	var search string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the registered services",
		Example: "  handfast service list\n  handfast service list --search shop -o yaml > services.yaml",
		Args:    cobra.NoArgs,
	}
	format := outputFlag(cmd, output.Table, output.Wide, output.JSON, output.YAML)
	flags.Add(cmd.Flags())
	cmd.Flags().StringVar(&search, "search", "", "only those with `TEXT` in their name")
	cmd.RunE = a.withCA(&flags, func(ctx context.Context, s *connect.Session, _ []string) error {
		list, err := allServices(ctx, s.API, search)
		if err != nil {
			return connect.Explain("list services", err)
		}
		return a.show(format.Format, list, func() error {
			return serviceGrid(list.Services, format.Format == output.Wide, a.now()).Write(a.stdout, a.outStyle)
		})
	})
	return cmd
}

func allServices(ctx context.Context, client *api.Client, search string) (*api.ServiceList, error) {
	var list api.ServiceList
	var err error
	list.Services, list.Next, err = collectPages("", 0, func(size int, cursor string) ([]api.Service, string, error) {
		page, err := client.Services(ctx, api.ServiceQuery{Search: search, Limit: size, Cursor: cursor})
		if err != nil {
			return nil, "", err
		}
		return page.Services, page.Next, nil
	})
	return &list, err
}

func serviceGrid(services []api.Service, wide bool, now time.Time) *output.Grid {
	g := &output.Grid{Header: []string{"NAME", "CALLERS", "DNS", "UPDATED"}}
	if wide {
		g.Header = []string{"NAME", "CALLERS", "DNS", "UPDATED", "IPS", "PROFILE", "TTL", "SILENCE", "VERSION", "ID"}
	}
	for _, s := range services {
		row := []output.Cell{{Text: s.Name}, callersCell(s.Callers), {Text: strings.Join(s.DNSNames, ",")}, {Text: output.Short(s.Updated, now)}}
		if wide {
			row = append(row, output.Cell{Text: strings.Join(s.IPs, ",")}, output.Cell{Text: s.Profile},
				output.Cell{Text: ttlText(s.TTL)}, output.Cell{Text: ttlText(s.MaxSilence)}, output.Cell{Text: strconv.FormatUint(s.Version, 10)}, output.Cell{Text: s.ID.String()})
		}
		g.Add(row...)
	}
	return g
}

// callersCell makes the two extremes stand out: nobody can call, everybody can.
func callersCell(callers []string) output.Cell {
	switch {
	case len(callers) == 0:
		return output.Cell{Text: "nobody", Colour: output.Faint}
	case len(callers) == 1 && callers[0] == "*":
		return output.Cell{Text: "*", Colour: output.Yellow}
	default:
		return output.Cell{Text: strings.Join(callers, ",")}
	}
}

func ttlText(ttl api.Duration) string {
	if ttl == 0 {
		return ""
	}
	return ttl.String()
}

func newServiceShowCommand(a *app) *cobra.Command {
	var flags connect.Flags
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a service",
		Example: "  handfast service show shop\n  handfast service show shop -o json",
		Args:    cobra.ExactArgs(1),
	}
	format := outputFlag(cmd, output.Text, output.JSON, output.YAML)
	flags.Add(cmd.Flags())
	cmd.RunE = a.withCA(&flags, func(ctx context.Context, s *connect.Session, args []string) error {
		service, err := s.API.Service(ctx, args[0])
		if err != nil {
			return connect.Explain("show service "+args[0], err)
		}
		return a.show(format.Format, service, func() error { return a.writeService(service) })
	})
	return cmd
}

func (a *app) writeService(s *api.Service) error {
	var f output.Fields
	f.Add("name", output.Clean(s.Name))
	f.Add("SPIFFE ID", s.ID.String())
	f.Add("DNS names", output.Clean(strings.Join(s.DNSNames, ", ")))
	f.Add("IP addresses", output.Clean(strings.Join(s.IPs, ", ")))
	f.Add("may be called by", describeCallers(s.Callers))
	f.Add("profile", orDefault(output.Clean(s.Profile), "the CA's default"))
	f.Add("lifetime", orDefault(ttlText(s.TTL), "the profile's"))
	f.Add("silence allowed", orDefault(ttlText(s.MaxSilence), "until the CA's last statement ends"))
	f.Add("version", strconv.FormatUint(s.Version, 10))
	f.Add("registered", output.Moment(s.Created, a.now()))
	f.Add("changed", output.Moment(s.Updated, a.now()))
	return f.Write(a.stdout, "")
}

func describeCallers(callers []string) string {
	switch {
	case len(callers) == 0:
		return "nobody"
	case len(callers) == 1 && callers[0] == "*":
		return "every service of the trust domain"
	default:
		return output.Clean(strings.Join(callers, ", "))
	}
}

func orDefault(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
