package proxy

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseInbound(t *testing.T) {
	tests := []struct {
		spec string
		want Inbound
		fail string
	}{
		{spec: ":8443=127.0.0.1:8080", want: Inbound{Listen: ":8443", Target: "127.0.0.1:8080"}},
		{spec: "[::1]:8443=localhost:80,mode=http,client-cert-chain", want: Inbound{Listen: "[::1]:8443", Target: "localhost:80", Mode: ModeHTTP, ClientCertChain: true}},
		{spec: ":1=unix:/run/app.sock,mode=tcp,proxy-protocol", want: Inbound{Listen: ":1", Target: "unix:/run/app.sock", Mode: ModeTCP, ProxyProtocol: true}},
		{spec: ":1=h:2,max-connections=7,connect-timeout=2s,idle-timeout=1h,expiry-drain=30s", want: Inbound{Listen: ":1", Target: "h:2", Limits: Limits{7, 2 * time.Second, time.Hour, 30 * time.Second}}},
		{spec: "", fail: "LISTEN=TARGET"},
		{spec: ":8443", fail: "LISTEN=TARGET"},
		{spec: "8443=127.0.0.1:80", fail: "HOST:PORT"},
		{spec: ":8443=", fail: "HOST:PORT"},
		{spec: ":8443=:80", fail: "names no host"},
		{spec: ":99999=h:1", fail: "port"},
		{spec: ":1=h:http", fail: "port"},
		{spec: ":1=h:2,mode=udp", fail: "tcp, http or h2c"},
		{spec: ":1=h:2,mode=tcp,mode=http", fail: "twice"},
		{spec: ":1=h:2,proxy-protocol,proxy-protocol", fail: "twice"},
		{spec: ":1=h:2,mode=http,proxy-protocol", fail: "mode=tcp"},
		{spec: ":1=h:2,client-cert-chain", fail: "mode=http"},
		{spec: ":1=h:2,proxyprotocol", fail: "unknown"},
		{spec: ":1=h:2,color=red", fail: "unknown"},
		{spec: ":1=h:2,max-connections=0", fail: "one number"},
		{spec: ":1=h:2,idle-timeout=-1s", fail: "positive duration"},
		{spec: ":1=h:2,expiry-drain=2h", fail: "at most 1h"},
		{spec: ":1=unix:", fail: "socket path"},
	}
	for _, tt := range tests {
		got, err := ParseInbound(tt.spec)
		check(t, tt.spec, got, tt.want, err, tt.fail)
	}
}

func TestParseOutbound(t *testing.T) {
	tests := []struct {
		spec string
		want Outbound
		fail string
	}{
		{spec: "127.0.0.1:9000=orders@10.0.0.7:8443", want: Outbound{Listen: "127.0.0.1:9000", Service: "orders", Addresses: []string{"10.0.0.7:8443"}}},
		{spec: "localhost:1=team/orders@a:1,b:2,[::1]:3,mode=h2c,connect-timeout=1s", want: Outbound{
			Listen: "localhost:1", Service: "team/orders", Addresses: []string{"a:1", "b:2", "[::1]:3"}, Mode: ModeH2C, Limits: Limits{ConnectTimeout: time.Second}}},
		{spec: "0.0.0.0:1=orders@a:1,allow-remote", want: Outbound{Listen: "0.0.0.0:1", Service: "orders", Addresses: []string{"a:1"}, AllowRemote: true}},
		{spec: "unix:/run/o.sock=orders@a:1", want: Outbound{Listen: "unix:/run/o.sock", Service: "orders", Addresses: []string{"a:1"}}},
		{spec: "127.0.0.1:1=orders", fail: "LISTEN=SERVICE@HOST:PORT"},
		{spec: "127.0.0.1:1=@a:1", fail: "not a name"},
		{spec: "127.0.0.1:1=Or ders@a:1", fail: "not a name"},
		{spec: "127.0.0.1:1=a/../b@a:1", fail: "not a name"},
		{spec: "127.0.0.1:1=handfast/operator/x@a:1", fail: "the CA's own"},
		{spec: "127.0.0.1:1=orders@", fail: "HOST:PORT"},
		{spec: "127.0.0.1:1=orders@mode=tcp", fail: "addresses"},
		{spec: "0.0.0.0:1=orders@a:1", fail: "allow-remote"},
		{spec: ":1=orders@a:1", fail: "allow-remote"},
		{spec: "10.0.0.1:1=orders@a:1", fail: "allow-remote"},
		{spec: "[::ffff:10.0.0.1]:1=orders@a:1", fail: "allow-remote"},
		{spec: "127.0.0.1:1=orders@a:1,a", fail: "HOST:PORT"},
	}
	for _, tt := range tests {
		got, err := ParseOutbound(tt.spec)
		check(t, tt.spec, got, tt.want, err, tt.fail)
	}
}

func check(t *testing.T, spec string, got, want any, err error, fail string) {
	t.Helper()
	switch {
	case fail == "" && err != nil:
		t.Errorf("%q: %v", spec, err)
	case fail != "" && (err == nil || !strings.Contains(err.Error(), fail)):
		t.Errorf("%q: err = %v; want %q in it", spec, err, fail)
	case fail == "":
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got): %s", spec, diff)
		}
	}
}

// Whatever is accepted passes Check again, has limits in range and never listens in plaintext for other hosts by accident.
func FuzzParseSpecs(f *testing.F) {
	f.Add(":8443=127.0.0.1:8080,mode=http,max-connections=7")
	f.Add("127.0.0.1:9000=orders@10.0.0.7:8443,b:2,idle-timeout=1h")
	f.Add("unix:/x=a/b@[::1]:1,allow-remote")
	f.Fuzz(func(t *testing.T, spec string) {
		if in, err := ParseInbound(spec); err == nil {
			if err := in.Check(); err != nil {
				t.Errorf("%q was accepted, but: %v", spec, err)
			}
			if limits := in.withDefaults(); limits.MaxConnections < 1 || limits.IdleTimeout <= 0 || limits.ConnectTimeout <= 0 {
				t.Errorf("%q: limits %+v", spec, limits)
			}
		}
		if out, err := ParseOutbound(spec); err == nil {
			if err := out.Check(); err != nil {
				t.Errorf("%q was accepted, but: %v", spec, err)
			}
			if !out.AllowRemote && !strings.HasPrefix(out.Listen, unixPrefix) && !isLoopback(out.Listen) {
				t.Errorf("%q: plaintext for other hosts on %s", spec, out.Listen)
			}
		}
	})
}
