package home

// rawConfig is config.yaml as it is written. Durations, addresses and names are strings
// here, so that each is judged where its place in the file is known. A pointer tells
// "not there" from zero.
type rawConfig struct {
	Name           string                `yaml:"name"`
	TrustDomain    string                `yaml:"trust_domain"`
	Address        string                `yaml:"address"`
	PublicAddress  string                `yaml:"public_address"`
	APIURL         string                `yaml:"api_url"`
	PublicURL      string                `yaml:"public_url"`
	ServerNames    []string              `yaml:"server_names"`
	MetricsAddress string                `yaml:"metrics_address"`
	PassphraseFile string                `yaml:"passphrase_file"`
	IssuingKey     string                `yaml:"issuing_key"`
	RefusedKeys    string                `yaml:"refused_keys_file"`
	DefaultProfile string                `yaml:"default_profile"`
	Profiles       map[string]rawProfile `yaml:"profiles"`
	CRL            rawCRL                `yaml:"crl"`
	Retention      string                `yaml:"retention"`
	Log            rawLog                `yaml:"log"`
	Enrolment      rawEnrolment          `yaml:"enrolment"`
	Limits         rawLimits             `yaml:"limits"`
}

type rawProfile struct {
	Lifetime string   `yaml:"lifetime"`
	Backdate string   `yaml:"backdate"`
	Grace    string   `yaml:"grace"`
	Renew    string   `yaml:"renew_after"`
	Keys     []string `yaml:"keys"`
	Usages   []string `yaml:"usages"`
	SANs     []string `yaml:"sans"`
	LintEach bool     `yaml:"lint_each"`
	Staple   bool     `yaml:"must_staple"`
	NoRev    string   `yaml:"no_rev_avail_below"`
}

type rawCRL struct {
	Shards       *int   `yaml:"shards"`
	FormerShards []int  `yaml:"former_shards"`
	Validity     string `yaml:"validity"`
	Interval     string `yaml:"interval"`
}

type rawLog struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

type rawLimits struct {
	Slots        *int     `yaml:"slots"`
	FailureRate  *float64 `yaml:"failure_rate"`
	FailureBurst *int     `yaml:"failure_burst"`
	Shutdown     string   `yaml:"shutdown"`
}

type rawEnrolment struct {
	TokenTTL string    `yaml:"token_ttl"`
	JWK      []rawJWK  `yaml:"jwk"`
	X5C      []rawX5C  `yaml:"x5c"`
	OIDC     []rawOIDC `yaml:"oidc"`
}

type rawJWK struct {
	Name      string         `yaml:"name"`
	KeyFile   string         `yaml:"key_file"`
	Audiences []string       `yaml:"audiences"`
	Rules     []rawTokenRule `yaml:"rules"`
}

type rawOIDC struct {
	Name      string         `yaml:"name"`
	Issuer    string         `yaml:"issuer"`
	ClientID  string         `yaml:"client_id"`
	Hosts     []string       `yaml:"hosts"`
	RootsFile string         `yaml:"roots_file"`
	Rules     []rawTokenRule `yaml:"rules"`
}

type rawX5C struct {
	Name      string               `yaml:"name"`
	RootsFile string               `yaml:"roots_file"`
	Audiences []string             `yaml:"audiences"`
	Rules     []rawCertificateRule `yaml:"rules"`
}

type rawTokenRule struct {
	Service string            `yaml:"service"`
	Subject string            `yaml:"subject"`
	Email   string            `yaml:"email"`
	Claims  map[string]string `yaml:"claims"`
}

type rawCertificateRule struct {
	Service    string `yaml:"service"`
	DNS        string `yaml:"dns"`
	URI        string `yaml:"uri"`
	CommonName string `yaml:"common_name"`
}
