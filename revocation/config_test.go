package revocation

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/certs"
)

func TestURLs(t *testing.T) {
	serial, err := certs.ParseSerial("0a0b0c0102")
	if err != nil {
		t.Fatal(err)
	}
	short, err := certs.ParseSerial("07")
	if err != nil {
		t.Fatal(err)
	}
	none, some := URLs{Base: "http://ca:80/", Issuer: "abcd"}, URLs{Base: "http://ca:80", Issuer: "abcd", Shards: 16}
	for _, test := range []struct{ got, want string }{
		{none.OCSP(), "http://ca:80/ocsp"},
		{none.CAIssuers(), "http://ca:80/ca/abcd.crt"},
		{none.Full(), "http://ca:80/crl/abcd.crl"},
		{none.Shard(serial), "http://ca:80/crl/abcd.crl"},
		{none.Delta(serial), "http://ca:80/crl/abcd-delta.crl"},
		{some.Full(), "http://ca:80/crl/abcd.crl"},
		{some.Shard(serial), "http://ca:80/crl/abcd/16/2.crl"},
		{some.Delta(serial), "http://ca:80/crl/abcd/16/2-delta.crl"},
		{some.Shard(short), "http://ca:80/crl/abcd/16/7.crl"},
	} {
		if test.got != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
	if got := ShardOf(serial, 1000); got != 0x0102%1000 {
		t.Errorf("shard %d", got)
	}
}

func TestConfigRefuses(t *testing.T) {
	ca := newTestCA(t, "Example", testStart)
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no log", func(c *Config) { c.Log = nil }, "Log"},
		{"no issuers", func(c *Config) { c.Issuers = nil }, "Issuers"},
		{"issuer twice", func(c *Config) { c.Issuers = []CRLSigner{ca, ca} }, "twice"},
		{"no URL", func(c *Config) { c.BaseURL = "" }, "http://HOST:PORT"},
		{"https URL", func(c *Config) { c.BaseURL = "https://ca" }, "http://HOST:PORT"},
		{"URL with a path", func(c *Config) { c.BaseURL = "http://ca/pki" }, "http://HOST:PORT"},
		{"too many shards", func(c *Config) { c.Shards = MaxShards + 1 }, "partitions"},
		{"negative shards", func(c *Config) { c.Shards = -1 }, "partitions"},
		{"former shards of 0", func(c *Config) { c.Shards, c.FormerShards = 2, []int{0} }, "partitions"},
		{"shards twice", func(c *Config) { c.Shards, c.FormerShards = 2, []int{2} }, "twice"},
		{"interval of nothing", func(c *Config) { c.Interval = time.Millisecond }, "resolution"},
		{"interval as long as validity", func(c *Config) { c.Interval = 24 * time.Hour }, "twice the interval"},
		{"window below interval", func(c *Config) { c.DeltaWindow = time.Minute }, "delta window"},
		{"OCSP for a second", func(c *Config) { c.OCSPValidity = time.Second }, "OCSP validity"},
		{"negative retention", func(c *Config) { c.Retention = -time.Second }, "retention"},
	} {
		config := Config{Log: newMemoryLog(), Issuers: []CRLSigner{ca}, BaseURL: testBase}
		test.change(&config)
		if _, err := Open(context.Background(), config); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestMetricsAreRegisteredOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	config := Config{Log: newMemoryLog(), Issuers: []CRLSigner{newTestCA(t, "Example", time.Now())}, BaseURL: testBase, Registerer: registry}
	if _, err := Open(context.Background(), config); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), config); err == nil || !strings.Contains(err.Error(), "metrics") {
		t.Errorf("registered twice: %v", err)
	}
}

// What cannot be folded is refused: to skip it might leave a revocation out.
func TestOpenRefusesADamagedLog(t *testing.T) {
	ca := newTestCA(t, "Example", testStart)
	entry := Entry{Sequence: 1, Kind: Revoked, Issuer: ca.ID(), Serial: serialOfInt(t, 1), At: testStart}
	for _, test := range []struct {
		name   string
		change func(*Entry)
		want   string
	}{
		{"unknown kind", func(e *Entry) { e.Kind = 77 }, "newer version"},
		{"no serial", func(e *Entry) { e.Serial = certs.Serial{} }, "no serial"},
		{"out of order", func(e *Entry) { e.Sequence = 0 }, "comes after"},
	} {
		damaged := newMemoryLog()
		e := entry
		test.change(&e)
		damaged.entries = []Entry{e}
		_, err := Open(context.Background(), Config{Log: damaged, Issuers: []CRLSigner{ca}, BaseURL: testBase})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// Records are found again across growth of the index and across forgetting, and what was
// forgotten is not.
func TestHistory(t *testing.T) {
	h := newHistory(time.Hour)
	const n = 3*chunkRecords + 5
	at := func(i int64) time.Time { return testStart.Add(time.Duration(i) * time.Second) }
	var entries []Entry
	for i := range int64(n) {
		entries = append(entries, Entry{Sequence: uint64(i) + 1, Kind: Revoked, Serial: serialOfInt(t, i), At: testStart, NotAfter: at(i), Reason: certs.Reason(i % 12)})
	}
	entries = append(entries, Entry{Sequence: n + 1, Kind: Revoked, Serial: serialOfInt(t, 5), At: testStart.Add(time.Hour), Reason: certs.CACompromise})
	if got := h.apply(entries); got != n {
		t.Fatalf("%d new revocations, want %d", got, n)
	}
	check := func(from int64) {
		t.Helper()
		for i := range int64(n + 10) {
			r, ok := h.lookup(padSerial(serialOfInt(t, i)))
			if want := i >= from && i < n; ok != want || (ok && r.sequence != uint64(i)+1) {
				t.Fatalf("serial %d: found %v, sequence %d; forgotten below %d", i, ok, r.sequence, from)
			}
		}
	}
	check(0)
	before := h.view(n)
	h.forget(at(100)) // too few to be worth it
	check(0)
	h.forget(at(2 * chunkRecords))
	check(2 * chunkRecords)
	if before.count != n || before.at(7).sequence != 8 {
		t.Error("a view changed when records were forgotten")
	}
	if after := h.view(n); after.count != chunkRecords+5 || after.after(2*chunkRecords+1) != 1 {
		t.Errorf("%d records are left", after.count)
	}
	if r, _ := h.lookup(padSerial(serialOfInt(t, 2*chunkRecords+8))); r.reason > uint8(certs.AACompromise) {
		t.Errorf("reason %d", r.reason)
	}
}
