package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"
)

func serveHTTP(listener net.Listener, _ string) error {
	body := bytes.Repeat([]byte{'x'}, 1024)
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(body) // a client that left is no concern of the benchmark's server
	}))
}

func serveSame(listener net.Listener, file string) error {
	body, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		w.Header().Set("Content-Type", "application/ocsp-response")
		_, _ = w.Write(body)
	}))
}

func serveStatic(listener net.Listener, file string) error {
	body, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	modified := time.Now()
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, file, modified, bytes.NewReader(body))
	}))
}

func serveEcho(listener net.Listener, _ string) error {
	config, err := tlsConfig(tls.NoClientCert)
	if err != nil {
		return err
	}
	return http.Serve(tls.NewListener(listener, config), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		_, _ = w.Write(body)
	}))
}

func serveReverse(listener net.Listener, target string) error {
	config, err := tlsConfig(tls.RequireAndVerifyClientCert)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: target})
			r.Out.Header.Set("X-Client", r.In.TLS.PeerCertificates[0].URIs[0].String())
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 256},
	}
	server := &http.Server{Handler: proxy, TLSConfig: config}
	return server.ServeTLS(listener, "", "") // HTTP/2 for those who ask for it
}
