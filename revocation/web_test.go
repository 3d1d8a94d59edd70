package revocation

import (
	"net"
	"net/http"
	"testing"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"
)

// web serves a publisher over HTTP.
type web struct {
	URL      string
	listener net.Listener
	client   *http.Client
}

// newWeb listens on loopback; start serves.
func newWeb(t testing.TB) *web {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return &web{URL: "http://" + listener.Addr().String(), listener: listener, client: &http.Client{Transport: &http.Transport{}}}
}

func (w *web) start(t testing.TB, p *Publisher) {
	t.Helper()
	server := newFastServer(p)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(w.listener) }()
	t.Cleanup(func() {
		w.client.CloseIdleConnections()
		w.listener.Close()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

func newFastServer(p *Publisher) *fasthttp.Server {
	return &fasthttp.Server{
		Handler: p.ServeFastHTTP, NoDefaultServerHeader: true, NoDefaultContentType: true, ReadBufferSize: 20 << 10,
		DisablePreParseMultipartForm: true, CloseOnShutdown: true,
	}
}

func serve(t testing.TB, b *bench) *web {
	t.Helper()
	w := newWeb(t)
	w.start(t, b.Publisher)
	return w
}

// raw sends octets on a connection of their own that needs no network, and returns all
// that comes back until the server closes it.
func raw(t testing.TB, p *Publisher) func(request []byte) []byte {
	t.Helper()
	server := newFastServer(p)
	return func(request []byte) []byte {
		pipe := fasthttputil.NewPipeConns()
		ended := make(chan error, 1)
		go func() {
			ended <- server.ServeConn(pipe.Conn1())
			pipe.Conn1().Close()
		}()
		answer := make(chan []byte, 1)
		go func() {
			var all []byte
			buffer := make([]byte, 4096)
			for {
				n, err := pipe.Conn2().Read(buffer)
				all = append(all, buffer[:n]...)
				if err != nil {
					answer <- all
					return
				}
			}
		}()
		if _, err := pipe.Conn2().Write(request); err != nil {
			t.Fatal(err)
		}
		return <-answer
	}
}
