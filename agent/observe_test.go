package agent

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/internal/logtest"
)

// Invariant 18: neither a private key nor a token enters logs, errors, status or metrics, whatever fails.
func TestSecretsStayOutOfLogsStatusAndMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		registry := prometheus.NewRegistry()
		tokenFile := filepath.Join(t.TempDir(), "token")
		os.WriteFile(tokenFile, []byte(ca.token("first")), 0o600)
		cfg := ca.config(log)
		cfg.StateDir, cfg.Registerer, cfg.Token = filepath.Join(t.TempDir(), "state"), registry, TokenFile(tokenFile)
		var canaries [][]byte
		remember := func() {
			var raw identity
			if err := readState(filepath.Join(cfg.StateDir, identityFile), &raw); err != nil {
				t.Fatal(err)
			}
			signer, err := parseKey(raw.Key)
			if err != nil {
				t.Fatal(err)
			}
			secret, err := signer.(*ecdsa.PrivateKey).Bytes()
			if err != nil {
				t.Fatal(err)
			}
			// Each offset has its own base64.
			canaries = append(canaries, secret, secret[1:], secret[2:])
		}
		a, stop := start(t, cfg)
		synctest.Wait()
		remember()
		var seen bytes.Buffer
		look := func() {
			status, err := json.Marshal(a.Status())
			if err != nil {
				t.Fatal(err)
			}
			seen.Write(status)
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, family := range families {
				expfmt.MetricFamilyToText(&seen, family)
			}
		}
		look()
		ca.do(func() { ca.fail = &api.Error{Code: api.CodeInternal, Message: "fault"} })
		time.Sleep(2 * time.Hour) // into expiry, with rekeys failing
		synctest.Wait()
		look()
		ca.do(func() { ca.fail = nil })
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		remember()
		stop()
		flip(t, filepath.Join(cfg.StateDir, identityFile))
		flip(t, filepath.Join(cfg.StateDir, enforcementFile))
		cfg.Registerer = nil
		restarted, err := New(cfg)
		if err != nil {
			seen.WriteString(err.Error())
		} else {
			restarted.Close()
		}
		seen.WriteString(log.String())
		token := ca.token("first")
		canaries = append(canaries, []byte(token), []byte(strings.Split(token, ".")[1]))
		for _, canary := range canaries {
			for _, spelling := range []string{
				string(canary), hex.EncodeToString(canary), strings.ToUpper(hex.EncodeToString(canary)),
				strings.TrimRight(base64.StdEncoding.EncodeToString(canary[:len(canary)/3*3]), "="),
				base64.RawURLEncoding.EncodeToString(canary[:len(canary)/3*3]),
			} {
				if bytes.Contains(seen.Bytes(), []byte(spelling)) {
					t.Errorf("a secret is in the output, as %.12s...", spelling)
				}
			}
		}
		if !strings.Contains(seen.String(), "handfast_agent_certificate_expiry_seconds") || !strings.Contains(seen.String(), "digest does not match") {
			t.Fatal("the search did not see what it is to search")
		}
	})
}

func TestMetricsTellAgesAndResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		ca.ahead = 10 * time.Second
		registry := prometheus.NewRegistry()
		cfg := ca.config(log)
		cfg.Registerer = registry
		a, stop := start(t, cfg)
		defer stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		notAfter := mustCurrent(t, a).Certificate.Leaf.NotAfter
		ca.do(func() { ca.fail = errDown })
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		want := map[string]float64{
			"handfast_agent_certificate_expiry_seconds": time.Until(notAfter).Seconds(),
			"handfast_agent_policy_age_seconds":         30 * 60,
			"handfast_agent_crl_age_seconds":            31 * 60,
			"handfast_agent_clock_offset_seconds":       10,
			"handfast_agent_ready":                      1,
			"handfast_agent_last_renewal_success":       1,
		}
		check := func() {
			t.Helper()
			got := gather(t, registry)
			for name, value := range want {
				if diff := got[name] - value; diff > 61 || diff < -61 {
					t.Errorf("%s = %v; want about %v", name, got[name], value)
				}
			}
		}
		check()
		time.Sleep(40 * time.Minute) // renewals fail, the certificate expires
		synctest.Wait()
		want = map[string]float64{
			"handfast_agent_certificate_expiry_seconds": time.Until(notAfter).Seconds(),
			"handfast_agent_policy_age_seconds":         70 * 60,
		}
		check()
		got := gather(t, registry)
		if got["handfast_agent_certificate_expiry_seconds"] >= 0 || got["handfast_agent_last_renewal_success"] != 0 || got["handfast_agent_ready"] != 0 {
			t.Errorf("after the expiry: %v", got)
		}
		if got["handfast_agent_renewals_total"] < 3 {
			t.Errorf("renewals_total = %v; want the failures counted", got["handfast_agent_renewals_total"])
		}
	})
}

// A restart is no failed renewal.
func TestLastResultIsAbsentUntilThereIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		cfg := ca.config(log)
		cfg.StateDir = filepath.Join(t.TempDir(), "state")
		_, stop := start(t, cfg)
		synctest.Wait()
		stop()
		registry := prometheus.NewRegistry()
		cfg.Registerer = registry
		_, stop = start(t, cfg)
		defer stop()
		synctest.Wait()
		if value, there := gather(t, registry)["handfast_agent_last_renewal_success"]; there {
			t.Errorf("after a restart it is %v", value)
		}
		time.Sleep(45 * time.Minute)
		synctest.Wait()
		if value := gather(t, registry)["handfast_agent_last_renewal_success"]; value != 1 {
			t.Errorf("after a renewal it is %v", value)
		}
	})
}

// gather returns the sum of each family.
func gather(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			sums[family.GetName()] += metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
		}
	}
	return sums
}

func TestResultLabelsAreASmallSet(t *testing.T) {
	tests := map[string]error{
		"ok":         nil,
		"no_answer":  errDown,
		"token_used": &api.Error{Code: api.CodeTokenUsed},
		"internal":   &api.Error{Code: api.CodeInternal},
		"other":      &api.Error{Code: "made up by a hostile CA"},
	}
	for want, err := range tests {
		if got := result(err); got != want {
			t.Errorf("result(%v) = %q; want %q", err, got, want)
		}
	}
}

func TestConfigRefusals(t *testing.T) {
	tests := []struct {
		cfg  Config
		want string
	}{
		{Config{KeyAlgorithm: "rsa-1024"}, "ecdsa-p256"},
		{Config{CA: "http://ca:1"}, "https://HOST:PORT"},
		{Config{CA: "ca:1"}, "https://HOST:PORT"},
		{Config{Fingerprint: "abc"}, "64 digits"},
		{Config{StateDir: "/dev/null/x"}, "state directory"},
	}
	for _, tt := range tests {
		a, err := New(tt.cfg)
		if err == nil {
			a.Close()
			t.Errorf("New(%+v) succeeded", tt.cfg)
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("err = %v; want %q in it", err, tt.want)
		}
	}
}
