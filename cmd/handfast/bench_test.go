package main

import (
	"testing"
	"time"
)

func TestProgressBar(t *testing.T) {
	tests := []struct {
		done, all int
		elapsed   time.Duration
		want      string
	}{
		{0, 200, 0, "issuing [..............................] 0/200"},
		{100, 200, 900 * time.Millisecond, "issuing [###############...............] 100/200"},
		{200, 200, 2 * time.Second, "issuing [##############################] 200/200  100/s"},
	}
	for _, tt := range tests {
		if got := progressBar("issuing", tt.done, tt.all, tt.elapsed); got != tt.want {
			t.Errorf("%d of %d: %q; want %q", tt.done, tt.all, got, tt.want)
		}
	}
}
