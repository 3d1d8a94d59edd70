package server_test

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// The API's own certificate comes with a good staple, and without one as soon as it is revoked.
func TestServerStaplesItsOwnCertificate(t *testing.T) {
	w := newWorld(t)
	connect := func() tls.ConnectionState {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(w.api, "https://"), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // what it shows is looked at below
		must(t, err)
		defer conn.Close()
		return conn.ConnectionState()
	}
	var state tls.ConnectionState
	for deadline := time.Now().Add(time.Minute); len(state.OCSPResponse) == 0; { // the responder has to have its certificate first
		if time.Now().After(deadline) {
			t.Fatal("nothing is stapled")
		}
		state = connect()
	}
	leaf, issuer := state.PeerCertificates[0], state.PeerCertificates[1]
	if _, err := certs.CheckStaple(state.OCSPResponse, leaf, issuer, w.clock()); err != nil {
		t.Error(err)
	}
	if again := connect(); string(again.OCSPResponse) != string(state.OCSPResponse) {
		t.Error("the response is made anew for each handshake")
	}
	_, err := w.admin.Revoke(t.Context(), &api.RevokeRequest{Certificate: leaf.Raw, Reason: certs.KeyCompromise})
	must(t, err)
	if state = connect(); state.PeerCertificates[0].Equal(leaf) && len(state.OCSPResponse) > 0 {
		t.Error("a certificate that is revoked is stapled as if it were not")
	}
}
