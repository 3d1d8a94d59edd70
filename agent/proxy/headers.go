package proxy

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"net/http"
	"net/http/httputil"
	"strings"

	"github.com/handfast/handfast/certs"
)

// The headers that carry the verified peer to the local service.
const (
	headerClientCert      = "Client-Cert"             // RFC 9440, section 2.2
	headerClientCertChain = "Client-Cert-Chain"       // RFC 9440, section 2.3
	headerXFCC            = "X-Forwarded-Client-Cert" // Envoy's
)

// identityHeaders are the names that only this proxy may set, as canonical writes them.
var identityHeaders = map[string]bool{
	canonical(headerClientCert): true, canonical(headerClientCertChain): true, canonical(headerXFCC): true,
}

// canonical maps every spelling that some server folds into the same name to one: CGI and its
// descendants turn '-' into '_', and some turn every other punctuation into it as well.
func canonical(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		default:
			return '-'
		}
	}, name)
}

// strip removes what the outside may have put in place of the identity.
func strip(header http.Header) {
	for name := range header {
		if identityHeaders[canonical(name)] {
			delete(header, name)
		}
	}
}

// rewrite makes the local service's request out of the peer's. ReverseProxy has removed
// hop-by-hop, Forwarded and X-Forwarded headers before; it cannot remove what is set here.
func (w *webServer) rewrite(r *httputil.ProxyRequest) {
	peer, ok := certs.PeerFromContext(r.In.Context())
	if !ok { // cannot be: ServeHTTP has looked
		r.Out.URL.Host = "no-verified-peer.invalid"
		return
	}
	r.Out.URL.Scheme = "http"
	r.Out.URL.Host = "local" // the transport dials the target whatever stands here
	r.Out.Host = r.In.Host
	strip(r.Out.Header)
	strip(r.Out.Trailer)
	if len(r.Out.Trailer) > 0 && r.Out.Body != nil {
		r.Out.Body = &trailerBody{ReadCloser: r.Out.Body, from: r.In.Trailer, to: r.Out.Trailer}
	}
	r.SetXForwarded()
	r.Out.Header.Set("X-Forwarded-Proto", "https")
	maps.Copy(r.Out.Header, w.identityOf(peer, w.self()))
}

// identityOf are the headers that carry the peer's identity.
func (w *webServer) identityOf(peer certs.Peer, self certs.ID) http.Header {
	header := http.Header{headerClientCert: {byteSequence(peer.Certificate.Raw)}, headerXFCC: {xfcc(peer, self)}}
	if w.in.spec.ClientCertChain {
		header.Set(headerClientCertChain, clientCertChain(peer))
	}
	return header
}

// self is the identity that the peer called.
func (w *webServer) self() certs.ID {
	snap, err := w.in.proxy.cfg.Source.Current()
	if err != nil {
		return certs.ID{}
	}
	return snap.ID
}

// byteSequence is a structured field's (RFC 9651, section 3.3.5).
func byteSequence(b []byte) string {
	return ":" + base64.StdEncoding.EncodeToString(b) + ":"
}

// clientCertChain lists the issuers from the leaf's upward, without the root, which the
// receiver has.
func clientCertChain(peer certs.Peer) string {
	var items []string
	for _, cert := range peer.Chain[1:max(1, len(peer.Chain)-1)] {
		items = append(items, byteSequence(cert.Raw))
	}
	return strings.Join(items, ", ")
}

// xfcc is one element in Envoy's format. SPIFFE IDs need no quoting: their
// alphabet has neither ',', ';', '=' nor '"'.
func xfcc(peer certs.Peer, self certs.ID) string {
	hash := sha256.Sum256(peer.Certificate.Raw)
	return "By=" + self.String() + ";Hash=" + hex.EncodeToString(hash[:]) + ";URI=" + peer.ID.String()
}
