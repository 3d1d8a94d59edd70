package proxy

import (
	"crypto/tls"
	"encoding/binary"
	"net"

	proxyproto "github.com/pires/go-proxyproto"

	"github.com/handfast/handfast/certs"
)

// The PP2_TYPE_SSL value of the PROXY protocol, section 2.2.6, and its parts.
const (
	typeSSL        = 0x20
	subtypeVersion = 0x21
	subtypeCN      = 0x22
	clientSSL      = 0x01 // over TLS
	clientCertConn = 0x02 // with a certificate, on this connection
	clientCertSess = 0x04 // and in this session
)

// writeProxyHeader tells the local service who the peer is: its address, and, where HAProxy
// puts the common name, its SPIFFE ID.
func writeProxyHeader(local net.Conn, secure *tls.Conn, peer certs.Peer) error {
	header := proxyproto.HeaderProxyFromAddrs(2, secure.RemoteAddr(), secure.LocalAddr())
	value := []byte{clientSSL | clientCertConn | clientCertSess, 0, 0, 0, 0} // 0: verified
	value = appendTLV(value, subtypeVersion, "TLSv1.3")
	value = appendTLV(value, subtypeCN, peer.ID.String())
	if err := header.SetTLVs([]proxyproto.TLV{{Type: typeSSL, Value: value}}); err != nil {
		return err
	}
	_, err := header.WriteTo(local)
	return err
}

func appendTLV(b []byte, kind byte, value string) []byte {
	b = append(b, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value))) //nolint:gosec // a SPIFFE ID has at most 2048 octets
	return append(b, value...)
}
