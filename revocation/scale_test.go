package revocation

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
)

// endless is a log of n revocations that are made up when they are read, so that the memory
// is the publisher's alone, followed by what is appended to it.
type endless struct {
	memoryLog
	n      uint64
	issuer string
}

func (l *endless) Entries(ctx context.Context, after uint64, limit int) ([]Entry, error) {
	if after >= l.n {
		return l.memoryLog.Entries(ctx, after-l.n, limit)
	}
	entries := make([]Entry, 0, limit)
	for sequence := after + 1; sequence <= l.n && len(entries) < limit; sequence++ {
		entries = append(entries, Entry{
			Sequence: sequence, Kind: Revoked, Issuer: l.issuer, Serial: l.serial(sequence),
			Reason: certs.KeyCompromise, At: testStart, NotAfter: testStart.Add(24 * time.Hour),
		})
		if sequence%100 == 0 { // some of them can be released
			entries[len(entries)-1].Kind = Held
		}
	}
	return entries, nil
}

// serial is as long as real ones are, and as random.
func (l *endless) serial(sequence uint64) certs.Serial {
	random := rand.NewPCG(sequence, 1)
	octets := []byte{0x40}
	for range 2 {
		octets = binary.BigEndian.AppendUint64(octets, random.Uint64())
	}
	serial, err := certs.SerialFromBytes(octets)
	if err != nil {
		panic(err)
	}
	return serial
}

func (l *endless) append(e Entry) (uint64, error) {
	sequence, err := l.memoryLog.append(e)
	for i := range l.entries {
		l.entries[i].Sequence = l.n + uint64(i) + 1
	}
	return l.n + sequence, err
}

func (l *endless) AppendPublished(_ context.Context, issuer string, at time.Time) (uint64, error) {
	return l.append(Entry{Kind: Published, Issuer: issuer, At: at})
}

// scaleOf and shardsOf name, in the environment, how many certificates the child of a test is to revoke,
// and in how many shards.
const (
	scaleOf  = "HANDFAST_TEST_REVOKED"
	shardsOf = "HANDFAST_TEST_SHARDS"
)

// A million revoked certificates take less than 150 MB, also while new lists are made, with
// everything else that the process has, and with shards as without them. What each publication costs is logged: its
// limit is 50 ms of CPU, and belongs to a benchmark on a quiet machine.
func TestAMillionRevokedStayLean(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("takes seconds, and its figure is none under the race detector")
	}
	if os.Getenv(scaleOf) != "" {
		t.Skip("runs in the child")
	}
	for _, shards := range []string{"0", "64"} {
		command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestScaleChild$", "-test.v")
		command.Env = append(os.Environ(), scaleOf+"=1000000", shardsOf+"="+shards)
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("%s shards: %s", shards, out)
		_, after, _ := strings.Cut(string(out), "peak ")
		megabytes, _, _ := strings.Cut(after, " MB")
		if peak, err := strconv.Atoi(megabytes); err != nil || peak >= 150 {
			t.Errorf("%s shards: peak of %q MB (%v), want less than 150", shards, megabytes, err)
		}
	}
}

// TestScaleChild is the other process of TestAMillionRevokedStayLean; by hand it measures
// other scales.
func TestScaleChild(t *testing.T) {
	n, err := strconv.ParseUint(os.Getenv(scaleOf), 10, 64)
	if err != nil {
		t.Skip("is started by TestAMillionRevokedStayLean")
	}
	shards, _ := strconv.Atoi(os.Getenv(shardsOf)) // none by hand
	ca, clock := newTestCA(t, "Example", testStart), newTestClock()
	log := &endless{memoryLog: *newMemoryLog(), n: n, issuer: ca.ID()}
	p, err := Open(context.Background(), Config{Log: log, Issuers: []CRLSigner{ca}, BaseURL: testBase, Shards: shards, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("opened with %d MB\n", peakMemory(t))
	for _, change := range []struct {
		name   string
		kind   Kind
		serial func(i uint64) certs.Serial
	}{
		{"a revocation", Revoked, func(i uint64) certs.Serial { return log.serial(n + 1 + i) }},
		{"a hold", Held, func(i uint64) certs.Serial { return log.serial(2*n + 1 + i) }},
		{"a release", Released, func(i uint64) certs.Serial { return log.serial(100 * (i + 1)) }},
		{"a revocation of what was held", Revoked, func(i uint64) certs.Serial { return log.serial(100 * (i + 21)) }},
	} {
		var costs []time.Duration
		for i := range uint64(10) {
			clock.advance(time.Second)
			if _, err := log.append(Entry{
				Kind: change.kind, Issuer: ca.ID(), Serial: change.serial(i), Reason: certs.Superseded, At: clock.Now(), NotAfter: clock.Now().Add(time.Hour),
			}); err != nil {
				t.Fatal(err)
			}
			before := processorTime(t)
			if err := p.publish(context.Background(), p.byID[ca.ID()], false); err != nil {
				t.Fatal(err)
			}
			costs = append(costs, processorTime(t)-before)
		}
		slices.Sort(costs)
		fmt.Printf("CRL after %s: median %v, most %v of CPU\n", change.name, costs[len(costs)/2], costs[len(costs)-1])
	}
	fmt.Printf("%d octets; peak %d MB\n", p.CRLs()[0].Size(), peakMemory(t))
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// peakMemory is the most resident memory that the process had, in megabytes. Rusage would
// count what the parent had when it started this process.
func peakMemory(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skipf("this system does not say: %v", err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	line, _, _ := strings.Cut(after, " kB")
	kilobytes, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes * 1024 / 1e6
}
