// Package stats condenses repeated measurements into the few numbers that are printed.
package stats

import (
	"math"
	"slices"
	"time"
)

// Summary is what repeated rounds of one measurement came to.
type Summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Summarize condenses one value a round. Without values everything is NaN.
func Summarize(values []float64) Summary {
	if len(values) == 0 {
		return Summary{math.NaN(), math.NaN(), math.NaN()}
	}
	return Summary{Median: Median(values), Min: slices.Min(values), Max: slices.Max(values)}
}

// Spread is the distance from the lowest to the highest round, as a share of the median:
// how much to believe a difference of that size.
func (s Summary) Spread() float64 {
	if s.Median == 0 {
		return 0
	}
	return (s.Max - s.Min) / math.Abs(s.Median)
}

// Median returns the middle value, the mean of the two middle ones where their number is
// even, and NaN of nothing. It leaves values as they are.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return sorted[middle-1]/2 + sorted[middle]/2
}

// Percentile returns the smallest latency that at least the share p (0 to 1) of all does
// not exceed: the nearest rank, so always one that was measured. Of nothing it is 0.
func Percentile(latencies []time.Duration, p float64) time.Duration {
	if len(latencies) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(latencies))
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Ratios divides a by b round by round; a round that only one of them has is left out.
func Ratios(a, b []float64) []float64 {
	n := min(len(a), len(b))
	ratios := make([]float64, 0, n)
	for i := range n {
		if b[i] != 0 {
			ratios = append(ratios, a[i]/b[i])
		}
	}
	return ratios
}
