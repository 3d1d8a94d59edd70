package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/gob"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
)

// fleetFile names what the agents' process of BenchmarkFeed needs; set in that process only.
const fleetFile = "HANDFAST_BENCH_FLEET"

// benchFleet is handed from the CA's process to the agents'.
type benchFleet struct {
	URL    string
	Root   []byte
	Key    []byte
	Leaves [][]byte
}

// BenchmarkFeed has one revocation delivered to, and acknowledged by, each of many agents: real
// clients over loopback, in a process of their own, so that the CPU time is the server's alone.
//
//	µs/agent    CPU of the server process for one statement delivered and acknowledged
//	KB/conn     memory of an idle connection (heap and stacks)
//	KB/stream   memory that the open stream adds to it
//	ms/last     until the last agent has acknowledged
func BenchmarkFeed(b *testing.B) {
	for _, agents := range []int{1000, 9000} {
		b.Run(strconv.Itoa(agents), func(b *testing.B) { benchFeed(b, agents) })
	}
}

func benchFeed(b *testing.B, agents int) {
	f := startFeed(b, nil)
	path := b.TempDir() + "/fleet"
	writeFleet(b, f, path, agents)
	before := memory()
	child := exec.Command(os.Args[0], "-test.run=^TestFeedAgents$", "-test.v")
	child.Env = append(os.Environ(), fleetFile+"="+path)
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	defer child.Wait() //nolint:errcheck // what failed shows in the figures' absence
	defer stdin.Close()
	lines := bufio.NewScanner(stdout)
	expectLine(b, lines, "connected")
	connected := memory()
	io.WriteString(stdin, "go\n")
	expectLine(b, lines, "streaming")
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	f.fleet.Await(ctx, 7)
	streaming := memory()

	sequence, cpu, last := uint64(7), cpuTime(), time.Duration(0)
	for b.Loop() {
		sequence++
		began := time.Now()
		f.fleet.Note(sequence, began)
		f.feed.beat(sequence)
		f.fleet.Await(ctx, sequence)
		last = max(last, time.Since(began))
	}
	cpu = cpuTime() - cpu
	if p := f.fleet.Progress(sequence); p.Enforcing != agents {
		b.Fatalf("%d of %d agents", p.Enforcing, agents)
	}
	b.ReportMetric(float64(cpu.Microseconds())/float64(b.N)/float64(agents), "µs/agent")
	b.ReportMetric(float64(connected-before)/float64(agents)/1024, "KB/conn")
	b.ReportMetric(float64(streaming-connected)/float64(agents)/1024, "KB/stream")
	b.ReportMetric(float64(last.Microseconds())/1000, "ms/last")
	b.ReportMetric(0, "ns/op")
}

func expectLine(b *testing.B, lines *bufio.Scanner, want string) {
	b.Helper()
	for lines.Scan() {
		if strings.Contains(lines.Text(), want) {
			return
		}
	}
	b.Fatalf("the agents' process ended without %q", want)
}

func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func writeFleet(b *testing.B, f *follows, path string, agents int) {
	b.Helper()
	fleet := benchFleet{URL: f.api, Root: f.pki.root.Raw}
	key, err := x509.MarshalPKCS8PrivateKey(f.pki.key)
	if err != nil {
		b.Fatal(err)
	}
	fleet.Key = key
	for i := range agents {
		fleet.Leaves = append(fleet.Leaves, f.pki.issueFor(b, "service-"+strconv.Itoa(i), f.pki.key).Certificate[0])
	}
	file, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	if err := gob.NewEncoder(file).Encode(fleet); err != nil {
		b.Fatal(err)
	}
	if err := file.Close(); err != nil {
		b.Fatal(err)
	}
}

// TestFeedAgents is the agents' process of BenchmarkFeed.
func TestFeedAgents(t *testing.T) {
	path := os.Getenv(fleetFile)
	if path == "" {
		t.Skip("only BenchmarkFeed starts it")
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var fleet benchFleet
	if err := gob.NewDecoder(file).Decode(&fleet); err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(fleet.Key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(fleet.Root)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	clients := make([]*api.Client, len(fleet.Leaves))
	each(len(clients), func(i int) {
		config := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{{Certificate: [][]byte{fleet.Leaves[i]}, PrivateKey: key}}}
		if clients[i], err = api.NewClient(fleet.URL, config); err != nil {
			t.Error(err)
			return
		}
		if _, err := clients[i].RevocationOf(t.Context(), "aabb", "0b"); err != nil {
			t.Error(err)
		}
	})
	fmt.Println("connected")
	in := bufio.NewReader(os.Stdin)
	in.ReadString('\n')
	streams := make([]*api.FeedStream, len(clients))
	each(len(clients), func(i int) {
		var err error
		if streams[i], err = clients[i].Feed(t.Context(), 0, hex.EncodeToString(fmt.Appendf(nil, "%016d", i))); err != nil {
			t.Error(err)
			return
		}
		go acknowledge(streams[i])
	})
	fmt.Println("streaming")
	in.ReadString('\n') // until the CA's process closes it
}

func acknowledge(stream *api.FeedStream) {
	for {
		message, err := stream.Next()
		if err != nil {
			return
		}
		var sequence uint64
		for _, octet := range message.Payload {
			sequence = sequence<<8 | uint64(octet)
		}
		stream.Ack(sequence)
	}
}

// each calls do for 0 to n-1, some at a time.
func each(n int, do func(i int)) {
	var group sync.WaitGroup
	next := make(chan int)
	for range 16 {
		group.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	group.Wait()
}
