package ca_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/ca"
)

func TestMetricsSayWhetherItIsReadyAndWhatExpires(t *testing.T) {
	w := newWorld(t)
	registry := prometheus.NewRegistry()
	config := w.config()
	config.Registerer = registry
	c, err := ca.New(t.Context(), config)
	must(t, err)
	if ready := gauge(t, registry, "handfast_ca_ready", ""); ready != 0 {
		t.Errorf("ready = %v without an OCSP responder, want 0", ready)
	}
	must(t, c.RotateResponders(t.Context()))
	if ready := gauge(t, registry, "handfast_ca_ready", ""); ready != 1 {
		t.Errorf("ready = %v, want 1: %v", ready, c.Ready(t.Context()))
	}
	for kind, want := range map[string]time.Time{
		"issuer": w.issuer.Certificate().NotAfter, "root": w.root.NotAfter,
	} {
		if got := gauge(t, registry, "handfast_ca_authority_not_after_seconds", kind); got != float64(want.Unix()) {
			t.Errorf("%s expires at %v, want %d", kind, got, want.Unix())
		}
	}
}

// gauge returns the value of the metric name whose label "kind" is kind, or that has no labels.
func gauge(t *testing.T, registry *prometheus.Registry, name, kind string) float64 {
	t.Helper()
	families, err := registry.Gather()
	must(t, err)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			label := ""
			for _, pair := range metric.GetLabel() {
				if pair.GetName() == "kind" {
					label = pair.GetValue()
				}
			}
			if label == kind {
				return metric.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("there is no metric %s of kind %q", name, kind)
	return 0
}
