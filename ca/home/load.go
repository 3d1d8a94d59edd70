package home

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/logging"
	"github.com/handfast/handfast/internal/strictyaml"
	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/issuer/keystore"
	"github.com/handfast/handfast/revocation"
)

// Load reads and validates the configuration of the CA in dir. overrides win over the
// file. Every mistake is an error of its own, joined, that names file, line and column
// (or the variable or flag) and says what to write instead. No key is opened.
func Load(dir Dir, overrides Overrides) (*Config, error) {
	data, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	return parse(dir, dir.Config(), data, overrides)
}

func readConfig(dir Dir) ([]byte, error) {
	f, err := os.Open(dir.Config())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no CA: %s does not exist; make one with handfast-ca init --dir %s, or give the right --dir", dir, dir.Config(), dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	data, err := io.ReadAll(io.LimitReader(f, strictyaml.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return data, nil
}

// parse is Load for data that was read, or generated, already. name stands in errors.
func parse(dir Dir, name string, data []byte, overrides Overrides) (*Config, error) {
	var raw rawConfig
	if err := strictyaml.Decode(name, data, &raw); err != nil {
		return nil, fmt.Errorf("%w; correct it, and see what handfast-ca check says", err)
	}
	overrides.apply(&raw)
	v := &validator{problems: problems{name: name, data: data, overrides: overrides}, raw: raw, out: &Config{Dir: dir}}
	v.identity()
	v.addresses()
	v.keys()
	v.profiles()
	v.publication()
	v.enrolment()
	v.limits()
	if len(v.found) > 0 {
		return nil, errors.Join(v.found...)
	}
	return v.out, nil
}

// validator turns a raw configuration into a Config, one group of settings at a time.
type validator struct {
	problems
	raw rawConfig
	out *Config
}

func (v *validator) identity() {
	v.out.Name = v.raw.Name
	if v.raw.Name == "" {
		v.out.Name = v.raw.TrustDomain
	}
	if len(v.out.Name) > 64 {
		v.add(path{"name"}, "over 64 characters; choose a shorter one")
	}
	td, err := certs.ParseTrustDomain(v.raw.TrustDomain)
	if err != nil {
		v.add(path{"trust_domain"}, "%v", err)
	}
	v.out.TrustDomain = td
}

func (v *validator) keys() {
	v.out.Passphrase = keystore.PassphraseSource{Env: v.overrides[passphraseEnv].Value, File: v.out.Dir.abs(v.raw.PassphraseFile)}
	v.out.IssuingKey = v.raw.IssuingKey
	switch file, isFile := strings.CutPrefix(v.raw.IssuingKey, keystore.FileScheme); {
	case v.raw.IssuingKey == "":
		v.add(path{"issuing_key"}, "missing; write a URI, such as file:keys/issuing.key or pkcs11:token=ca;object=issuing")
	case isFile && file == "":
		v.add(path{"issuing_key"}, "names no file; write file:keys/issuing.key")
	case isFile:
		v.out.IssuingKey = keystore.FileScheme + v.out.Dir.abs(file)
	}
	v.refusedKeys()
}

// refusedKeys reads the operator's own list. A list that cannot be read is an error:
// a CA without it would issue for keys that somebody meant to refuse.
func (v *validator) refusedKeys() {
	if v.raw.RefusedKeys == "" {
		return
	}
	name := v.out.Dir.abs(v.raw.RefusedKeys)
	f, err := os.Open(name)
	if err != nil {
		v.add(path{"refused_keys_file"}, "%v", err)
		return
	}
	defer f.Close() //nolint:errcheck // only read from
	if v.out.RefusedKeys, err = issuer.ReadKeyList(name, f); err != nil {
		v.add(path{"refused_keys_file"}, "%v", err)
	}
}

func (v *validator) publication() {
	c := v.raw.CRL
	if c.Shards != nil {
		v.out.CRL.Shards = *c.Shards
	}
	if v.out.CRL.Shards < 0 || v.out.CRL.Shards > revocation.MaxShards {
		v.add(path{"crl", "shards"}, "%d is outside 0 (no partitions) to %d", v.out.CRL.Shards, revocation.MaxShards)
	}
	for i, former := range c.FormerShards {
		if former < 1 || former > revocation.MaxShards || former == v.out.CRL.Shards {
			v.add(path{"crl", "former_shards", i}, "%d is outside 1 to %d, or the present number", former, revocation.MaxShards)
		}
	}
	v.out.CRL.FormerShards = c.FormerShards
	v.out.CRL.Validity = v.duration(path{"crl", "validity"}, c.Validity, defaultCRLValidity, time.Minute, 90*24*time.Hour)
	v.out.CRL.Interval = v.duration(path{"crl", "interval"}, c.Interval, defaultCRLInterval, time.Second, 30*24*time.Hour)
	if v.out.CRL.Validity < 2*v.out.CRL.Interval {
		v.add(path{"crl", "validity"}, "%v is less than twice the interval %v: one late publication would leave an expired CRL", v.out.CRL.Validity, v.out.CRL.Interval)
	}
	v.out.Retention = v.duration(path{"retention"}, v.raw.Retention, defaultRetention, minRetention, maxRetention)
	v.out.Log = Log{Level: orElse(v.raw.Log.Level, defaultLogLevel), Format: orElse(v.raw.Log.Format, defaultLogFormat)}
	if _, err := logging.New(io.Discard, v.out.Log.Level, defaultLogFormat); err != nil {
		v.add(path{"log", "level"}, "%v", err)
	}
	if _, err := logging.New(io.Discard, defaultLogLevel, v.out.Log.Format); err != nil {
		v.add(path{"log", "format"}, "%v", err)
	}
}

func (v *validator) limits() {
	l := v.raw.Limits
	if l.Slots != nil {
		v.out.Limits.Slots = *l.Slots
		if *l.Slots < 1 || *l.Slots > 10000 {
			v.add(path{"limits", "slots"}, "%d is outside 1 to 10000", *l.Slots)
		}
	}
	if l.FailureRate != nil {
		v.out.Limits.FailureRate = *l.FailureRate
		if !(*l.FailureRate > 0 && *l.FailureRate <= 10000) {
			v.add(path{"limits", "failure_rate"}, "%v is outside 0 (excluded) to 10000 a second", *l.FailureRate)
		}
	}
	if l.FailureBurst != nil {
		v.out.Limits.FailureBurst = *l.FailureBurst
		if *l.FailureBurst < 1 || *l.FailureBurst > 100000 {
			v.add(path{"limits", "failure_burst"}, "%d is outside 1 to 100000", *l.FailureBurst)
		}
	}
	if l.Shutdown != "" {
		v.out.Limits.Shutdown = v.duration(path{"limits", "shutdown"}, l.Shutdown, 0, time.Second, 10*time.Minute)
	}
}

// duration reads Go's notation; "" is fallback.
func (v *validator) duration(where path, value string, fallback, shortest, longest time.Duration) time.Duration {
	if value == "" {
		return fallback
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		v.add(where, "%q is not a duration; write a number and a unit, such as 90s, 15m or 24h", value)
		return fallback
	}
	if d < shortest || d > longest {
		v.add(where, "%v is outside %v to %v", d, shortest, longest)
		return fallback
	}
	return d
}
