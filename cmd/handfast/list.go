package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/cmd/handfast/internal/connect"
	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
)

// defaultLimit is how many certificates `list` shows when nobody says.
const defaultLimit = 200

// listOptions are the flags of `list`.
type listOptions struct {
	query   api.CertificateQuery
	limit   int
	revoked bool
}

func newListCommand(a *app) *cobra.Command {
	var flags connect.Flags
	var o listOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List certificates, newest first",
		Example: `  handfast list
  handfast list --service shop --status valid
  handfast list --expiring 2h -o wide
  handfast list --revoked --limit 0 -o json | jq -r '.certificates[].serial'`,
		Args: cobra.NoArgs,
	}
	format := outputFlag(cmd, output.Table, output.Wide, output.JSON, output.YAML)
	flags.Add(cmd.Flags())
	cmd.Flags().StringVar(&o.query.Service, "service", "", "only those of the service `NAME`")
	cmd.Flags().StringVar(&o.query.Kind, "kind", "", "only one kind: service, operator, server, ocsp, feed or issuer")
	cmd.Flags().StringVar(&o.query.Status, "status", "", "only one status: valid, expired, revoked or held")
	cmd.Flags().BoolVar(&o.revoked, "revoked", false, "the same as --status revoked")
	cmd.Flags().DurationVar(&o.query.Expiring, "expiring", 0, "only those that are valid and expire within this time")
	cmd.Flags().StringVar(&o.query.Search, "search", "", "only those with `TEXT` in their name, or at the beginning of their serial")
	cmd.Flags().IntVar(&o.limit, "limit", defaultLimit, "at most this many; 0 is all")
	cmd.Flags().StringVar(&o.query.Cursor, "cursor", "", "go on at the `PLACE` that an earlier answer named as next")
	complete(cmd, "kind", []string{"service", "operator", "server", "ocsp", "feed", "issuer"})
	complete(cmd, "status", []string{"valid", "expired", "revoked", "held"})
	cmd.MarkFlagsMutuallyExclusive("revoked", "status")
	cmd.MarkFlagsMutuallyExclusive("revoked", "expiring")
	cmd.RunE = a.withCA(&flags, func(ctx context.Context, s *connect.Session, _ []string) error {
		if o.limit < 0 {
			return fault.Usagef("--limit %d: use 0 for all, or a positive number", o.limit)
		}
		if o.revoked {
			o.query.Status = "revoked"
		}
		list, err := certificates(ctx, s.API, o.query, o.limit)
		if err != nil {
			return connect.Explain("list certificates", err)
		}
		return a.show(format.Format, list, func() error { return a.writeCertificates(list, format.Format) })
	})
	return cmd
}

// certificates pages through what query selects, up to limit (0 is all). Next is set when there is more.
func certificates(ctx context.Context, client *api.Client, query api.CertificateQuery, limit int) (*api.CertificateList, error) {
	var list api.CertificateList
	var err error
	list.Certificates, list.Next, err = collectPages(query.Cursor, limit, func(size int, cursor string) ([]api.Certificate, string, error) {
		query.Limit, query.Cursor = size, cursor
		page, err := client.Certificates(ctx, query)
		if err != nil {
			return nil, "", err
		}
		return page.Certificates, page.Next, nil
	})
	return &list, err
}

func (a *app) writeCertificates(list *api.CertificateList, format output.Format) error {
	if err := certificateGrid(list.Certificates, format == output.Wide, a.now()).Write(a.stdout, a.outStyle); err != nil {
		return err
	}
	if list.Next != "" {
		a.note(fmt.Sprintf("there are more: --limit 0 lists all, --cursor %s goes on here", output.Clean(list.Next)))
	}
	return nil
}

func certificateGrid(list []api.Certificate, wide bool, now time.Time) *output.Grid {
	g := &output.Grid{Header: []string{"NAME", "KIND", "STATUS", "EXPIRES", "SERIAL"}}
	if wide {
		g.Header = []string{"NAME", "KIND", "STATUS", "EXPIRES", "SERIAL", "NOT AFTER", "ISSUED", "METHOD", "PROFILE", "DNS", "IPS", "REVOKED", "REASON", "ISSUER"}
	}
	for i := range list {
		c := &list[i]
		row := []output.Cell{
			{Text: certificateName(c)},
			{Text: c.Kind},
			{Text: c.Status, Colour: output.StatusColour(c.Status)},
			{Text: output.Short(c.NotAfter, now)},
			{Text: c.Serial.String()},
		}
		if wide {
			row = append(row, wideCells(c, now)...)
		}
		g.Add(row...)
	}
	return g
}

func wideCells(c *api.Certificate, now time.Time) []output.Cell {
	revoked := ""
	if c.RevokedAt != nil {
		revoked = output.Short(*c.RevokedAt, now)
	}
	texts := []string{
		output.Stamp(c.NotAfter), output.Short(c.IssuedAt, now), c.Method, c.Profile,
		strings.Join(c.DNSNames, ","), strings.Join(c.IPs, ","), revoked, c.Reason, c.Issuer,
	}
	cells := make([]output.Cell, len(texts))
	for i, text := range texts {
		cells[i].Text = text
	}
	return cells
}

// certificateName is the service's name, or for what is no service the identity's path.
func certificateName(c *api.Certificate) string {
	if c.Service != "" {
		return c.Service
	}
	return c.ID.Path()
}
