//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/internal/harness"
	"github.com/handfast/handfast/internal/socketdir"
)

// network is a bridge in a namespace of its own, and hosts that hang on it, each in its
// namespace too. What a host sends and receives gets lost now and then; nothing of it
// touches the machine's own network.
type network struct {
	core  string // the namespace of the bridge, where the CA runs
	hosts []string
}

const coreIP = "10.99.0.1"

// newNetwork needs root, ip and iptables.
func newNetwork(ctx context.Context, t *testing.T, hosts int, loss string) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	need(t, "ip")
	need(t, "iptables")
	n := &network{core: fmt.Sprintf("hf%d-core", os.Getpid())}
	if _, err := harness.Run(ctx, nil, "ip", "netns", "add", n.core); err != nil {
		t.Skipf("this machine allows no network namespaces: %v", err)
	}
	deleteAfter(t, n.core)
	n.do(ctx, t, n.core, "ip", "link", "set", "lo", "up")
	n.do(ctx, t, n.core, "ip", "link", "add", "br0", "type", "bridge")
	n.do(ctx, t, n.core, "ip", "addr", "add", coreIP+"/24", "dev", "br0")
	n.do(ctx, t, n.core, "ip", "link", "set", "br0", "up")
	for i := range hosts {
		n.addHost(ctx, t, i, loss)
	}
	return n
}

func (n *network) addHost(ctx context.Context, t *testing.T, i int, loss string) {
	t.Helper()
	host, port := fmt.Sprintf("hf%d-%d", os.Getpid(), i), fmt.Sprintf("p%d", i)
	run(ctx, t, "ip", "netns", "add", host)
	deleteAfter(t, host)
	n.hosts = append(n.hosts, host)
	n.do(ctx, t, n.core, "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host)
	n.do(ctx, t, n.core, "ip", "link", "set", port, "master", "br0", "up")
	n.do(ctx, t, host, "ip", "link", "set", "lo", "up")
	n.do(ctx, t, host, "ip", "addr", "add", n.ip(i)+"/24", "dev", "eth0")
	n.do(ctx, t, host, "ip", "link", "set", "eth0", "up")
	for _, chain := range []string{"INPUT", "OUTPUT"} {
		device := map[string]string{"INPUT": "-i", "OUTPUT": "-o"}[chain]
		n.do(ctx, t, host, "iptables", "-A", chain, device, "eth0", "-m", "statistic", "--mode", "random", "--probability", loss, "-j", "DROP")
	}
}

func (n *network) ip(host int) string { return fmt.Sprintf("10.99.0.%d", 10+host) }

// inside puts a command into a namespace.
func inside(namespace string, argv ...string) []string {
	return append([]string{"ip", "netns", "exec", namespace}, argv...)
}

// do skips the test where the kernel lacks what the network is made of.
func (n *network) do(ctx context.Context, t *testing.T, namespace string, argv ...string) {
	t.Helper()
	if _, err := harness.Run(ctx, nil, inside(namespace, argv...)...); err != nil {
		t.Skipf("this machine allows no such network: %v", err)
	}
}

func deleteAfter(t *testing.T, namespace string) {
	t.Helper()
	t.Cleanup(func() {
		// The test's own context has ended by now.
		if _, err := harness.Run(context.Background(), nil, "ip", "netns", "delete", namespace); err != nil {
			t.Error(err)
		}
	})
}

// enter calls f in a namespace, on a thread that is thrown away after it.
func enter(t *testing.T, namespace string, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		handle, err := os.Open("/var/run/netns/" + namespace)
		if err == nil {
			err = unix.Setns(int(handle.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// slowWay is a TCP proxy in the core that holds every byte back for delay, each way, on
// the way to target.
func (n *network) slowWay(t *testing.T, port int, target string, delay time.Duration) {
	t.Helper()
	var listener net.Listener
	enter(t, n.core, func() (err error) {
		listener, err = net.Listen("tcp4", fmt.Sprintf("%s:%d", coreIP, port))
		return err
	})
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			go n.forwardSlowly(near, target, delay)
		}
	}()
}

func (n *network) forwardSlowly(near net.Conn, target string, delay time.Duration) {
	defer near.Close() //nolint:errcheck // the other side sees it
	dialled := make(chan net.Conn)
	go func() {
		defer close(dialled)
		runtime.LockOSThread()
		handle, err := os.Open("/var/run/netns/" + n.core)
		if err != nil || unix.Setns(int(handle.Fd()), unix.CLONE_NEWNET) != nil {
			return
		}
		if far, err := net.Dial("tcp4", target); err == nil {
			dialled <- far
		}
	}()
	far, ok := <-dialled
	if !ok {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { copySlowly(far, near, delay) })
	both.Go(func() { copySlowly(near, far, delay) })
	both.Wait()
}

// copySlowly delays without narrowing: what comes meanwhile is on its way too.
func copySlowly(to, from net.Conn, delay time.Duration) {
	type piece struct {
		due  time.Time
		data []byte
	}
	way := make(chan piece, 1024)
	go func() {
		defer close(way)
		for {
			buffer := make([]byte, 16<<10)
			count, err := from.Read(buffer)
			way <- piece{time.Now().Add(delay), buffer[:count]}
			if err != nil {
				return
			}
		}
	}()
	for p := range way {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	_ = to.Close()
	_ = from.Close()
	for range way { //nolint:revive // the reader must not hang
	}
}

// caInside starts an authority in the core, which agents reach 50 ms away.
func (n *network) caInside(ctx context.Context, t *testing.T) *harness.CA {
	t.Helper()
	ca := &harness.CA{
		Bin: binaries(t), Dir: filepath.Join(t.TempDir(), "ca"), API: coreIP + ":9443", Public: coreIP + ":9080",
		Wrap: inside(n.core),
	}
	run(ctx, t, inside(n.core, filepath.Join(ca.Bin, "handfast-ca"), "init", "--dir", ca.Dir,
		"--trust-domain", trustDomain, "--address", ca.API, "--public-address", ca.Public)...)
	serve(ctx, t, ca)
	n.slowWay(t, 9444, ca.API, 50*time.Millisecond)
	for _, host := range n.hosts {
		n.do(ctx, t, host, "iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", coreIP, "--dport", "9443", "-j", "DNAT", "--to-destination", coreIP+":9444")
	}
	return ca
}

// agentOn starts an agent on a host of the network.
func (n *network) agentOn(ctx context.Context, t *testing.T, ca *harness.CA, host int, service, dir string, args ...string) *harness.Process {
	t.Helper()
	token := filepath.Join(dir, service+".token")
	if err := ca.Token(ctx, service, token); err != nil {
		t.Fatal(err)
	}
	argv := inside(n.hosts[host], append([]string{filepath.Join(ca.Bin, "handfast-agent"), "run", "--state", filepath.Join(dir, service), "--token-file", token}, args...)...)
	agent, err := harness.Start("agent of "+service, nil, argv...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.Stop() })
	if _, err := agent.WaitLog(ctx, 0, "ready"); err != nil {
		t.Fatal(err)
	}
	return agent
}

// echo is a service on a Unix socket, which every namespace can reach.
func echo(t *testing.T, path string) {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
		}
	}()
}

// Eight agents with real binaries, each on a host of its own, behind a way that loses one
// packet in a hundred and takes 50 ms: `revoke --wait` ends with a receipt of all of
// them, and the connections that were open are cut on both sides.
func TestRevocationReachesHostsBehindABadNetwork(t *testing.T) {
	t.Parallel()
	const peers = 7
	ctx := within(t)
	n := newNetwork(ctx, t, peers+1, "0.01")
	ca := n.caInside(ctx, t)
	dir := t.TempDir()
	handfast(ctx, t, ca, "service", "add", "web")
	sockets := socketdir.New(t)
	target := filepath.Join(sockets, "echo.sock")
	echo(t, target)
	var outbound, doors []string
	for i := 1; i <= peers; i++ {
		name := fmt.Sprintf("peer%d", i)
		handfast(ctx, t, ca, "service", "add", name, "--callers", "web")
		listen := n.ip(i) + ":8443"
		n.agentOn(ctx, t, ca, i, name, dir, "--inbound", listen+"=unix:"+target)
		doors = append(doors, filepath.Join(sockets, name+".sock"))
		outbound = append(outbound, "--outbound", "unix:"+doors[i-1]+"="+name+"@"+listen)
	}
	n.agentOn(ctx, t, ca, 0, "web", dir, outbound...)
	var open []net.Conn
	for _, door := range doors {
		open = append(open, talk(ctx, t, door))
	}

	began := time.Now()
	out := handfast(ctx, t, ca, "revoke", "--service", "web", "--reason", "keyCompromise", "--yes", "--wait", "-o", "json")
	var receipt struct {
		Complete bool         `json:"complete"`
		Progress api.Progress `json:"progress"`
	}
	if err := json.Unmarshal([]byte(out), &receipt); err != nil {
		t.Fatal(err)
	}
	if !receipt.Complete || receipt.Progress.Enforcing < peers {
		t.Errorf("the receipt says %s", out)
	}
	for i, conn := range open {
		awaitEnd(t, conn, doors[i])
	}
	t.Logf("%d agents enforce it; median %.0f ms, slowest %.0f ms; command and cuts took %v",
		receipt.Progress.Enforcing, receipt.Progress.MedianMS, receipt.Progress.SlowestMS, time.Since(began))
}

// talk opens a connection through two agents and proves that it works.
func talk(ctx context.Context, t *testing.T, door string) net.Conn {
	t.Helper()
	var conn net.Conn
	eventually(ctx, t, func() error {
		c, err := net.Dial("unix", door)
		if err != nil {
			return err
		}
		if err := ping(c); err != nil {
			return errors.Join(err, c.Close())
		}
		conn = c
		return nil
	})
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func ping(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(stepLimit)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("ping")); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 4))
	return err
}

// awaitEnd waits until the other side has ended a connection.
func awaitEnd(t *testing.T, conn net.Conn, name string) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(stepLimit)); err != nil {
		t.Fatal(err)
	}
	_, err := conn.Read(make([]byte, 1))
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: the connection of a revoked service still lives (%v)", name, err)
	}
}
