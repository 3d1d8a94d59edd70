package server

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/gob"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/handfast/handfast/ca/api"
)

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
	clients, idle := make([]*api.Client, len(fleet.Leaves)), make([]*tls.Conn, len(fleet.Leaves))
	each(len(clients), func(i int) {
		config := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{{Certificate: [][]byte{fleet.Leaves[i]}, PrivateKey: key}}}
		if clients[i], err = api.NewClient(fleet.URL, config); err != nil {
			t.Error(err)
			return
		}
		conn, err := tls.Dial("tcp", fleet.Idle, config)
		if err != nil {
			t.Error(err)
			return
		}
		idle[i] = conn
		octet := []byte{1}
		conn.Write(octet)
		io.ReadFull(conn, octet)
	})
	fmt.Println("connected")
	in := bufio.NewReader(os.Stdin)
	in.ReadString('\n')
	for _, conn := range idle {
		conn.Close()
	}
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
	for told := uint64(0); ; {
		message, err := stream.Next()
		if err != nil {
			return
		}
		var sequence uint64
		for _, octet := range message.Payload {
			sequence = sequence<<8 | uint64(octet)
		}
		if sequence > told {
			told = sequence
			stream.Ack(sequence)
		}
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
