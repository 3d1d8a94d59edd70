package wire_test

import (
	"io"
	"net"
	"testing"

	"github.com/handfast/handfast/bench/internal/wire"
)

func TestServiceDoesWhatIsAsked(t *testing.T) {
	client, server := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- wire.Answer(server) }()
	buffer := wire.NewBuffer()
	for range 2 { // each leaves the connection ready for the next
		if err := wire.Down(client, buffer, 100_001); err != nil {
			t.Fatal(err)
		}
		if err := wire.Up(client, buffer, 100_001); err != nil {
			t.Fatal(err)
		}
		if err := wire.Echo(client, buffer, []byte("ping")); err != nil {
			t.Fatal(err)
		}
		if string(buffer[:4]) != "ping" {
			t.Fatalf("echo came back as %q", buffer[:4])
		}
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the service ended with %v, want nil at the client's end", err)
	}
}

func TestServiceRefusesWhatItDoesNotKnow(t *testing.T) {
	client, server := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- wire.Answer(server) }()
	if _, err := client.Write([]byte("GET / HTT")); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || err == io.EOF {
		t.Errorf("the service ended with %v, want a refusal", err)
	}
}
