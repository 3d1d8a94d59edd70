package fleet

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/ca"
)

func TestRestartKnowsWhoIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := &memory{}
		w := newWorld(t, ledger)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { w.Run(ctx); close(done) }()
		a, _ := w.join(0, 1)
		b, _ := w.join(1, 1)
		w.join(2, 1)
		b.Stop()
		time.Sleep(saveInterval + time.Second)
		if n := ledger.saves(); n != 1 {
			t.Errorf("saved %d times, want once for all", n)
		}
		time.Sleep(10 * saveInterval)
		if n := ledger.saves(); n != 1 {
			t.Errorf("saved %d times although nothing had changed", n)
		}
		a.Ack(4)
		a.Leave()
		left := time.Now()
		time.Sleep(time.Second)
		stop()
		<-done

		time.Sleep(10 * time.Minute) // the CA was away; agent 2 was connected when it stopped
		w = newWorld(t, ledger)
		w.expect("service-0 silent 4, service-1 stopped 1, service-2 silent 1")
		list := w.Agents()
		if !list[0].Since.Equal(left) || !list[2].Since.Equal(time.Now()) {
			t.Errorf("silent since %v and %v, want %v and the start", list[0].Since, list[2].Since, left)
		}
		if list[0].Address != "10.0.0.1" || list[0].Version != "1" || list[0].Serial != serial(0) {
			t.Errorf("lost: %+v", list[0])
		}
		w.join(0, 4)
		w.expect("service-0 current 4, service-1 stopped 1, service-2 silent 1")
	})
}

func TestForgetsWhoseCertificateIsLongGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &memory{})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { w.Run(ctx); close(done) }()
		m, _ := w.join(0, 1)
		m.Leave()
		time.Sleep(defaultRetention)
		w.expect("service-0 expired 1")
		time.Sleep(2 * time.Hour)
		w.expect("")
		if len(w.bySerial) != 0 {
			t.Error("its certificate is still known")
		}
		stop()
		<-done
	})
}

func TestAFailedSaveIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := &memory{}
		w, registry := newWorld(t, ledger), prometheus.NewRegistry()
		registry.MustRegister(w.metrics.failures)
		w.join(0, 1)
		ledger.failure = errors.New("disk full")
		w.save(t.Context())
		if got := gauges(t, registry, "handfast_fleet_save_failures_total"); got[""] != 1 {
			t.Errorf("failures counted: %v", got)
		}
		ledger.failure = nil
		w.save(t.Context())
		if len(ledger.rows) != 1 {
			t.Error("what failed was not saved the next time")
		}
	})
}

func TestTwoRowsWithOneCertificate(t *testing.T) {
	ledger := &memory{}
	row := ca.AgentRow{Service: "a", ID: strings.Repeat("1", 32), Serial: serial(1), Sequence: 1, EnforcedAt: time.Unix(100, 0)}
	newer := row
	newer.ID, newer.EnforcedAt, newer.Sequence = strings.Repeat("2", 32), time.Unix(200, 0), 2
	if err := ledger.SaveAgents(t.Context(), []ca.AgentRow{row, newer}); err != nil {
		t.Fatal(err)
	}
	if list := newWorld(t, ledger).Agents(); len(list) != 1 || list[0].Sequence != 2 {
		t.Errorf("agents = %+v, want the newer one", list)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	f, err := New(t.Context(), Config{Ledger: &memory{}, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Join(Joining{ID: "x", Service: "a", Serial: serial(1), NotAfter: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if got := gauges(t, registry, "handfast_fleet_agents"); len(got) != 6 || got["current"] != 1 || got["silent"] != 0 {
		t.Errorf("agents = %v", got)
	}
}

// gauges returns a family's values by their first label; "" where there is none.
func gauges(t *testing.T, registry *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, series := range family.GetMetric() {
			label := ""
			if pairs := series.GetLabel(); len(pairs) > 0 {
				label = pairs[0].GetValue()
			}
			values[label] = series.GetGauge().GetValue() + series.GetCounter().GetValue()
		}
	}
	return values
}

func TestNewChecks(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no ledger":            {},
		"a negative retention": {Ledger: &memory{}, Retention: -1},
		"an unreadable ledger": {Ledger: &memory{failure: errors.New("locked")}},
	} {
		if _, err := New(t.Context(), cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
