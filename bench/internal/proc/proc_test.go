package proc

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const tail = " S 1 2 2 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 1 0 100 1 2"
	for _, test := range []struct {
		name, line string
		want       time.Duration
		fails      bool
	}{
		{"plain", "42 (nginx)" + tail, 1750 * time.Millisecond, false},
		{"a hostile name", "42 (a) S 9 9 (b)" + tail, 1750 * time.Millisecond, false},
		{"cut", "42 (nginx) S 1 2", 0, true},
		{"no name", "42 nginx" + tail, 0, true},
		{"no number", "42 (x) S 1 2 2 0 -1 4194560 1 2 3 4 x 25 0", 250 * time.Millisecond, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseStat([]byte(test.line))
			if (err != nil) != test.fails {
				t.Fatalf("error %v, want one: %v", err, test.fails)
			}
			if err == nil && got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestParseStatus(t *testing.T) {
	now, peak, err := parseStatus("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n")
	if err != nil || now != 1<<20 || peak != 2<<20 {
		t.Errorf("now %d, peak %d, error %v; want 1 MiB, 2 MiB, none", now, peak, err)
	}
	for _, bad := range []string{"", "VmRSS:\t1 kB\n", "VmRSS:\tmany kB\nVmHWM:\t1 kB\n"} {
		if _, _, err := parseStatus(bad); err == nil {
			t.Errorf("parseStatus(%q) succeeds", bad)
		}
	}
}

func TestOwnProcess(t *testing.T) {
	if _, err := CPU(os.Getpid()); err != nil {
		t.Error(err)
	}
	if now, peak, err := RSS(os.Getpid()); err != nil || now <= 0 || peak < now/2 {
		t.Errorf("RSS = %d, peak %d, error %v", now, peak, err)
	}
}
