package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/gob"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fleetFile names what the agents' process of BenchmarkFeed needs; set in that process only.
const fleetFile = "HANDFAST_BENCH_FLEET"

// benchFleet is handed from the CA's process to the agents'.
type benchFleet struct {
	URL    string
	Idle   string // takes TLS connections, and keeps them
	Root   []byte
	Key    []byte
	Leaves [][]byte
}

// BenchmarkFeed has one revocation delivered to, and acknowledged by, each of many agents: real
// clients over loopback, in a process of their own, so that the CPU time is the server's alone.
//
//	µs/agent    CPU of the server process for one statement delivered and acknowledged
//	µs/beat     the same for a heartbeat, which is not acknowledged
//	KB/tls      memory of an idle TLS connection that nobody reads from (heap and stacks)
//	KB/stream   memory of a stream in all
//	ms/last     until the last agent has acknowledged
func BenchmarkFeed(b *testing.B) {
	for _, agents := range []int{1000, 9000} {
		b.Run(strconv.Itoa(agents), func(b *testing.B) { benchFeed(b, agents) })
	}
}

func benchFeed(b *testing.B, agents int) {
	f := startFeed(b, nil)
	path := b.TempDir() + "/fleet"
	idle := keepTLS(b, f)
	writeFleet(b, f, path, idle.Addr().String(), agents)
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
	idle.drop()
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
	b.ReportMetric(float64(heartbeats(b, f).Microseconds())/float64(agents), "µs/beat")
	b.ReportMetric(float64(connected-before)/float64(agents)/1024, "KB/tls")
	b.ReportMetric(float64(streaming-before)/float64(agents)/1024, "KB/stream")
	b.ReportMetric(float64(last.Microseconds())/1000, "ms/last")
	b.ReportMetric(0, "ns/op")
}

// heartbeats returns what one costs for all agents. That it has arrived shows when nothing is done any more.
func heartbeats(b *testing.B, f *follows) time.Duration {
	b.Helper()
	const beats = 5
	before := cpuTime()
	for range beats {
		f.feed.beat(f.feed.Sequence())
		for busy := time.Duration(0); cpuTime()-busy > time.Millisecond; time.Sleep(50 * time.Millisecond) {
			busy = cpuTime()
		}
	}
	return (cpuTime() - before) / beats
}

// kept are TLS connections that nobody reads from.
type kept struct {
	net.Listener
	mu    sync.Mutex
	conns []*tls.Conn
}

func keepTLS(b *testing.B, f *follows) *kept {
	b.Helper()
	config := f.server.TLSConfig()
	config.NextProtos = nil
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		b.Fatal(err)
	}
	k := &kept{Listener: listener}
	b.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go k.keep(conn.(*tls.Conn))
		}
	}()
	return k
}

func (k *kept) keep(conn *tls.Conn) {
	var octet [1]byte
	if _, err := conn.Read(octet[:]); err == nil {
		k.mu.Lock()
		k.conns = append(k.conns, conn)
		k.mu.Unlock()
		conn.Write(octet[:])
	}
}

func (k *kept) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, conn := range k.conns {
		conn.NetConn().Close()
	}
	k.conns = nil
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

func writeFleet(b *testing.B, f *follows, path, idle string, agents int) {
	b.Helper()
	fleet := benchFleet{URL: f.api, Idle: idle, Root: f.pki.root.Raw}
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
