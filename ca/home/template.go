package home

import (
	"bytes"
	_ "embed" // the template is easier to read as a file
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"text/template"

	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/issuer/keystore"
)

//go:embed config.yaml.tmpl
var configTemplate string

// configure generates config.yaml and reads it back, so that every mistake in the
// settings shows before anything is made, and so that the file is known to load.
func (o InitOptions) configure() (*Config, []byte, error) {
	if o.KeyAlgorithm != "" && !slices.Contains(issuer.CAAlgorithms(), o.KeyAlgorithm) {
		return nil, nil, fmt.Errorf("--key-algorithm: a CA's key cannot be %s; use one of %v", o.KeyAlgorithm, issuer.CAAlgorithms())
	}
	if (o.RootCert == "") != (o.RootKey == "") {
		return nil, nil, errors.New("--root-cert and --root-key belong together: give both, or neither to make a root")
	}
	if o.CSROut != "" && o.RootCert != "" {
		return nil, nil, errors.New("--csr-out asks another CA to sign, so --root-cert and --root-key do not go with it")
	}
	text, err := o.render()
	if err != nil {
		return nil, nil, err
	}
	cfg, err := parse(o.Dir, o.Dir.Config(), text, o.origins())
	if err != nil {
		return nil, nil, err
	}
	return cfg, text, nil
}

// origins make errors name the flags instead of a file that is not there yet.
func (o InitOptions) origins() Overrides {
	s := o.Settings
	out := Overrides{}
	for setting, value := range map[string]string{
		"name": s.Name, "trust_domain": s.TrustDomain, "address": s.Address, "public_address": s.PublicAddress,
		"api_url": s.APIURL, "public_url": s.PublicURL, "metrics_address": s.MetricsAddress,
	} {
		out[setting] = Override{Value: value, Origin: "--" + flagName(setting)}
	}
	if o.PassphraseEnv {
		out[passphraseEnv] = Override{Value: EnvPassphrase, Origin: EnvPassphrase}
	}
	out["server_names"] = Override{Origin: "--server-name"}
	for i, name := range s.ServerNames {
		out[path{"server_names", i}.String()] = Override{Value: name, Origin: "--server-name"}
	}
	return out
}

func (o InitOptions) render() ([]byte, error) {
	issuing := o.IssuingKey
	if issuing == "" {
		issuing = keystore.FileScheme + "keys/issuing.key"
	}
	passphrase := o.Passphrase
	if passphrase == "" && !o.PassphraseEnv {
		passphrase = "passphrase"
	}
	parsed, err := template.New("config.yaml").Funcs(template.FuncMap{"quote": quote}).Option("missingkey=error").Parse(configTemplate)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = parsed.Execute(&out, map[string]any{"Settings": o.Settings, "IssuingKey": issuing, "PassphraseFile": passphrase})
	return out.Bytes(), err
}

// quote writes any value in JSON, which is YAML, too.
func quote(v any) (string, error) {
	out, err := json.Marshal(v)
	return string(out), err
}
