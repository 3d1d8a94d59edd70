package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/ca/store/sqlite"
	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/issuer/keystore"
)

const initLong = `init makes a CA in a directory that holds none: a root, an issuing certificate, their keys
(encrypted), the ledger, the first operator's credential and a commented config.yaml. It
overwrites nothing, asks nothing, and removes what it made when it fails.

The passphrase comes from --passphrase-file, else from HANDFAST_PASSPHRASE, else one is
generated into DIR/passphrase (mode 0600).

The root's key is needed for init and root-crl only. Carry DIR/root away; the daemon never
opens it. With --root-cert and --root-key an existing root signs instead, and its key is not
copied. With --csr-out another CA signs: init makes the keys and a request, and a second
init with --chain-in completes the CA with the answer.`

const initExample = `  handfast-ca init --dir /var/lib/handfast-ca --trust-domain prod.example.org \
      --address ca.example.org:9000 --public-address ca.example.org:9001
  handfast-ca init --dir D --trust-domain prod.example.org --root-cert corp.crt --root-key corp.key
  handfast-ca init --dir D --trust-domain prod.example.org --csr-out issuing.csr
  handfast-ca init --dir D --chain-in chain.pem`

// initFlags are init's, as they were given.
type initFlags struct {
	settings                      home.Settings
	algorithm, issuingKey         string
	passphrase, rootPassphrase    string
	rootCert, rootKey             string
	csrOut, chainIn, rootCRL      string
	rootLifetime, issuingLifetime time.Duration
	operator                      string
}

func newInitCommand(env *environment) *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use: "init", Short: "Make a CA", Long: initLong, Example: initExample, Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := env.dir(cmd)
			if err != nil {
				return err
			}
			if err := f.refuseUnused(cmd); err != nil {
				return err
			}
			if f.chainIn != "" {
				return env.complete(cmd.Context(), dir, f)
			}
			if err := required(cmd, "trust-domain"); err != nil {
				return err
			}
			return env.init(cmd.Context(), dir, f)
		},
	}
	addDir(cmd)
	flags := cmd.Flags()
	s := &f.settings
	flags.StringVar(&s.TrustDomain, "trust-domain", "", "the name that begins every identity, such as prod.example.org")
	flags.StringVar(&s.Name, "name", "", "what people call this CA (default the trust domain)")
	flags.StringVar(&s.Address, "address", "127.0.0.1:9000", "`HOST:PORT` of the HTTPS API")
	flags.StringVar(&s.PublicAddress, "public-address", "127.0.0.1:9001", "`HOST:PORT` of CRLs, OCSP and roots, plain HTTP")
	flags.StringSliceVar(&s.ServerNames, "server-name", nil, "DNS `name` or IP of the API's certificate, may repeat (default the host in --address)")
	flags.StringVar(&s.APIURL, "api-url", "", "how others reach the API (default https://, the first server name, the port)")
	flags.StringVar(&s.PublicURL, "public-url", "", "what certificates name for CRL and OCSP (default http:// and --public-address)")
	flags.StringVar(&s.MetricsAddress, "metrics-address", "", "`HOST:PORT` on loopback for metrics without authentication")
	flags.StringVar(&f.algorithm, "key-algorithm", "ecdsa-p256", "of root and issuing key: ecdsa-p256, ecdsa-p384 or ed25519")
	flags.StringVar(&f.passphrase, "passphrase-file", "", "`file` with the keys' passphrase")
	flags.StringVar(&f.issuingKey, "issuing-key", "", "`URI` of an existing issuing key, such as pkcs11:token=ca;object=issuing (default makes one)")
	flags.StringVar(&f.rootCert, "root-cert", "", "`file` with an existing root to sign with")
	flags.StringVar(&f.rootKey, "root-key", "", "`file` or URI of its key, used once and not copied")
	flags.StringVar(&f.rootPassphrase, "root-passphrase-file", "", "`file` with the passphrase of the root's key (default that of the others)")
	flags.DurationVar(&f.rootLifetime, "root-lifetime", issuer.DefaultRootLifetime, "validity of a new root")
	flags.DurationVar(&f.issuingLifetime, "issuing-lifetime", issuer.DefaultIntermediateLifetime, "validity of the issuing certificate")
	flags.StringVar(&f.csrOut, "csr-out", "", "`file` for a request that another CA signs")
	flags.StringVar(&f.chainIn, "chain-in", "", "`file` with its answer: issuing certificate, intermediates, root")
	flags.StringVar(&f.rootCRL, "root-crl", "", "with --chain-in: `file` with the root's CRL")
	flags.StringVar(&f.operator, "operator", "admin", "`name` of the first operator")
	return cmd
}

// refuseUnused refuses flags that would do nothing beside the others.
func (f initFlags) refuseUnused(cmd *cobra.Command) error {
	switch {
	case f.chainIn != "":
		return onlyWith(cmd, "chain-in", "the first init has decided it", "dir", "chain-in", "root-cert", "root-crl", "operator")
	case f.rootCRL != "":
		return usageError{errors.New("--root-crl goes with --chain-in; init makes a CRL itself")}
	case f.csrOut != "":
		return notWith(cmd, "csr-out", "another CA decides it, or the init with --chain-in", "root-lifetime", "issuing-lifetime", "root-passphrase-file", "operator")
	case f.rootCert != "":
		return notWith(cmd, "root-cert", "that root is taken as it is", "root-lifetime")
	default:
		return nil
	}
}

func (env *environment) init(ctx context.Context, dir home.Dir, f initFlags) error {
	algorithm, err := issuer.ParseAlgorithm(f.algorithm)
	if err != nil {
		return usageError{err}
	}
	for _, path := range []*string{&f.passphrase, &f.csrOut} {
		if err := absolute(path); err != nil {
			return err
		}
	}
	if file, ok := strings.CutPrefix(f.issuingKey, keystore.FileScheme); ok {
		if err := absolute(&file); err != nil {
			return err
		}
		f.issuingKey = keystore.FileScheme + file
	}
	variable, _ := env.lookup(home.EnvPassphrase)
	result, err := home.Init(ctx, home.InitOptions{
		Dir: dir, Settings: f.settings, KeyAlgorithm: algorithm, IssuingKey: f.issuingKey,
		RootLifetime: f.rootLifetime, IssuingLife: f.issuingLifetime,
		PassphraseEnv: f.passphrase == "" && variable != "", Passphrase: f.passphrase,
		RootCert: f.rootCert, RootKey: f.rootKey, RootPassphraseFile: f.rootPassphrase,
		CSROut: f.csrOut, Finish: env.finish(f.operator), FinishFiles: finishFiles(dir), Now: env.now(),
	})
	if err != nil {
		return err
	}
	env.explainInit(dir, result)
	return nil
}

func (env *environment) complete(ctx context.Context, dir home.Dir, f initFlags) error {
	result, err := home.Complete(ctx, home.CompleteOptions{
		Dir: dir, Overrides: home.FromEnvironment(env.lookup), ChainIn: f.chainIn, RootCert: f.rootCert, RootCRL: f.rootCRL,
		Finish: env.finish(f.operator), FinishFiles: finishFiles(dir), Now: env.now(),
	})
	if err != nil {
		return err
	}
	env.explainInit(dir, result)
	return nil
}

// finishFiles are what finish makes; SQLite keeps two files beside an open database.
func finishFiles(dir home.Dir) []string {
	return []string{dir.Ledger(), dir.Ledger() + "-wal", dir.Ledger() + "-shm", dir.Operator()}
}

// finish makes the ledger and the first operator.
func (env *environment) finish(operator string) home.Finish {
	return func(ctx context.Context, cfg *home.Config, material *home.Material) error {
		if err := sqlite.Create(ctx, cfg.Dir.Ledger()); err != nil {
			return err
		}
		return env.bootstrap(ctx, cfg, material, operator, policy.RoleAdmin, cfg.Dir.Operator())
	}
}

func absolute(path *string) error {
	if *path == "" {
		return nil
	}
	var err error
	*path, err = filepath.Abs(*path)
	return err
}

// purpose says what a file in the directory is for. What is not named here is beside the point.
var purpose = map[string]string{
	"config.yaml":       "settings, with comments",
	"passphrase":        "encrypts the keys; keep a copy apart from backups",
	"root/root.key":     "the root's key, encrypted; carry it away",
	"keys/issuing.key":  "the issuing key, encrypted",
	"keys/token.key":    "the key of enrolment tokens, encrypted",
	"certs/root.crt":    "the root",
	"certs/issuing.crt": "the issuing certificate",
	"root.crl":          "which issuing certificates are revoked; good for a year",
	"ledger.db":         "what was issued and revoked",
	"operator.yaml":     "the first operator's credential",
}

// explainInit says what was made and what to run next.
func (env *environment) explainInit(dir home.Dir, r *home.Result) {
	env.printf("Made in %s:\n", dir)
	for _, path := range r.Made {
		if relative, err := filepath.Rel(string(dir), path); err == nil && filepath.IsLocal(relative) {
			path = relative
		}
		if what := purpose[path]; what != "" {
			env.printf("  %-18s %s\n", path, what)
		}
	}
	if r.CSR != "" {
		env.printf("\nHave %s signed as a CA certificate (keyCertSign, cRLSign, pathlen 0). Then, with the chain that\ncomes back (issuing certificate, intermediates, root), run:\n\n  handfast-ca init --dir %s --chain-in chain.pem\n", r.CSR, dir)
		return
	}
	env.printf("\nRoot fingerprint (SHA-256): %s\n", r.Fingerprint)
	if r.RootKey != "" {
		env.printf("The root's key is in %s: carry it away, together with a copy of the passphrase. The daemon never needs it.\n", filepath.Dir(r.RootKey))
	}
	env.printf(`
Next:
  handfast-ca serve --dir %s
  export HANDFAST_CONTEXT=%s
  handfast service add web
  handfast token web > web.token
  handfast-agent run --token-file web.token --state /var/lib/handfast-agent
`, dir, dir.Operator())
}
