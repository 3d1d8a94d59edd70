package server

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs/feed"
)

// A stream is authenticated anew within a minute of a change in what that rests on, or when nobody can say whether there was one,
// and not otherwise.
func TestStreamIsAuthenticatedAnew(t *testing.T) {
	refused := &api.Error{Code: api.CodeServiceUnknown, Message: "no such service"}
	for name, test := range map[string]struct {
		change func(f *follows)
		code   api.Code // of the end; "" is none
	}{
		"nothing":              {func(*follows) {}, ""},
		"the service is gone":  {func(f *follows) { f.basis.Policy++; f.refuseAll = refused }, api.CodeServiceUnknown},
		"the ledger is silent": {func(f *follows) { f.basisErr = errors.New("no ledger"); f.refuseAll = refused }, api.CodeServiceUnknown},
		"the issuer is revoked": {func(f *follows) {
			f.remains = &api.Error{Code: api.CodeRevoked, Message: "the issuing CA's certificate is revoked"}
		}, api.CodeRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, f *follows) {
				conn := f.dial("web", hello(t, 7, agentA))
				ends := make(chan api.Code, 1)
				go func() { ends <- stay(conn) }()
				time.Sleep(3 * standing)
				f.mu.Lock()
				before := f.authCalls
				test.change(f)
				f.mu.Unlock()
				time.Sleep(standing + time.Second)
				f.mu.Lock()
				calls := f.authCalls - before
				f.mu.Unlock()
				select {
				case code := <-ends:
					if code != test.code {
						t.Errorf("it ended with %q, want %q", code, test.code)
					}
				default:
					if test.code != "" || calls != 0 {
						t.Errorf("it goes on, authenticated %d times", calls)
					}
					conn.Close()
					<-ends
				}
			})
		})
	}
}

// stay says now and then that the agent lives, and returns why the stream ended.
func stay(conn *tls.Conn) api.Code {
	ends := make(chan api.Code, 1)
	go func() {
		for messages := feed.NewReader(conn); ; {
			kind, payload, err := messages.Next()
			var end api.Error
			if err == nil && kind == feed.EndMessage {
				err = json.Unmarshal(payload, &end)
				conn.Close()
			}
			if err != nil || end.Code != "" {
				ends <- end.Code
				return
			}
		}
	}()
	for {
		select {
		case code := <-ends:
			return code
		case <-time.After(api.FeedAlive):
			conn.Write(binary.BigEndian.AppendUint64(nil, 7)) //nolint:errcheck // it may have ended
		}
	}
}

// What is authenticated anew is the very chain that was shown, and agents of one issuer share its certificates' octets.
func TestShownChainIsKeptToTheOctet(t *testing.T) {
	pki := newTestPKI(t)
	chainOf := func(path string) (chain []*x509.Certificate) {
		for _, der := range pki.issue(t, path).Certificate {
			link, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			chain = append(chain, link)
		}
		return append(chain, pki.root)
	}
	first, second := chainOf("web"), chainOf("orders")
	if remember(first).above != remember(second).above {
		t.Error("two agents keep their issuer's chain twice")
	}
	again, err := remember(first).chain()
	if err != nil || !slices.EqualFunc(again, first, (*x509.Certificate).Equal) {
		t.Errorf("%d certificates of %d, %v", len(again), len(first), err)
	}
	if alone, err := remember(first[:1]).chain(); err != nil || len(alone) != 1 || !alone[0].Equal(first[0]) {
		t.Errorf("of a leaf alone: %d certificates, %v", len(alone), err)
	}
}
