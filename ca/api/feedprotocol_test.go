package api

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/internal/memorynet"
)

const anAgent = "00112233445566778899aabbccddeeff"

// feedServer answers a stream with what answer does after the hello.
func feedServer(t *testing.T, protocols []string, answer func(conn *tls.Conn, hello FeedHello)) *Client {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	memory := inMemory(s)
	s.TLS = &tls.Config{NextProtos: protocols}
	s.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
		FeedProtocol: func(_ *http.Server, conn *tls.Conn, _ http.Handler) {
			hello, err := ReadFeedHello(conn)
			if err != nil {
				t.Error(err)
				return
			}
			answer(conn, hello)
		},
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	c, err := NewClient(s.URL, &tls.Config{RootCAs: pool}, WithUserAgent("handfast-test/2 more"), WithTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	c.reach(memory)
	t.Cleanup(c.Close)
	return c
}

// inMemory makes a server that was not started listen in memory.
func inMemory(s *httptest.Server) *memorynet.Listener {
	s.Listener.Close()
	memory := memorynet.Listen()
	s.Listener = memory
	return memory
}

// reach makes a client connect there.
func (c *Client) reach(memory *memorynet.Listener) {
	c.dial = memory.Dial
	c.Reconnect()
}

// Where the protocol is not chosen the caller is told to poll, whether the server says so or says nothing.
func TestFeedNeedsItsProtocol(t *testing.T) {
	for name, protocols := range map[string][]string{"another one": {"h2", "http/1.1"}, "none": {"x-none"}} {
		c := feedServer(t, protocols, func(*tls.Conn, FeedHello) { t.Error("a stream was opened") })
		if _, err := c.Feed(t.Context(), 0, anAgent); !errors.Is(err, ErrNoStream) {
			t.Errorf("%s: %v", name, err)
		}
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", certificateOf(t))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			io.Copy(io.Discard, conn)
		}
	}()
	c, err := NewClient("https://"+listener.Addr().String(), &tls.Config{
		InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Feed(t.Context(), 0, anAgent); !errors.Is(err, ErrNoStream) {
		t.Errorf("a server that knows no ALPN: %v", err)
	}
}

// What cuts connections may be a CA that is away or a box that does not know the protocol.
func TestFeedConnectionIsCut(t *testing.T) {
	tests := map[string]func(conn net.Conn){
		"at once": func(net.Conn) {},
		"by a reset": func(conn net.Conn) {
			io.ReadFull(conn, make([]byte, 1))
			conn.(*net.TCPConn).SetLinger(0)
		},
	}
	for name, meddle := range tests {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer listener.Close()
			if conn, err := listener.Accept(); err == nil {
				meddle(conn)
				conn.Close()
			}
		}()
		c, err := NewClient("https://"+listener.Addr().String(), certificateOf(t), WithTimeout(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Feed(t.Context(), 0, anAgent); !errors.Is(err, ErrNoHandshake) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := feedServer(t, []string{FeedProtocol}, func(conn *tls.Conn, _ FeedHello) { conn.NetConn().Close() })
	if _, err := c.Feed(t.Context(), 0, anAgent); !errors.Is(err, ErrNoHandshake) {
		t.Errorf("after the handshake: %v", err)
	}
}

// certificateOf is a server's configuration without protocols.
func certificateOf(t *testing.T) *tls.Config {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	t.Cleanup(s.Close)
	return &tls.Config{Certificates: s.TLS.Certificates}
}

func TestFeedStreamOverTheNetwork(t *testing.T) {
	closed := make(chan struct{})
	c := feedServer(t, []string{FeedProtocol}, func(conn *tls.Conn, hello FeedHello) {
		defer close(closed)
		if hello != (FeedHello{Since: 5, Agent: anAgent, Version: "handfast-test/2"}) {
			t.Errorf("hello %+v", hello)
		}
		conn.Write(feed.AppendMessage(nil, feed.StatementMessage, []byte("news")))
		io.Copy(io.Discard, conn)
	})
	stream, err := c.Feed(t.Context(), 5, anAgent)
	if err != nil {
		t.Fatal(err)
	}
	message, err := stream.Next()
	if err != nil || message.Kind != feed.StatementMessage || string(message.Payload) != "news" {
		t.Errorf("%+v, %v", message, err)
	}
	next := make(chan error, 1)
	go func() {
		_, err := stream.Next()
		next <- err
	}()
	stream.Close()
	if err := <-next; err == nil {
		t.Error("Next went on after Close")
	}
	if err := stream.Ack(6); err == nil {
		t.Error("acknowledged after Close")
	}
	<-closed
}

// A refusal is an *Error of Feed itself.
func TestFeedThatIsRefused(t *testing.T) {
	c := feedServer(t, []string{FeedProtocol}, func(conn *tls.Conn, _ FeedHello) {
		conn.Write(feed.AppendMessage(nil, feed.EndMessage, []byte(`{"code":"revoked","message":"no"}`)))
	})
	_, err := c.Feed(t.Context(), 0, anAgent)
	if told, ok := errors.AsType[*Error](err); !ok || told.Code != CodeRevoked || told.Status != http.StatusForbidden {
		t.Errorf("refused: %v", err)
	}
}

// The client's timeout is for the beginning of a stream only.
func TestFeedTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := feedServer(t, []string{FeedProtocol}, func(conn *tls.Conn, _ FeedHello) {
			conn.Write(feed.AppendMessage(nil, feed.StatementMessage, []byte("news")))
			time.Sleep(time.Hour)
			conn.Write(feed.AppendMessage(nil, feed.StatementMessage, []byte("more")))
			conn.Close()
		})
		stream, err := c.Feed(t.Context(), 5, anAgent)
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		for _, want := range []string{"news", "more"} {
			if message, err := stream.Next(); err != nil || string(message.Payload) != want {
				t.Errorf("%+v, %v; want %s", message, err, want)
			}
		}
		if _, err := stream.Next(); err == nil {
			t.Error("it goes on after its end")
		}

		began := time.Now()
		c = feedServer(t, []string{FeedProtocol}, func(conn *tls.Conn, _ FeedHello) { io.Copy(io.Discard, conn) })
		if _, err := c.Feed(t.Context(), 0, anAgent); !errors.Is(err, errNoAnswer) || !errors.Is(err, ErrNoHandshake) {
			t.Errorf("the hello is not answered: %v", err)
		}
		silent := memorynet.Listen()
		c.reach(silent)
		go func() {
			conn, _ := silent.Accept()
			io.Copy(io.Discard, conn)
		}()
		if _, err := c.Feed(t.Context(), 0, anAgent); !errors.Is(err, errNoAnswer) || !errors.Is(err, ErrNoHandshake) {
			t.Errorf("the handshake is not answered: %v", err)
		}
		if took := time.Since(began); took != 2*time.Minute {
			t.Errorf("they were given up after %v", took)
		}
	})
}

// FuzzStreamMessages: whatever a stream brings, the reader ends, and an end is an error.
func FuzzStreamMessages(f *testing.F) {
	f.Add(feed.AppendMessage(feed.AppendMessage(nil, feed.StatementMessage, []byte("x")), feed.EndMessage, []byte(`{"code":"held"}`)))
	f.Add(feed.AppendMessage(nil, feed.EndMessage, nil))
	f.Add([]byte{feed.EndMessage, 0, 0, 0x40, 1})
	f.Fuzz(func(t *testing.T, octets []byte) {
		client := &Client{tls: &tls.Config{}}
		client.http.Store(client.newHTTP())
		s := &FeedStream{client: client, messages: feed.NewReader(bytes.NewReader(octets)), acks: newAckQueue(0), ended: make(chan struct{})}
		for read := 0; ; {
			message, err := s.Next()
			if err != nil {
				break
			}
			if message.Kind == feed.EndMessage {
				t.Fatal("the end is a message")
			}
			if read += len(message.Payload) + 5; read > len(octets) {
				t.Fatalf("%d octets of %d", read, len(octets))
			}
		}
		<-s.ended
		if _, err := s.acks.take(); err == nil {
			t.Fatal("acknowledgements are sent after the end")
		}
	})
}
