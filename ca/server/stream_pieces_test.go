package server

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/fleet"
)

// trickle writes a record's octets one after the other, each in a segment of its own as far as the system
// pleases, so that the server finds parts of a record, too.
type trickle struct{ net.Conn }

func (c trickle) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// dialTrickling is dial over a connection that says everything in pieces, the handshake included.
func (f *follows) dialTrickling(path string, octets []byte) *tls.Conn {
	f.t.Helper()
	raw, err := net.Dial("tcp", strings.TrimPrefix(f.api, "https://"))
	if err != nil {
		f.t.Fatal(err)
	}
	raw.(*net.TCPConn).SetNoDelay(true)
	config := f.tls(path)
	config.NextProtos, config.ServerName = []string{api.FeedProtocol}, "127.0.0.1"
	conn := tls.Client(trickle{raw}, config)
	f.t.Cleanup(func() { raw.Close() })
	if _, err := conn.Write(octets); err != nil {
		f.t.Fatal(err)
	}
	return conn
}

// Acknowledgements count, however they are cut: into octets on the wire, several in a record, one over several
// records, with the hello or after it.
func TestAcknowledgementsInPieces(t *testing.T) {
	f := startFeed(t, nil)
	ack := func(sequence uint64) []byte { return binary.BigEndian.AppendUint64(nil, sequence) }
	reaches := func(agent string, sequence uint64) {
		t.Helper()
		eventually(t, fmt.Sprint("it enforces ", sequence), func() bool { return f.agent(agent).Sequence == sequence })
	}
	slowly := f.dialTrickling("web", append(hello(t, 0, agentA), ack(3)...))
	reaches(agentA, 3)
	slowly.Write(append(ack(4), ack(5)...))
	reaches(agentA, 5)
	last := ack(6)
	for i := range last {
		slowly.Write(last[i : i+1]) // a record each
	}
	reaches(agentA, 6)
	together := f.dial("shop", append(append(hello(t, 0, agentB), ack(1)...), ack(7)...))
	reaches(agentB, 7)
	together.Write(ack(api.AckStops))
	eventually(t, "it has stopped", func() bool { return f.agent(agentB).State == fleet.Stopped })
}

// Half a record, and then nothing: nobody is held up, and the end of the connection is noticed in the middle of it.
func TestHalfARecord(t *testing.T) {
	f := startFeed(t, nil)
	conn := f.dial("web", hello(t, 7, agentA))
	eventually(t, "it is there", func() bool { return f.agent(agentA).State == fleet.Current })
	conn.NetConn().Write([]byte{23, 3, 3, 0, 25, 1, 2, 3})
	other := f.open(f.client("shop"), agentB)
	f.expect(other, 7)
	f.feed.beat(8)
	f.expect(other, 8)
	conn.NetConn().Close()
	eventually(t, "it is gone", func() bool { return f.agent(agentA).State == fleet.Silent })
}

// Octets that are no record end a stream, at once.
func TestForgedRecord(t *testing.T) {
	f := startFeed(t, nil)
	conn := f.dial("web", hello(t, 7, agentA))
	eventually(t, "it is there", func() bool { return f.agent(agentA).State == fleet.Current })
	conn.NetConn().Write(append([]byte{23, 3, 3, 0, 25}, make([]byte, 25)...))
	eventually(t, "it is gone", func() bool { return f.agent(agentA).State == fleet.Silent })
}

// Agents that come and go by the hundred leave no goroutine and no descriptor, whether they say farewell or not.
func TestNothingStaysOfStreams(t *testing.T) {
	f := startFeed(t, nil)
	kept := f.open(f.client("keeps"), strings.Repeat("9", api.AgentIDSize))
	f.expect(kept, 7)
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return 0 // counted on Linux only
		}
		return len(list)
	}
	const others = 20 // what else may have begun meanwhile; of each kind of stream there are 50
	opened, running := descriptors()+others, runtime.NumGoroutine()+others
	var group sync.WaitGroup
	for worker := range 4 {
		certificate := f.pki.issue(t, fmt.Sprint("agent-", worker))
		group.Go(func() {
			for i := range 50 {
				config := f.tls("")
				config.Certificates, config.NextProtos = []tls.Certificate{certificate}, []string{api.FeedProtocol}
				conn, err := tls.Dial("tcp", strings.TrimPrefix(f.api, "https://"), config)
				if err != nil {
					t.Error(err)
					return
				}
				said, err := api.FeedHello{Agent: fmt.Sprintf("%032x", worker)}.Append(nil)
				if err != nil {
					t.Error(err)
				}
				switch i % 4 {
				case 1:
					said = said[:5]
				case 2:
					said = binary.BigEndian.AppendUint64(said, api.AckStops)
				case 3:
					said = binary.BigEndian.AppendUint64(said, 99) // was not sent
				}
				conn.Write(said)
				if i%2 == 0 {
					conn.Read(make([]byte, 1))
					conn.Close()
				} else {
					conn.NetConn().Close()
				}
			}
		})
	}
	group.Wait()
	eventually(t, "one stream is left", func() bool {
		return f.metric("feed_streams") == 1 && f.metric("requests_in_flight") == 1 && descriptors() <= opened && runtime.NumGoroutine() <= running
	})
	if err := kept.Ack(7); err != nil {
		t.Error(err)
	}
	eventually(t, "it is heard", func() bool { return f.agent(strings.Repeat("9", api.AgentIDSize)).Sequence == 7 })
}

// A handshake that is never finished ends in time, and at the server's end; who forgets TLS is told.
func TestHandshakesThatFail(t *testing.T) {
	f := startFeed(t, func(cfg *Config) { cfg.Limits.ReadHeader = time.Minute })
	address := strings.TrimPrefix(f.api, "https://")
	plain, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	fmt.Fprint(plain, "GET /v1/health HTTP/1.1\r\nHost: ca\r\n\r\n")
	answer := make([]byte, 12)
	if _, err := plain.Read(answer); err != nil || string(answer) != "HTTP/1.0 400" {
		t.Errorf("plain HTTP is answered %q, %v", answer, err)
	}
	silent, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	health := f.client("")
	if err := health.Health(t.Context()); err != nil { // taken in after the silent one
		t.Error(err)
	}
	f.stop()
	if _, err := silent.Read(answer); err == nil {
		t.Error("a handshake goes on after the end")
	}
}
