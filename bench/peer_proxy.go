package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/handfast/handfast/internal/harness"
)

// Configurations of the peers. All require a client certificate, speak TLS 1.3 only and
// issue no session tickets, as we do. They run as one process, whose CPU can be read.
const (
	nginxCommon = `daemon off; master_process off; worker_processes 1; pid %[1]s/nginx.pid; error_log stderr error;
%[5]s
worker_rlimit_nofile 8192;
events { worker_connections 4096; }
`
	nginxTLS = `ssl_certificate %[2]s/cert.pem; ssl_certificate_key %[2]s/key.pem; ssl_client_certificate %[2]s/roots.pem;
  ssl_verify_client on; ssl_verify_depth 3; ssl_protocols TLSv1.3; ssl_session_tickets off; ssl_session_cache off;`
	nginxTemp = `access_log off; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi; keepalive_requests 1000000000;`

	nginxStatic = nginxCommon + `http { ` + nginxTemp + `
  sendfile on; tcp_nopush on;
  server { listen %[3]s; root %[1]s; } }
`
	nginxSame = nginxCommon + `http { ` + nginxTemp + `
  default_type application/ocsp-response;
  server { listen %[3]s; location / { return 200 "%[4]s"; } } }
`
	nginxHTTP = nginxCommon + `http { ` + nginxTemp + `
  upstream backend { server %[4]s; keepalive 128; keepalive_requests 1000000000; }
  server { listen %[3]s ssl http2; ` + nginxTLS + `
    location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header X-Client $ssl_client_fingerprint; } } }
`
	nginxTCP = nginxCommon + `stream { server { listen %[3]s ssl; ` + nginxTLS + ` proxy_pass %[4]s; } }
`

	haproxyConfig = `global
  nbthread 2
  maxconn 4000
  tune.ssl.cachesize 0
  ssl-default-bind-options no-tls-tickets ssl-min-ver TLSv1.3
defaults
  mode %[4]s
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind %[2]s ssl crt %[1]s/both.pem ca-file %[1]s/roots.pem verify required %[5]s
  default_backend back
backend back
  server target %[3]s
`
	stunnelConfig = `foreground = yes
pid =
syslog = no
debug = 3
[bench]
accept = %[2]s
connect = %[3]s
cert = %[1]s/both.pem
CAfile = %[1]s/roots.pem
verifyChain = yes
requireCert = yes
sslVersionMin = TLSv1.3
options = NO_TICKET
`
)

// startNginx starts nginx as a file server of the benchmark's directory ("static"), with target as
// its answer to everything ("same"), or as
// a proxy ("http", "tcp") for target, with the TLS files of tlsDir.
func (s *session) startNginx(ctx context.Context, mode, target, tlsDir string) (*harness.Process, string, error) {
	address, err := harness.FreeAddress()
	if err != nil {
		return nil, "", err
	}
	module := ""
	if file := "/usr/lib/nginx/modules/ngx_stream_module.so"; mode == "tcp" {
		if _, err := os.Stat(file); err == nil { // otherwise it is compiled in, or nginx says that it lacks it
			module = "load_module " + file + ";"
		}
	}
	text := map[string]string{"static": nginxStatic, "same": nginxSame, "http": nginxHTTP, "tcp": nginxTCP}[mode]
	config := s.path("nginx-" + mode + ".conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, text, s.path(), tlsDir, address, target, module), 0o600); err != nil {
		return nil, "", err
	}
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		return nil, "", err
	}
	process, err := s.start(ctx, nil, "", nginx, "-p", s.path(), "-e", "stderr", "-c", config)
	if err != nil {
		return nil, "", err
	}
	return process, address, waitTCP(ctx, process, address)
}

func (s *session) startHAProxy(ctx context.Context, mode, target, tlsDir string) (*harness.Process, string, error) {
	more := ""
	if mode == "http" {
		more = "alpn h2,http/1.1\n  http-request set-header X-Client %[ssl_c_sha1,hex]"
	}
	return s.startConfigured(ctx, "haproxy", []string{"-db", "-f"}, func(address string) string {
		return fmt.Sprintf(haproxyConfig, tlsDir, address, target, mode, more)
	})
}

func (s *session) startStunnel(ctx context.Context, target, tlsDir string) (*harness.Process, string, error) {
	return s.startConfigured(ctx, "stunnel4", nil, func(address string) string {
		return fmt.Sprintf(stunnelConfig, tlsDir, address, target)
	})
}

// startConfigured starts a program that reads one file of configuration.
func (s *session) startConfigured(ctx context.Context, name string, args []string, text func(address string) string) (*harness.Process, string, error) {
	address, err := harness.FreeAddress()
	if err != nil {
		return nil, "", err
	}
	config := filepath.Join(s.path(), name+".conf")
	if err := os.WriteFile(config, []byte(text(address)), 0o600); err != nil {
		return nil, "", err
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, "", err
	}
	process, err := s.start(ctx, nil, "", append(append([]string{path}, args...), config)...)
	if err != nil {
		return nil, "", err
	}
	return process, address, waitTCP(ctx, process, address)
}
