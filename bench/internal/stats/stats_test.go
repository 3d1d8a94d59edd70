package stats_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/handfast/handfast/bench/internal/stats"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		name   string
		values []float64
		want   float64
	}{
		{"one", []float64{7}, 7},
		{"odd, unsorted", []float64{9, 1, 5}, 5},
		{"even", []float64{4, 1, 3, 2}, 2.5},
		{"an outlier does not move it", []float64{1, 2, 1e9}, 2},
		{"no overflow between large values", []float64{math.MaxFloat64, math.MaxFloat64}, math.MaxFloat64},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := slices.Clone(test.values)
			if got := stats.Median(test.values); got != test.want {
				t.Errorf("Median(%v) = %v, want %v", test.values, got, test.want)
			}
			if !slices.Equal(before, test.values) {
				t.Errorf("Median changed its argument to %v", test.values)
			}
		})
	}
	if got := stats.Median(nil); !math.IsNaN(got) {
		t.Errorf("Median of nothing = %v, want NaN", got)
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[len(hundred)-1-i] = time.Duration(i + 1)
	}
	for _, test := range []struct {
		name      string
		latencies []time.Duration
		p         float64
		want      time.Duration
	}{
		{"median of a hundred", hundred, 0.50, 50},
		{"99 of a hundred", hundred, 0.99, 99},
		{"all", hundred, 1, 100},
		{"none of them is the smallest", hundred, 0, 1},
		{"99 of three is the largest", []time.Duration{3, 1, 2}, 0.99, 3},
		{"nothing", nil, 0.5, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := stats.Percentile(test.latencies, test.p); got != test.want {
				t.Errorf("Percentile(%v) = %v, want %v", test.p, got, test.want)
			}
		})
	}
}

func TestSummarize(t *testing.T) {
	got := stats.Summarize([]float64{10, 8, 13})
	if want := (stats.Summary{Median: 10, Min: 8, Max: 13}); got != want {
		t.Errorf("Summarize = %+v, want %+v", got, want)
	}
	if got.Spread() != 0.5 {
		t.Errorf("Spread = %v, want 0.5", got.Spread())
	}
	if spread := (stats.Summary{}).Spread(); spread != 0 {
		t.Errorf("Spread around zero = %v, want 0", spread)
	}
	if empty := stats.Summarize(nil); !math.IsNaN(empty.Median) {
		t.Errorf("Summarize of nothing = %+v, want NaN", empty)
	}
}

func TestRatios(t *testing.T) {
	got := stats.Ratios([]float64{1, 6, 5, 9}, []float64{2, 3, 0})
	if want := []float64{0.5, 2}; !slices.Equal(got, want) {
		t.Errorf("Ratios = %v, want %v", got, want)
	}
}
