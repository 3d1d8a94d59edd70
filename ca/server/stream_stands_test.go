package server

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs/feed"
)

// Whether an agent is entitled to its stream is looked at anew within a minute of a change in what that rests on, or when nobody can say whether there was one,
// and not otherwise.
func TestStreamIsLookedAtAnew(t *testing.T) {
	refused := &api.Error{Code: api.CodeServiceUnknown, Message: "no such service"}
	for name, test := range map[string]struct {
		change func(f *follows)
		code   api.Code // of the end; "" is none
	}{
		"nothing":              {func(*follows) {}, ""},
		"the service is gone":  {func(f *follows) { f.basis.Policy++; f.entitled = refused }, api.CodeServiceUnknown},
		"the ledger is silent": {func(f *follows) { f.basisErr = errors.New("no ledger"); f.entitled = refused }, api.CodeServiceUnknown},
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
				before := f.entitledCalls
				test.change(f)
				f.mu.Unlock()
				time.Sleep(standing + time.Second)
				f.mu.Lock()
				calls := f.entitledCalls - before
				f.mu.Unlock()
				select {
				case code := <-ends:
					if code != test.code {
						t.Errorf("it ended with %q, want %q", code, test.code)
					}
				default:
					if test.code != "" || calls != 0 {
						t.Errorf("it goes on, looked at %d times", calls)
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
