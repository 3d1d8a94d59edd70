package issuer

import (
	"testing"
	"time"
)

func TestRenewAt(t *testing.T) {
	issued := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		name       string
		renewAfter time.Duration
		life       time.Duration // from issuance
		want       time.Duration // after issuance
	}{
		{"two thirds of the validity, with its backdate", 0, 59 * time.Minute, 39 * time.Minute},
		{"as the profile says", 5 * time.Second, 59 * time.Minute, 5 * time.Second},
		{"never later than two thirds of a life that was cut short", 30 * time.Minute, 5 * time.Minute, 3 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &Profile{config: ProfileConfig{RenewAfter: tt.renewAfter}}
			got := p.RenewAt(issued, issued.Add(-time.Minute), issued.Add(tt.life))
			if want := issued.Add(tt.want); !got.Equal(want) {
				t.Errorf("RenewAt = %s; want %s", got, want)
			}
		})
	}
}

func TestRenewAfterIsWithinTheLifetime(t *testing.T) {
	for _, bad := range []time.Duration{-time.Second, time.Hour, 1500 * time.Millisecond} {
		config := ServiceDefault()
		config.TrustDomain = mustTrustDomain(t, "prod.example.org")
		config.RenewAfter = bad
		if _, err := config.withDefaults(); err == nil {
			t.Errorf("renew_after of %s with a lifetime of %s is accepted", bad, config.Lifetime)
		}
	}
}
