package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/cmd/handfast/internal/connect"
	"github.com/handfast/handfast/cmd/handfast/internal/creddir"
	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/cmd/handfast/internal/issuance"
	"github.com/handfast/handfast/cmd/handfast/internal/keys"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
	"github.com/handfast/handfast/cmd/handfast/internal/pemfile"
)

// issueOptions are the flags of `issue`.
type issueOptions struct {
	out, csr, algorithm string
	ttl                 time.Duration
	force               bool
}

// written is what `issue` and `renew` say they did.
type written struct {
	ID         string    `json:"id"`
	Serial     string    `json:"serial"`
	NotAfter   time.Time `json:"not_after"`
	RenewAfter time.Time `json:"renew_after"`
	Dir        string    `json:"dir"`
	Files      []string  `json:"files"`
}

func newIssueCommand(a *app) *cobra.Command {
	var flags connect.Flags
	var o issueOptions
	cmd := &cobra.Command{
		Use:   "issue NAME --out DIR",
		Short: "Issue a certificate for a service, into files",
		Long: `Issue a certificate for the service NAME without an agent: for a program that reads
files and cannot run beside one. The key is made here and never leaves this
host. DIR gets

  cert.pem   the certificate and its intermediates
  key.pem    the private key, mode 0600 (not with --csr)
  roots.pem  the roots to trust

as links into one generation directory, so that "handfast renew --dir DIR" can
replace all three in one step. What is there is never overwritten without --force.`,
		Example: `  handfast issue shop --out /etc/shop/tls
  handfast issue shop --out tls --key-algorithm ed25519 --ttl 30m
  handfast issue shop --out tls --csr shop.csr`,
		Args: cobra.ExactArgs(1),
	}
	format := outputFlag(cmd, output.Text, output.JSON, output.YAML)
	flags.Add(cmd.Flags())
	cmd.Flags().StringVar(&o.out, "out", "", "`DIR` for the files")
	cmd.Flags().StringVar(&o.csr, "csr", "", "certificate request `FILE` made elsewhere, PEM or DER; only its key is used")
	cmd.Flags().StringVar(&o.algorithm, "key-algorithm", keys.Default, "one of "+strings.Join(keys.Algorithms(), ", "))
	cmd.Flags().DurationVar(&o.ttl, "ttl", 0, "lifetime, at most the service's (default the service's)")
	cmd.Flags().BoolVar(&o.force, "force", false, "replace what is in DIR")
	complete(cmd, "key-algorithm", keys.Algorithms())
	cmd.MarkFlagsMutuallyExclusive("csr", "key-algorithm")
	must(cmd.MarkFlagRequired("out"), cmd.MarkFlagDirname("out"))
	cmd.RunE = a.withCA(&flags, func(ctx context.Context, s *connect.Session, args []string) error {
		result, err := a.issue(ctx, s, args[0], o)
		if err != nil {
			return err
		}
		return a.show(format.Format, result, func() error { return a.writeWritten(result) })
	})
	return cmd
}

func (a *app) issue(ctx context.Context, s *connect.Session, name string, o issueOptions) (*written, error) {
	if path, err := creddir.Occupied(o.out); err != nil {
		return nil, err
	} else if path != "" && !o.force {
		return nil, fault.New(fault.Failure, "replace it with --force, or renew it with handfast renew --dir "+o.out, "%s exists", path)
	}
	request, pub, keyPEM, err := a.requestFor(o)
	if err != nil {
		return nil, err
	}
	issued, err := connect.Issued(ctx, a.warn, func(idem string) (*api.Issued, error) {
		return s.API.Issue(ctx, &api.IssueRequest{Service: name, CSR: request, TTL: api.Duration(o.ttl)}, idem)
	})
	if err != nil {
		return nil, connect.Explain("issue a certificate for "+name, err)
	}
	result, err := issuance.Check(issued, pub, s.Context.TrustDomain, a.now())
	if err != nil {
		return nil, err
	}
	return write(o.out, result, keyPEM)
}

// requestFor makes a key and its request, or reads a request made elsewhere; then keyPEM is nil.
func (a *app) requestFor(o issueOptions) (request []byte, pub crypto.PublicKey, keyPEM []byte, err error) {
	if o.csr == "" {
		key, err := keys.Generate(o.algorithm)
		if err != nil {
			return nil, nil, nil, fault.Usagef("%w", err)
		}
		request, requestErr := keys.Request(key)
		keyPEM, pemErr := keys.PEM(key)
		return request, key.Public(), keyPEM, errors.Join(requestErr, pemErr)
	}
	content, err := pemfile.Read(o.csr, a.stdin)
	if err != nil {
		return nil, nil, nil, err
	}
	if len(content.Requests) != 1 {
		return nil, nil, nil, fmt.Errorf("%s: holds %d certificate requests; exactly one is needed", o.csr, len(content.Requests))
	}
	csr := content.Requests[0]
	return csr.Raw, csr.PublicKey, nil, nil
}

func write(dir string, r *issuance.Result, keyPEM []byte) (*written, error) {
	files := creddir.Files{Cert: issuance.PEM(r.Chain), Key: keyPEM, Roots: issuance.PEM(r.Roots)}
	if err := creddir.Write(dir, files); err != nil {
		return nil, fmt.Errorf("certificate %s is issued, but could not be written: %w", r.Serial(), err)
	}
	w := &written{ID: r.ID.String(), Serial: r.Serial(), NotAfter: r.Leaf.NotAfter, RenewAfter: r.RenewAfter, Dir: dir}
	w.Files = append(w.Files, filepath.Join(dir, creddir.CertFile))
	if keyPEM != nil {
		w.Files = append(w.Files, filepath.Join(dir, creddir.KeyFile))
	}
	w.Files = append(w.Files, filepath.Join(dir, creddir.RootsFile))
	return w, nil
}

func (a *app) writeWritten(w *written) error {
	var f output.Fields
	f.Add("SPIFFE ID", w.ID)
	f.Add("serial", w.Serial)
	f.Add("expires", output.Moment(w.NotAfter, a.now()))
	f.Add("renew after", output.Moment(w.RenewAfter, a.now()))
	f.Add("files", output.Clean(strings.Join(w.Files, ", ")))
	return f.Write(a.stdout, "")
}

// must panics on mistakes in this program's own flag definitions.
func must(errs ...error) {
	if err := errors.Join(errs...); err != nil {
		panic(err)
	}
}
