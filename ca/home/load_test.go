package home_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/issuer"
)

const minimal = `name: lab
trust_domain: lab.example.org
address: 127.0.0.1:9000
public_address: 127.0.0.1:9001
passphrase_file: passphrase
issuing_key: file:keys/issuing.key
profiles:
  default: {}
`

func load(t testing.TB, text string, overrides home.Overrides) (*home.Config, error) {
	t.Helper()
	dir := home.Dir(t.TempDir())
	if err := os.WriteFile(dir.Config(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := home.Load(dir, overrides)
	if err != nil {
		return cfg, &located{strings.ReplaceAll(err.Error(), string(dir)+"/", "")}
	}
	return cfg, nil
}

// located is an error without the temporary directory.
type located struct{ text string }

func (l *located) Error() string { return l.text }

func TestLoadDefaults(t *testing.T) {
	t.Parallel()
	cfg, err := load(t, minimal, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := cfg.Profiles[0]
	switch {
	case cfg.APIURL != "https://127.0.0.1:9000" || cfg.PublicURL != "http://127.0.0.1:9001":
		t.Errorf("URLs %s, %s", cfg.APIURL, cfg.PublicURL)
	case len(cfg.IPs) != 1 || len(cfg.DNSNames) != 0:
		t.Errorf("server names %v %v", cfg.DNSNames, cfg.IPs)
	case p.Name != "default" || p.Lifetime != time.Hour || p.Grace != 24*time.Hour || !p.ServerAuth || !p.ClientAuth:
		t.Errorf("profile %+v", p)
	case cfg.CRL.Validity != 24*time.Hour || cfg.CRL.Interval != time.Hour || cfg.CRL.Shards != 0:
		t.Errorf("crl %+v", cfg.CRL)
	case cfg.Retention != 30*24*time.Hour || cfg.TokenTTL != 15*time.Minute || cfg.Log.Level != "info" || cfg.MetricsAddress != "":
		t.Errorf("%+v", cfg)
	case cfg.Passphrase.File != filepath.Join(string(cfg.Dir), "passphrase") || cfg.IssuingKey != "file:"+cfg.Dir.IssuingKey():
		t.Errorf("paths %q, %q do not start at the directory", cfg.Passphrase.File, cfg.IssuingKey)
	}
}

func TestLoadEverything(t *testing.T) {
	t.Parallel()
	text := `name: lab
trust_domain: lab.example.org
address: 0.0.0.0:9000
public_address: "[::]:9001"
server_names: [ca.example.org, 10.0.0.5, "::1"]
api_url: https://ca.example.org:443
public_url: http://pki.example.org
metrics_address: 127.0.0.1:9090
issuing_key: pkcs11:token=ca;object=issuing
default_profile: short
profiles:
  short: {lifetime: 5m, renew_after: 2m, backdate: 10s, grace: 0s, keys: [ed25519, ecdsa-p256], usages: [client], sans: [dns], lint_each: true, no_rev_avail_below: 15m}
  bare: {lifetime: 2160h, sans: [], must_staple: true}
crl: {shards: 16, former_shards: [4, 8], validity: 2h, interval: 10m}
retention: 48h
log: {level: debug, format: json}
enrolment: {token_ttl: 1h}
limits: {slots: 8, failure_rate: 0.5, failure_burst: 3, shutdown: 5s}
`
	cfg, err := load(t, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	bare, short := cfg.Profiles[0], cfg.Profiles[1]
	switch {
	case cfg.APIURL != "https://ca.example.org:443" || cfg.PublicURL != "http://pki.example.org":
		t.Errorf("URLs %s, %s", cfg.APIURL, cfg.PublicURL)
	case len(cfg.DNSNames) != 1 || len(cfg.IPs) != 2:
		t.Errorf("server names %v %v", cfg.DNSNames, cfg.IPs)
	case bare.Name != "bare" || bare.Lifetime != 90*24*time.Hour || !bare.NoDNSNames || !bare.NoIPs:
		t.Errorf("profile %+v", bare)
	case short.Grace != 0 || short.RenewAfter != 2*time.Minute || short.Backdate != 10*time.Second || short.ServerAuth || !short.ClientAuth || short.NoDNSNames || !short.NoIPs || !short.LintEach:
		t.Errorf("profile %+v", short)
	case !bare.MustStaple || bare.NoRevAvailBelow != 0 || short.MustStaple || short.NoRevAvailBelow != 15*time.Minute:
		t.Errorf("staples: %+v, %+v", bare, short)
	case len(short.KeyAlgorithms) != 2 || short.KeyAlgorithms[0] != issuer.Ed25519:
		t.Errorf("keys %v", short.KeyAlgorithms)
	case cfg.DefaultProfile != "short" || cfg.IssuingKey != "pkcs11:token=ca;object=issuing":
		t.Errorf("%+v", cfg)
	case cfg.CRL.Shards != 16 || len(cfg.CRL.FormerShards) != 2:
		t.Errorf("crl %+v", cfg.CRL)
	case cfg.Limits != home.Limits{Slots: 8, FailureRate: 0.5, FailureBurst: 3, Shutdown: 5 * time.Second}:
		t.Errorf("limits %+v", cfg.Limits)
	}
}

// Each mistake is found where it stands. The replacement of one line of the minimal
// file, or what is added to it, must lead to an error at that place.
func TestLoadNamesFileLineAndFix(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, old, new, want string }{
		{"unknown key", "", "retentoin: 1h\n", `config.yaml:9:1: unknown field "retentoin"`},
		{"duplicate key", "", "name: other\n", "config.yaml:9:1: "},
		{"wrong type", "name: lab", "name: [lab]", "config.yaml:1:"},
		{"not YAML", "name: lab", "name: {lab", "config.yaml:"},
		{"trust domain", "lab.example.org", "Lab.example.org", "config.yaml:2:15: trust_domain: "},
		{"no trust domain", "trust_domain: lab.example.org", "# none", "config.yaml:1:1: trust_domain: "},
		{"address", "address: 127.0.0.1:9000", "address: 9000", "config.yaml:3:10: address: \"9000\" is not HOST:PORT"},
		{"port", "127.0.0.1:9000", "127.0.0.1:99999", "config.yaml:3:10: address: port"},
		{"same address", "127.0.0.1:9001", "127.0.0.1:9000", "config.yaml:4:17: public_address: it is the API's"},
		{"every interface", "address: 127.0.0.1:9000", `address: ":9000"`, "config.yaml:1:1: server_names: missing"},
		{"server name", "", "server_names: [ok.example, no_underscore]\n", "config.yaml:9:28: server_names[1]: "},
		{"number as a name", "", "server_names: [\"1.2.3\"]\n", "config.yaml:9:16: server_names[0]: "},
		{"API URL", "", "api_url: https://ca.example.org/path\n", "config.yaml:9:10: api_url: "},
		{"public URL over TLS", "", "public_url: https://pki.example.org\n", "config.yaml:9:13: public_url: "},
		{"public metrics", "", "metrics_address: 10.0.0.1:9090\n", "config.yaml:9:18: metrics_address: "},
		{"no key", "issuing_key: file:keys/issuing.key", "# none", "config.yaml:1:1: issuing_key: missing"},
		{"key without a path", "file:keys/issuing.key", "'file:'", "config.yaml:6:14: issuing_key: "},
		{"no profiles", "  default: {}", "", "config.yaml:7:"},
		{"default profile", "  default: {}", "  short: {}", `default_profile: "default" is none of the profiles (short)`},
		{"reserved profile", "", "  operator: {}\n", "config.yaml:9:13: profiles.operator: "},
		{"profile name", "", "  Upper: {}\n", "config.yaml:9:10: profiles.Upper: "},
		{"no duration", "{}", "{lifetime: 1}", "config.yaml:8:23: profiles.default.lifetime: \"1\" is not a duration; write"},
		{"short lifetime", "{}", "{lifetime: 30s}", "config.yaml:8:23: profiles.default.lifetime: 30s is outside 1m0s to 2160h0m0s"},
		{"long lifetime", "{}", "{lifetime: 2161h}", "profiles.default.lifetime: "},
		{"staple and none", "{}", "{must_staple: true, no_rev_avail_below: 15m}", "config.yaml:8:26: profiles.default.must_staple: "},
		{"long without revocation", "{}", "{no_rev_avail_below: 25h}", "config.yaml:8:33: profiles.default.no_rev_avail_below: 25h0m0s is outside 1m0s to 24h0m0s"},
		{"key algorithm", "{}", "{keys: [ecdsa-p256, dsa]}", "config.yaml:8:32: profiles.default.keys[1]: "},
		{"algorithm twice", "{}", "{keys: [ed25519, ed25519]}", "profiles.default.keys[1]: ed25519 is there twice"},
		{"usage", "{}", "{usages: [signing]}", "config.yaml:8:22: profiles.default.usages[0]: "},
		{"no usage", "{}", "{usages: []}", "config.yaml:8:21: profiles.default.usages: "},
		{"san", "{}", "{sans: [email]}", "profiles.default.sans[0]: "},
		{"shards", "", "crl: {shards: 5000}\n", "config.yaml:9:15: crl.shards: "},
		{"former shards", "", "crl: {former_shards: [0]}\n", "config.yaml:9:23: crl.former_shards[0]: "},
		{"validity", "", "crl: {validity: 1h, interval: 45m}\n", "config.yaml:9:17: crl.validity: "},
		{"retention", "", "retention: 1m\n", "config.yaml:9:12: retention: "},
		{"level", "", "log: {level: loud}\n", "config.yaml:9:14: log.level: "},
		{"format", "", "log: {format: xml}\n", "config.yaml:9:15: log.format: "},
		{"token lifetime", "", "enrolment: {token_ttl: 48h}\n", "config.yaml:9:24: enrolment.token_ttl: "},
		{"no such key file", "", "enrolment:\n  jwk:\n    - name: ci\n      key_file: nowhere.json\n", "config.yaml:12:17: enrolment.jwk[0].key_file: "},
		{"no roots file", "", "enrolment:\n  x5c:\n    - name: ci\n", "config.yaml:11:11: enrolment.x5c[0].roots_file: missing"},
		{"no rules", "", "enrolment:\n  oidc:\n    - {name: gh, issuer: https://idp, client_id: c}\n", "config.yaml:11:7: enrolment.oidc[0]: rules: "},
		{"rule without a condition", "", "enrolment:\n  oidc:\n    - name: gh\n      issuer: https://idp\n      client_id: c\n      rules:\n        - {service: web, subject: a}\n        - {service: db}\n", "config.yaml:16:11: enrolment.oidc[0].rules[1]: no condition"},
		{"rule with an unknown key", "", "enrolment:\n  oidc:\n    - name: gh\n      rules:\n        - {service: web, subjcet: a}\n", `config.yaml:13:26: unknown field "subjcet"`},
		{"issuer", "", "enrolment:\n  oidc:\n    - {name: gh, issuer: http://idp, client_id: c, rules: [{service: a, subject: b}]}\n", "enrolment.oidc[0]: issuer"},
		{"slots", "", "limits: {slots: 0}\n", "config.yaml:9:17: limits.slots: "},
		{"failure rate", "", "limits: {failure_rate: .nan}\n", "config.yaml:9:24: limits.failure_rate: "},
		{"burst", "", "limits: {failure_burst: -1}\n", "limits.failure_burst: "},
		{"shutdown", "", "limits: {shutdown: 1h}\n", "limits.shutdown: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := minimal + tt.new
			if tt.old != "" {
				text = strings.Replace(minimal, tt.old, tt.new, 1)
			}
			_, err := load(t, text, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error = %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestLoadReportsEveryMistake(t *testing.T) {
	t.Parallel()
	_, err := load(t, strings.Replace(minimal, "lab.example.org", "LAB", 1)+"retention: soon\nlog: {level: loud}\n", nil)
	if err == nil || strings.Count(err.Error(), "config.yaml:") != 3 {
		t.Errorf("error = %v; want three places", err)
	}
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"HANDFAST_ADDRESS": "10.0.0.1:1", "HANDFAST_LOG_LEVEL": "loud", "HANDFAST_LOG_FORMAT": ""}
	fromEnv := home.FromEnvironment(func(name string) (string, bool) { v, ok := environment[name]; return v, ok })
	cfg, err := load(t, minimal, fromEnv.With(home.FromFlags(map[string]string{"log-level": "debug"})))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Address != "10.0.0.1:1" || cfg.Log.Level != "debug" || cfg.Log.Format != "text" {
		t.Errorf("address %s, log %+v; want the variable, the flag and the default", cfg.Address, cfg.Log)
	}
	_, err = load(t, minimal, fromEnv)
	if err == nil || !strings.HasPrefix(err.Error(), "HANDFAST_LOG_LEVEL: ") {
		t.Errorf("error = %v; want the variable's name", err)
	}
	environment[home.EnvPassphrase] = "secret"
	fromEnv = home.FromEnvironment(func(name string) (string, bool) {
		v, ok := environment[name]
		return v, ok && name != "HANDFAST_LOG_LEVEL"
	})
	if cfg, err = load(t, minimal, fromEnv); err != nil || cfg.Passphrase.Env != home.EnvPassphrase {
		t.Errorf("passphrase from %+v, %v; want the variable to win over the file", cfg.Passphrase, err)
	}
	cfg, err = load(t, minimal, fromEnv.With(home.FromFlags(map[string]string{"passphrase-file": "/run/secret"})))
	if err != nil || cfg.Passphrase.Env != "" || cfg.Passphrase.File != "/run/secret" {
		t.Errorf("passphrase from %+v, %v; want the flag to win over the variable", cfg.Passphrase, err)
	}
	_, err = load(t, minimal, home.FromFlags(map[string]string{"public-address": "x"}))
	if err == nil || !strings.HasPrefix(err.Error(), "--public-address: ") {
		t.Errorf("error = %v; want the flag's name", err)
	}
}

func TestLoadWithoutACA(t *testing.T) {
	t.Parallel()
	_, err := home.Load(home.Dir(t.TempDir()), nil)
	if err == nil || !strings.Contains(err.Error(), "handfast-ca init --dir") {
		t.Errorf("error = %v; want the command that makes one", err)
	}
}

// FuzzLoad: whatever loads is complete, and a mistake never passes as "no error, no config".
func FuzzLoad(f *testing.F) {
	f.Add(minimal)
	f.Add(minimal + "crl: {shards: 3}\nenrolment: {oidc: [{name: a, issuer: 'https://b', client_id: c, rules: [{service: d, subject: e}]}]}\n")
	f.Add("profiles: {default: {keys: [ed25519]}}\n")
	f.Add("server_names: [\"::ffff:1.2.3.4\"]\n")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := load(t, text, nil)
		if (cfg == nil) == (err == nil) {
			t.Fatalf("config %v with error %v", cfg, err)
		}
		if err != nil {
			return
		}
		if cfg.TrustDomain.IsZero() || len(cfg.Profiles) == 0 || len(cfg.DNSNames)+len(cfg.IPs) == 0 ||
			!strings.HasPrefix(cfg.APIURL, "https://") || !strings.HasPrefix(cfg.PublicURL, "http://") ||
			cfg.Retention <= 0 || cfg.CRL.Validity < 2*cfg.CRL.Interval {
			t.Fatalf("an incomplete configuration was accepted: %+v", cfg)
		}
	})
}
