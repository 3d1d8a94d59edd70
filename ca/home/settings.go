package home

import (
	"fmt"
	"strings"

	"github.com/handfast/handfast/internal/strictyaml"
)

// EnvPassphrase holds the keys' passphrase; it wins over passphrase_file.
const EnvPassphrase = "HANDFAST_PASSPHRASE"

// Override is a setting that a variable or a flag gives instead of the file.
type Override struct {
	Value  string
	Origin string // for errors: the variable's or the flag's name
}

// Overrides are by the setting's name in config.yaml, such as "log.level".
type Overrides map[string]Override

// overridable maps the settings that may come from outside to their variables. The
// flags of `serve` are the same names with dashes.
var overridable = map[string]string{
	"address":         "HANDFAST_ADDRESS",
	"public_address":  "HANDFAST_PUBLIC_ADDRESS",
	"api_url":         "HANDFAST_API_URL",
	"public_url":      "HANDFAST_PUBLIC_URL",
	"metrics_address": "HANDFAST_METRICS_ADDRESS",
	"passphrase_file": "HANDFAST_PASSPHRASE_FILE",
	"log.level":       "HANDFAST_LOG_LEVEL",
	"log.format":      "HANDFAST_LOG_FORMAT",
}

// FromEnvironment collects the HANDFAST_* variables that are set and not empty.
// lookup is os.LookupEnv.
func FromEnvironment(lookup func(string) (string, bool)) Overrides {
	out := Overrides{}
	for setting, variable := range overridable {
		if value, ok := lookup(variable); ok && value != "" {
			out[setting] = Override{Value: value, Origin: variable}
		}
	}
	if value, ok := lookup(EnvPassphrase); ok && value != "" {
		// The value stays where it is; only where to find it is noted.
		out[passphraseEnv] = Override{Value: EnvPassphrase, Origin: EnvPassphrase}
	}
	return out
}

// passphraseEnv is no setting of the file: it names the variable with the passphrase.
const passphraseEnv = "passphrase_env"

// With returns o and more; more wins.
func (o Overrides) With(more Overrides) Overrides {
	out := Overrides{}
	for _, from := range []Overrides{o, more} {
		for setting, override := range from {
			out[setting] = override
		}
	}
	return out
}

// apply puts the overrides into raw.
func (o Overrides) apply(raw *rawConfig) {
	targets := map[string]*string{
		"address":         &raw.Address,
		"public_address":  &raw.PublicAddress,
		"api_url":         &raw.APIURL,
		"public_url":      &raw.PublicURL,
		"metrics_address": &raw.MetricsAddress,
		"passphrase_file": &raw.PassphraseFile,
		"log.level":       &raw.Log.Level,
		"log.format":      &raw.Log.Format,
	}
	for setting, override := range o {
		if target, ok := targets[setting]; ok {
			*target = override.Value
		}
	}
}

// problems collects everything that is wrong, each with its place.
type problems struct {
	name      string
	data      []byte
	overrides Overrides
	found     []error
}

// path leads to a value in the file: keys and list positions.
type path []any

func (p path) String() string {
	var b strings.Builder
	for i, step := range p {
		switch s := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", s)
		default:
			if i > 0 {
				b.WriteByte('.')
			}
			fmt.Fprint(&b, s)
		}
	}
	return b.String()
}

func (p path) child(steps ...any) path { return append(append(path{}, p...), steps...) }

// add records that the value at where is wrong. The message says what to write instead.
func (p *problems) add(where path, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if override, ok := p.overrides[where.String()]; ok {
		p.found = append(p.found, fmt.Errorf("%s: %s", override.Origin, message))
		return
	}
	p.found = append(p.found, fmt.Errorf("%s: %s: %s", strictyaml.Place(p.name, p.data, where...), where, message))
}

// flagName returns the flag of `serve` that overrides a setting, without dashes.
func flagName(setting string) string { return strings.NewReplacer("_", "-", ".", "-").Replace(setting) }

// FromFlags makes overrides of flags by their names; an empty value is not set.
func FromFlags(flags map[string]string) Overrides {
	out := Overrides{}
	for setting := range overridable {
		if value := flags[flagName(setting)]; value != "" {
			out[setting] = Override{Value: value, Origin: "--" + flagName(setting)}
		}
	}
	if file, given := out["passphrase_file"]; given {
		out[passphraseEnv] = Override{Origin: file.Origin} // a flag wins over the variable
	}
	return out
}
