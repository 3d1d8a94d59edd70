package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/handfast/handfast/certs"
)

// echoService is written out by hand, so that no generated code is needed.
var echoService = grpc.ServiceDesc{
	ServiceName: "test.Echo", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Say", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.StringValue)
		if err := decode(in); err != nil {
			return nil, err
		}
		if in.Value == "fail" {
			grpc.SetTrailer(ctx, metadata.Pairs("detail", "from the trailer"))
			return nil, status.Error(codes.FailedPrecondition, "as asked")
		}
		incoming, _ := metadata.FromIncomingContext(ctx)
		return wrapperspb.String(in.Value + " from " + strings.Join(incoming["x-forwarded-client-cert"], "|")), nil
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Chat", ServerStreams: true, ClientStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
		for {
			in := new(wrapperspb.StringValue)
			if err := stream.RecvMsg(in); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := stream.SendMsg(wrapperspb.String("re: " + in.Value)); err != nil {
				return err
			}
		}
	}}},
}

func grpcBackend(t *testing.T, options ...grpc.ServerOption) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	server.RegisterService(&echoService, nil)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func TestGRPCThroughTwoProxies(t *testing.T) {
	for _, mode := range []Mode{ModeTCP, ModeH2C} { // with and without ALPN between the agents
		t.Run("outbound "+string(mode), func(t *testing.T) {
			w := newWorld(t)
			in := w.serveInbound(t, grpcBackend(t), withMode(ModeH2C))
			out := w.serveOutbound(t, func(cfg *Config) { cfg.Outbound[0].Mode = mode }, in.inboundAddr())
			conn, err := grpc.NewClient(out.outboundAddr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			checkEcho(t, conn, "URI="+w.web.String())
		})
	}
}

// A gRPC server that does mutual TLS by itself insists on ALPN h2.
func TestGRPCToAServerThatUsesCerts(t *testing.T) {
	w := newWorld(t)
	credential := credentials.NewTLS(certs.ServerConfig(w.ordersSrc, certs.AllowPolicy(w.ordersSrc)))
	server := grpcBackend(t, grpc.Creds(credential))
	out := w.serveOutbound(t, func(cfg *Config) { cfg.Outbound[0].Mode = ModeH2C }, server)
	conn, err := grpc.NewClient(out.outboundAddr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	checkEcho(t, conn, " from ")
}

func checkEcho(t *testing.T, conn *grpc.ClientConn, wanted string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "x-forwarded-client-cert", "By=evil", "client-cert", ":evil:")
	got := new(wrapperspb.StringValue)
	if err := conn.Invoke(ctx, "/test.Echo/Say", wrapperspb.String("hello"), got); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got.Value, wanted) || strings.Contains(got.Value, "evil") && wanted != " from " {
		t.Errorf("unary answer %q; want %q in it and nothing evil", got.Value, wanted)
	}
	for range 20 { // an answer without a body must stay one: flushing its headers early loses a race now and then
		var trailer metadata.MD
		err := conn.Invoke(ctx, "/test.Echo/Say", wrapperspb.String("fail"), got, grpc.Trailer(&trailer))
		if status.Code(err) != codes.FailedPrecondition || strings.Join(trailer["detail"], "") != "from the trailer" {
			t.Fatalf("status %v, trailer %v; want both as the service sent them", err, trailer)
		}
	}
	stream, err := conn.NewStream(ctx, &echoService.Streams[0], "/test.Echo/Chat")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 { // each message waits for the answer to the one before: both directions are open at once
		text := fmt.Sprintf("message %d %s", i, strings.Repeat("x", 10_000*i))
		if err := stream.SendMsg(wrapperspb.String(text)); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(got); err != nil || got.Value != "re: "+text {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(got); !errors.Is(err, io.EOF) {
		t.Fatalf("the stream ended with %v", err)
	}
}
