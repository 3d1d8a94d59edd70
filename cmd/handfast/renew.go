package main

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/cmd/handfast/internal/connect"
	"github.com/handfast/handfast/cmd/handfast/internal/creddir"
	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/cmd/handfast/internal/issuance"
	"github.com/handfast/handfast/cmd/handfast/internal/keys"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
	"github.com/handfast/handfast/cmd/handfast/internal/pemfile"
)

// renewOptions are the flags of `renew`.
type renewOptions struct {
	dir, ca, algorithm string
	within             time.Duration
}

func newRenewCommand(a *app) *cobra.Command {
	var flags connect.Flags
	var o renewOptions
	cmd := &cobra.Command{
		Use:   "renew --dir DIR",
		Short: "Renew the certificate in a directory, with a fresh key",
		Long: `Renew the certificate that "handfast issue" has written to DIR. The certificate there
is what proves the right to a new one; no operator is needed, only the CA's
address: from --ca, else from the operator context, if there is one. After
expiry, and within the profile's grace, the old key signs the request instead.

A fresh key is made. Certificate, key and roots change together: they are links into a
generation directory, and one rename switches to the next. After a crash at any
moment either the old three are in force or the new three.

With --within the command does nothing while the certificate lives longer than
that, so that it can run every few minutes.`,
		Example: `  handfast renew --dir /etc/shop/tls --ca ca.example.org:8443
  handfast renew --dir /etc/shop/tls --within 20m && systemctl reload shop`,
		Args: cobra.NoArgs,
	}
	format := outputFlag(cmd, output.Text, output.JSON, output.YAML)
	flags.Add(cmd.Flags())
	cmd.Flags().StringVar(&o.dir, "dir", "", "`DIR` with cert.pem, key.pem and roots.pem")
	cmd.Flags().StringVar(&o.ca, "ca", "", "`ADDRESS` of the CA, HOST:PORT (default the operator context's)")
	cmd.Flags().StringVar(&o.algorithm, "key-algorithm", "", "of the fresh key (default that of the old one)")
	cmd.Flags().DurationVar(&o.within, "within", 0, "renew only when the certificate expires this soon")
	complete(cmd, "key-algorithm", keys.Algorithms())
	must(cmd.MarkFlagRequired("dir"), cmd.MarkFlagDirname("dir"))
	cmd.RunE = a.does(func(cmd *cobra.Command, _ []string) error {
		old, err := readCredential(o.dir)
		if err != nil {
			return err
		}
		if left := old.chain.Leaf.NotAfter.Sub(a.now()); o.within > 0 && left > o.within {
			a.note(fmt.Sprintf("nothing to do: the certificate expires %s", output.Ago(old.chain.Leaf.NotAfter, a.now())))
			return nil
		}
		result, err := a.renew(cmd.Context(), &flags, old, o)
		if err != nil {
			return err
		}
		return a.show(format.Format, result, func() error { return a.writeWritten(result) })
	})
	return cmd
}

// credential is what a directory holds, checked to belong together.
type credential struct {
	id    certs.ID
	chain *tls.Certificate
	roots pemfile.Content
	key   crypto.Signer
}

func readCredential(dir string) (*credential, error) {
	files, err := creddir.Read(dir)
	if err != nil {
		return nil, err
	}
	if files.Key == nil {
		return nil, fmt.Errorf("%s holds no %s: the key was made elsewhere, so its holder has to ask for the new certificate (handfast issue --csr --force)", dir, creddir.KeyFile)
	}
	pair, err := tls.X509KeyPair(files.Cert, files.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: %s and %s: %w", dir, creddir.CertFile, creddir.KeyFile, err)
	}
	id, err := certs.IDFromCertificate(pair.Leaf)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", dir, creddir.CertFile, err)
	}
	roots, err := pemfile.Parse(files.Roots)
	if err != nil || len(roots.Certificates) == 0 {
		return nil, fmt.Errorf("%s: %s: %w", dir, creddir.RootsFile, errors.Join(errors.New("no roots to trust"), err))
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: %s cannot sign", dir, creddir.KeyFile)
	}
	return &credential{id: id, chain: &pair, roots: roots, key: key}, nil
}

func (a *app) renew(ctx context.Context, flags *connect.Flags, old *credential, o renewOptions) (*written, error) {
	address, err := caAddress(flags, o.ca)
	if err != nil {
		return nil, err
	}
	if o.algorithm == "" {
		if o.algorithm, err = keys.AlgorithmOf(old.key.Public()); err != nil {
			return nil, err
		}
	}
	key, err := keys.Generate(o.algorithm)
	if err != nil {
		return nil, fault.Usagef("%w", err)
	}
	keyPEM, err := keys.PEM(key)
	if err != nil {
		return nil, err
	}
	issued, err := a.askRenewal(ctx, address, old, key, flags.Timeout)
	if err != nil {
		return nil, connect.Explain("renew the certificate of "+old.id.String(), err)
	}
	result, err := issuance.Check(issued, key.Public(), old.id.TrustDomain(), a.now())
	if err != nil {
		return nil, err
	}
	if result.ID != old.id {
		return nil, fmt.Errorf("the CA answered with a certificate of %s, not of %s; nothing was changed", result.ID, old.id)
	}
	return write(o.dir, result, keyPEM)
}

// caAddress prefers the flag, and reads an operator context for its address only.
func caAddress(flags *connect.Flags, flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	c, _, err := flags.LoadContext()
	if fault.CodeOf(err) == fault.NotFound {
		return "", fault.New(fault.Usage, "name the CA with --ca HOST:PORT", "%w", err)
	}
	return c.CA, err
}

// askRenewal renews over mutual TLS, or, after expiry, by a request that the old key signs.
func (a *app) askRenewal(ctx context.Context, address string, old *credential, key crypto.Signer, timeout time.Duration) (*api.Issued, error) {
	request, err := keys.Request(key)
	if err != nil {
		return nil, err
	}
	pair := old.chain
	expired := a.now().After(pair.Leaf.NotAfter)
	if expired {
		pair = nil // no server would accept it
	}
	client, err := connect.Client(address, old.id.TrustDomain(), old.roots.Certificates, pair, timeout, a.now)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if !expired {
		return connect.Issued(ctx, a.warn, func(idem string) (*api.Issued, error) {
			return client.Renew(ctx, &api.RenewRequest{CSR: request}, idem)
		})
	}
	a.warn("the certificate expired " + strings.TrimSpace(output.Ago(old.chain.Leaf.NotAfter, a.now())) + "; asking with a signature by its key")
	rekey, err := api.NewRekeyRequest(old.id.TrustDomain(), old.key, old.chain.Certificate, request, a.now())
	if err != nil {
		return nil, err
	}
	return connect.Issued(ctx, a.warn, func(idem string) (*api.Issued, error) {
		return client.Rekey(ctx, rekey, idem)
	})
}
