package proxy

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
)

// webBackend is a local service that speaks HTTP/1.1 and h2c.
func webBackend(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server.Config.Protocols = protocols
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func withMode(mode Mode) func(*Config) {
	return func(cfg *Config) { cfg.Inbound[0].Mode = mode }
}

// client is an HTTP client of the service orders as web.
func (w *world) client(t *testing.T, http2 bool) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: certs.ClientConfig(w.webSrc, w.orders), Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetHTTP2(http2)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

func TestIdentityHeadersAreOursWhateverTheOutsideSends(t *testing.T) {
	w := newWorld(t)
	seen := make(chan http.Header, 1)
	target := webBackend(t, func(rw http.ResponseWriter, r *http.Request) { seen <- r.Header })
	spellings := []string{
		"Client-Cert", "client-cert", "CLIENT-CERT", "Client_Cert", "client_cert", "Client.Cert", "Client~Cert",
		"X-Forwarded-Client-Cert", "x_forwarded_client_cert", "X_Forwarded-Client_Cert", "X-Forwarded_Client-Cert",
		"Client-Cert-Chain", "CLIENT_CERT_CHAIN", "Client-Cert_Chain",
	}
	hostile := "GET / HTTP/1.1\r\nHost: orders\r\nConnection: close, Client-Cert, X-Forwarded-Client-Cert\r\n"
	for _, name := range spellings {
		hostile += name + ": evil\r\n" + name + ": evil again\r\n"
	}
	for _, mode := range []Mode{ModeHTTP, ModeH2C} {
		in := w.serveInbound(t, target, withMode(mode))
		conn, err := w.dialTLS(t, in.inboundAddr(), w.webSrc)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, hostile+"X-Innocent: kept\r\n\r\n")
		if response, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || response.StatusCode != 200 {
			t.Fatalf("response %v, %v", response, err)
		}
		w.checkIdentityHeaders(t, <-seen, "HTTP/1.1, mode "+string(mode))

		request, _ := http.NewRequest(http.MethodGet, "https://"+in.inboundAddr()+"/", nil)
		for _, name := range spellings {
			request.Header[name] = []string{"evil"} // as it stands, without canonicalisation
		}
		request.Header.Set("X-Innocent", "kept")
		response, err := w.client(t, true).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.ProtoMajor != 2 {
			t.Fatalf("HTTP/%d was spoken; want 2", response.ProtoMajor)
		}
		w.checkIdentityHeaders(t, <-seen, "HTTP/2, mode "+string(mode))
	}
}

func (w *world) checkIdentityHeaders(t *testing.T, got http.Header, where string) {
	t.Helper()
	for name, values := range got {
		if strings.Contains(strings.Join(values, " "), "evil") {
			t.Errorf("%s: %s: %q reached the service", where, name, values)
		}
	}
	leaf := mustCurrent(t, w.webSrc).Certificate.Leaf
	hash := sha256.Sum256(leaf.Raw)
	want := map[string]string{
		"Client-Cert":             ":" + base64.StdEncoding.EncodeToString(leaf.Raw) + ":",
		"X-Forwarded-Client-Cert": "By=spiffe://test.example/orders;Hash=" + hex.EncodeToString(hash[:]) + ";URI=spiffe://test.example/web",
		"X-Forwarded-Proto":       "https",
		"X-Forwarded-For":         "127.0.0.1",
		"X-Innocent":              "kept",
	}
	for name, value := range want {
		if values := got.Values(name); len(values) != 1 || values[0] != value {
			t.Errorf("%s: %s = %q; want once %q", where, name, values, value)
		}
	}
	if got.Get("Client-Cert-Chain") != "" {
		t.Errorf("%s: a chain that was not asked for", where)
	}
}

func TestTrailersArriveButNotAsIdentity(t *testing.T) {
	w := newWorld(t)
	seen := make(chan http.Header, 1)
	target := webBackend(t, func(rw http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		all := r.Header.Clone()
		for name, values := range r.Trailer {
			all["trailer-"+name] = values
		}
		seen <- all
		rw.Header().Set("Trailer", "X-After")
		io.WriteString(rw, "body")
		rw.Header().Set("X-After", "answer")
	})
	in := w.serveInbound(t, target, withMode(ModeH2C))
	for _, http2 := range []bool{false, true} {
		request, _ := http.NewRequest(http.MethodPost, "https://"+in.inboundAddr()+"/", io.NopCloser(strings.NewReader("data")))
		request.Header.Set("X-Innocent", "kept")
		request.Trailer = http.Header{"X-Sum": {"42"}, "Client_cert": {"evil"}, "X-Forwarded-Client-Cert": {"evil"}}
		response, err := w.client(t, http2).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if got := response.Trailer.Get("X-After"); got != "answer" {
			t.Errorf("HTTP/%d: the answer's trailer = %q", response.ProtoMajor, got)
		}
		got := <-seen
		if sum := got["trailer-X-Sum"]; len(sum) != 1 || sum[0] != "42" { //nolint:staticcheck // the test's own key, which no header has
			t.Errorf("HTTP/%d: the request's trailer = %q; want 42", response.ProtoMajor, sum)
		}
		w.checkIdentityHeaders(t, got, "trailers")
	}
}

func TestClientCertChain(t *testing.T) {
	w := newWorld(t)
	seen := make(chan string, 1)
	target := webBackend(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header.Get("Client-Cert-Chain") })
	in := w.serveInbound(t, target, func(cfg *Config) {
		cfg.Inbound[0].Mode, cfg.Inbound[0].ClientCertChain = ModeHTTP, true
	})
	response, err := w.client(t, false).Get("https://" + in.inboundAddr() + "/")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if got, want := <-seen, ":"+base64.StdEncoding.EncodeToString(w.Issuing.Raw)+":"; got != want {
		t.Errorf("Client-Cert-Chain = %q; want the issuing certificate and not the root", got)
	}
}

func TestStreamingIsNotHeldBack(t *testing.T) {
	w := newWorld(t)
	next := make(chan struct{})
	target := webBackend(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sized" {
			rw.Header().Set("Content-Length", "24")
		}
		for i := range 3 {
			fmt.Fprintf(rw, "event %d\n", i)
			http.NewResponseController(rw).Flush()
			<-next
		}
	})
	in := w.serveInbound(t, target, withMode(ModeHTTP))
	for path, length := range map[string]int64{"/": -1, "/sized": 24} {
		response, err := w.client(t, true).Get("https://" + in.inboundAddr() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.ContentLength != length {
			t.Errorf("%s: Content-Length %d; want %d", path, response.ContentLength, length)
		}
		lines := bufio.NewScanner(response.Body)
		for i := range 3 {
			if !lines.Scan() || lines.Text() != fmt.Sprintf("event %d", i) {
				t.Fatalf("%s: line %d = %q, %v", path, i, lines.Text(), lines.Err())
			}
			next <- struct{}{} // the service waits for this: nothing came in one piece
		}
	}
}

func TestUpgradedConnections(t *testing.T) {
	w := newWorld(t)
	target := backend(t, func(conn *net.TCPConn) {
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil || request.Header.Get("Upgrade") != "websocket" {
			t.Errorf("request %v, %v", request, err)
			return
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		echo(conn)
	})
	in := w.serveInbound(t, target, withMode(ModeHTTP))
	conn, err := w.dialTLS(t, in.inboundAddr(), w.webSrc)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: orders\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("response %v, %v", response, err)
	}
	io.WriteString(conn, "ping")
	got := make([]byte, 4)
	if _, err := io.ReadFull(reader, got); err != nil || string(got) != "ping" {
		t.Fatalf("%q, %v", got, err)
	}
	// The upgraded connection is cut as any other when the peer is revoked.
	w.ordersSrc.Set(w.SnapshotOf(w.Certificate(w.orders, hour), w.CRL(mustCurrent(t, w.webSrc).Certificate.Leaf), "*"))
	waitEvent(t, in, "revoked")
	if err := ended(conn); err == nil {
		t.Error("the connection lives on")
	}
}
