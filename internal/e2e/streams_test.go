//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/handfast/handfast/internal/harness"
)

// stream is a conversation that goes on for as long as it is let.
type stream struct {
	name string
	say  func() error // says something and hears an answer
	near <-chan error // why it ended, on the caller's side
	far  <-chan error // and on the service's
}

// Long-lived streams of three kinds, each through two agents: after the operator's Enter each of
// them ends on both sides, and both agents say why. How long after that is logged: it
// is some tenths of a second, but a machine that is busy with other tests promises nothing.
func TestRevocationEndsLongLivedStreams(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	ctx := within(t)
	ca := startCA(ctx, t)
	for _, revoked := range []string{"web", "orders"} { // the one who calls, and the one who is called
		t.Run(revoked, func(t *testing.T) { revokeUnderStreams(ctx, t, ca, revoked) })
	}
}

func revokeUnderStreams(ctx context.Context, t *testing.T, ca *harness.CA, revoked string) {
	web, orders := revoked+"-web", revoked+"-orders" // each case has two services of its own
	handfast(ctx, t, ca, "service", "add", web)
	handfast(ctx, t, ca, "service", "add", orders, "--callers", web)
	farTCP, tcpEnd := tcpService(t)
	farHTTP, httpEnd := http2Service(t)
	farGRPC, grpcEnd := grpcService(t)
	inbound, outbound := []string{freeAddress(t), freeAddress(t), freeAddress(t)}, []string{freeAddress(t), freeAddress(t), freeAddress(t)}
	status := map[string]string{web: freeAddress(t), orders: freeAddress(t)}
	dir := t.TempDir()
	agents := map[string]*harness.Process{
		orders: startAgent(ctx, t, ca, orders, dir, "--status", status[orders],
			"--inbound", inbound[0]+"="+farTCP, "--inbound", inbound[1]+"="+farHTTP+",mode=h2c", "--inbound", inbound[2]+"="+farGRPC+",mode=h2c"),
		web: startAgent(ctx, t, ca, web, dir, "--status", status[web],
			"--outbound", outbound[0]+"="+orders+"@"+inbound[0], "--outbound", outbound[1]+"="+orders+"@"+inbound[1]+",mode=h2c",
			"--outbound", outbound[2]+"="+orders+"@"+inbound[2]+",mode=h2c"),
	}
	streams := []stream{tcpStream(ctx, t, outbound[0]), http2Stream(ctx, t, outbound[1]), grpcStream(ctx, t, outbound[2])}
	for i, end := range []<-chan error{tcpEnd, httpEnd, grpcEnd} {
		streams[i].far = end
		for range 3 {
			if err := streams[i].say(); err != nil {
				t.Fatalf("%s: %v", streams[i].name, err)
			}
		}
	}

	began := time.Now()
	handfast(ctx, t, ca, "revoke", "--service", revoked+"-"+revoked, "--reason", "keyCompromise", "--yes")
	for _, s := range streams {
		for side, end := range map[string]<-chan error{"caller's": s.near, "service's": s.far} {
			select {
			case err := <-end:
				t.Logf("%s: the %s side ended after %v: %v", s.name, side, time.Since(began).Round(time.Millisecond), err)
				if err == nil {
					t.Errorf("%s: the cut looks like an orderly end to the %s side", s.name, side)
				}
			case <-ctx.Done():
				t.Fatalf("%s: the %s side goes on", s.name, side)
			}
		}
	}
	for name, agent := range agents {
		eventually(ctx, t, func() error { return saysWhy(ctx, agent, status[name]) })
	}
}

// saysWhy looks for three cuts of what was revoked in an agent's log and metrics.
func saysWhy(ctx context.Context, agent *harness.Process, status string) error {
	cuts := 0
	for line := range strings.Lines(agent.Log()) {
		if strings.Contains(line, "connection cut") && strings.Contains(line, "revoked") && strings.Contains(line, "keyCompromise") {
			cuts++
		}
	}
	if cuts != 3 {
		return fmt.Errorf("%s logged %d cuts with their reason; want 3:\n%s", agent.Name, cuts, agent.Log())
	}
	metrics, err := harness.Run(ctx, nil, "curl", "-sSf", "http://"+status+"/metrics")
	if err != nil {
		return err
	}
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "handfast_proxy_connections_cut_total{") && strings.Contains(line, "revoked\"") && strings.HasSuffix(line, " 3\n") {
			return nil
		}
	}
	return fmt.Errorf("%s does not count 3 cuts in its metrics", agent.Name)
}

// tcpService answers each byte with itself.
func tcpService(t *testing.T) (address string, end <-chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	ended := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, err = io.Copy(conn, conn)
		}
		ended <- err
	}()
	return listener.Addr().String(), ended
}

func tcpStream(ctx context.Context, t *testing.T, address string) stream {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conversation("TCP", conn, conn)
}

// conversation says one byte at a time, and goes on listening in between.
func conversation(name string, to io.Writer, from io.Reader) stream {
	heard, ended := make(chan byte), make(chan error, 1)
	go func() {
		defer close(heard)
		for one := make([]byte, 1); ; {
			if _, err := io.ReadFull(from, one); errors.Is(err, io.EOF) {
				ended <- nil
				return
			} else if err != nil {
				ended <- err
				return
			}
			heard <- one[0]
		}
	}()
	return stream{name: name, near: ended, say: func() error {
		if _, err := to.Write([]byte("x")); err != nil {
			return err
		}
		if _, ok := <-heard; !ok {
			return errors.New("it has ended")
		}
		return nil
	}}
}

// http2Service answers one request for as long as it lasts.
func http2Service(t *testing.T) (address string, end <-chan error) {
	t.Helper()
	ended := make(chan error, 1)
	server := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := http.NewResponseController(w)
		var err error
		for one := make([]byte, 1); err == nil; {
			if _, err = io.ReadFull(r.Body, one); err == nil {
				_, err = w.Write(one)
				err = errors.Join(err, answer.Flush())
			}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		ended <- err
	})}
	server.Protocols.SetUnencryptedHTTP2(true)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener) //nolint:errcheck // ends with the test
	t.Cleanup(func() { _ = server.Close() })
	return listener.Addr().String(), ended
}

func http2Stream(ctx context.Context, t *testing.T, address string) stream {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	reader, writer := io.Pipe()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/", reader)
	if err != nil {
		t.Fatal(err)
	}
	go writer.Write([]byte("x")) //nolint:errcheck // the service answers when it has heard something
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if _, err := io.ReadFull(response.Body, make([]byte, 1)); err != nil || response.ProtoMajor != 2 {
		t.Fatalf("%s: %v", response.Proto, err)
	}
	return conversation("HTTP/2", writer, response.Body)
}

// grpcChat is written out by hand, so that no generated code is needed.
var grpcChat = grpc.StreamDesc{StreamName: "Chat", ServerStreams: true, ClientStreams: true}

func grpcService(t *testing.T) (address string, end <-chan error) {
	t.Helper()
	ended := make(chan error, 1)
	chat := grpcChat
	chat.Handler = func(_ any, s grpc.ServerStream) error {
		var err error
		for word := new(wrapperspb.StringValue); err == nil; {
			if err = s.RecvMsg(word); err == nil {
				err = s.SendMsg(word)
			}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		ended <- err
		return err
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "e2e.Talk", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{chat}}, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener) //nolint:errcheck // ends with the test
	t.Cleanup(server.Stop)
	return listener.Addr().String(), ended
}

func grpcStream(ctx context.Context, t *testing.T, address string) stream {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	chat, err := conn.NewStream(ctx, &grpcChat, "/e2e.Talk/Chat")
	if err != nil {
		t.Fatal(err)
	}
	heard, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(heard)
		for word := new(wrapperspb.StringValue); ; {
			if err := chat.RecvMsg(word); errors.Is(err, io.EOF) {
				ended <- nil
				return
			} else if err != nil {
				ended <- err
				return
			}
			heard <- struct{}{}
		}
	}()
	return stream{name: "gRPC", near: ended, say: func() error {
		if err := chat.SendMsg(wrapperspb.String("x")); err != nil {
			return err
		}
		if _, ok := <-heard; !ok {
			return errors.New("it has ended")
		}
		return nil
	}}
}
